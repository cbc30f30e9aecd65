//! What becomes of traffic that finds no endpoint.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Result, ensure};
use lab::{
    Addresses, Family, Host,
    manifest::Protocol,
    packet::Seen,
    probe::{Failure, Trouble},
};

use crate::{
    cluster::{DNS, Exposed, HTTP, Kind},
    errnos::{Call, Verdict},
    rows::rows,
    site::{SILENCE_MS, Site, ask, by_all_means, call, fail},
};

rows![Site:
    no_endpoint_anywhere_refuses_at_every_frontend,
    a_service_without_endpoints_refuses_every_kind_of_socket,
    a_port_that_no_service_defines_refuses_every_kind_of_socket,
    internal_policy_local_without_local_endpoints_drops,
    external_policy_local_without_local_endpoints_drops,
    an_undefined_port_of_a_cluster_ip_refuses_whoever_asks,
    an_undefined_port_of_a_load_balancer_or_external_ip_is_untouched,
    an_address_of_a_service_cidr_that_nobody_owns_drops,
    a_node_port_number_that_nobody_owns_is_the_hosts,
    a_cluster_ip_answers_no_ping_of_anyone,
    what_an_outside_host_sends_to_a_pod_is_untouched,
];

/// A port that no Service defines.
const UNDEFINED: u16 = 9;
/// What is promised.
const REFUSED_WITHIN: Duration = Duration::from_secs(3);

/// A refusal in time.
fn refuses(site: &Site, client: &Host, to: SocketAddr, protocol: Protocol) -> Result<()> {
    let failure = fail(client, to, protocol, 5000)?;
    let expected = site.trouble(client, call(protocol), Verdict::Reject);
    ensure!(is_in_time(&failure, expected), "{} asks {to}: {failure}", client.name());
    Ok(())
}

fn is_in_time(failure: &Failure, expected: Trouble) -> bool {
    failure.trouble == expected && failure.after() < REFUSED_WITHIN
}

/// A drop: nothing comes back, as far as this client can be told so.
fn drops(site: &Site, client: &Host, to: SocketAddr, protocol: Protocol) -> Result<()> {
    let failure = fail(client, to, protocol, SILENCE_MS)?;
    let expected = site.trouble(client, call(protocol), Verdict::Drop);
    ensure!(failure.trouble == expected, "{} asks {to}: {failure}", client.name());
    Ok(())
}

fn no_endpoint_anywhere_refuses_at_every_frontend(site: &Site) -> Result<()> {
    by_all_means(|family, protocol| {
        for kind in Kind::ALL {
            for client in site.clients() {
                refuses(site, client, site.empty.at(kind, family, protocol), protocol)?;
            }
        }
        Ok(())
    })
}

fn a_service_without_endpoints_refuses_every_kind_of_socket(site: &Site) -> Result<()> {
    refuses_every_kind_of_socket(site, site.empty, |port| port)
}

fn a_port_that_no_service_defines_refuses_every_kind_of_socket(site: &Site) -> Result<()> {
    refuses_every_kind_of_socket(site, site.everywhere, |_| UNDEFINED)?;
    // Protocols are told apart: 80 is TCP only, 53 is UDP only.
    refuses_every_kind_of_socket(site, site.everywhere, |port| HTTP.0 + DNS.0 - port)
}

/// TCP, UDP and connected UDP to the ClusterIP, at ports made of those that it has.
fn refuses_every_kind_of_socket(
    site: &Site,
    service: Exposed,
    port: impl Fn(u16) -> u16,
) -> Result<()> {
    for family in Family::BOTH {
        for client in [&site.cluster.client, &*site.cluster.a] {
            let [tcp, udp] = [Protocol::Tcp, Protocol::Udp].map(|protocol| {
                let mut to = service.at(Kind::ClusterIp, family, protocol);
                to.set_port(port(to.port()));
                to
            });
            for (kind, call, failure) in [
                ("TCP", Call::Connect, client.tcp(tcp).refusal()?),
                ("unconnected UDP", Call::Sendmsg, client.udp(udp).refusal()?),
                ("connected UDP", Call::Connect, client.udp(udp).connected().refusal()?),
            ] {
                let in_time = is_in_time(&failure, site.trouble(client, call, Verdict::Reject));
                ensure!(in_time, "{kind} of {} to {tcp} or {udp}: {failure}", client.name());
            }
        }
    }
    Ok(())
}

fn internal_policy_local_without_local_endpoints_drops(site: &Site) -> Result<()> {
    by_all_means(|family, protocol| {
        let to = site.inner_remote.at(Kind::ClusterIp, family, protocol);
        site.clients().into_iter().try_for_each(|client| drops(site, client, to, protocol))
    })
}

fn external_policy_local_without_local_endpoints_drops(site: &Site) -> Result<()> {
    by_all_means(|family, protocol| {
        Kind::EXTERNAL.into_iter().try_for_each(|kind| {
            drops(site, &site.outside, site.outer_remote.at(kind, family, protocol), protocol)
        })
    })
}

fn an_undefined_port_of_a_cluster_ip_refuses_whoever_asks(site: &Site) -> Result<()> {
    by_all_means(|family, protocol| {
        let mut to = site.everywhere.at(Kind::ClusterIp, family, protocol);
        to.set_port(UNDEFINED);
        site.clients().into_iter().try_for_each(|client| refuses(site, client, to, protocol))
    })
}

fn an_undefined_port_of_a_load_balancer_or_external_ip_is_untouched(site: &Site) -> Result<()> {
    by_all_means(|family, protocol| {
        for kind in [Kind::LoadBalancer, Kind::ExternalIp] {
            let mut to = site.everywhere.at(kind, family, protocol);
            to.set_port(UNDEFINED);
            for client in [&site.cluster.client, &*site.cluster.a] {
                let leaving = site.cluster.lab.watch_fabric("node-a")?;
                let failure = fail(client, to, protocol, SILENCE_MS)?;
                ensure!(failure.trouble == Trouble::TimedOut, "{}: {failure}", client.name());
                // Where it would go if there were no Services.
                let seen =
                    leaving.expect(Duration::from_secs(1), |seen| seen.destination() == to)?;
                let source = seen.source().ip();
                // A CNI may have masqueraded it, as it does without Services.
                let may_be = [client.address(family), site.cluster.a.address(family)];
                ensure!(may_be.contains(&source), "it left from {source}");
            }
        }
        Ok(())
    })
}

fn an_address_of_a_service_cidr_that_nobody_owns_drops(site: &Site) -> Result<()> {
    let nobody = Addresses::cluster_ips(99);
    let leaks = site.cluster.lab.watch_fabric("node-a")?;
    by_all_means(|family, protocol| {
        let to = SocketAddr::new(nobody.of(family), 80);
        site.clients().into_iter().try_for_each(|client| drops(site, client, to, protocol))
    })?;
    let from_the_node = |seen: &Seen| {
        let source = seen.source().ip();
        nobody.both().contains(&seen.destination().ip())
            && source != site.outside.address(Family::of(source))
    };
    let leaked = leaks.collect(Duration::from_millis(50), from_the_node)?;
    ensure!(leaked.is_empty(), "left the node: {leaked:?}");
    Ok(())
}

fn a_node_port_number_that_nobody_owns_is_the_hosts(site: &Site) -> Result<()> {
    by_all_means(|family, protocol| {
        let nobody = SocketAddr::new(site.cluster.a.address(family), 30_999);
        let hosts =
            if protocol == Protocol::Tcp { site.own.tcp(family) } else { site.own.udp(family) };
        for client in site.clients() {
            let failure = fail(client, nobody, protocol, 5000)?;
            let refused = is_in_time(&failure, Trouble::Refused);
            ensure!(refused, "{} asks {nobody}: {failure}", client.name());
            let answer = ask(client, hosts, protocol)?;
            ensure!(answer.server == "node-a", "{} answered", answer.server);
        }
        Ok(())
    })
}

fn a_cluster_ip_answers_no_ping_of_anyone(site: &Site) -> Result<()> {
    for family in Family::BOTH {
        let address = site.everywhere.addresses(Kind::ClusterIp).of(family);
        for client in [&site.outside, &site.cluster.client] {
            let reply = client.ping(address, SILENCE_MS)?;
            ensure!(reply.is_none(), "{reply:?} replied to {}", client.name());
        }
    }
    Ok(())
}

fn what_an_outside_host_sends_to_a_pod_is_untouched(site: &Site) -> Result<()> {
    if site.place.uplink == lab::Uplink::Vxlan {
        // Nobody outside has a way to a pod there.
        return Ok(());
    }
    by_all_means(|family, protocol| {
        for server in [&site.cluster.near, &site.cluster.far] {
            let to =
                if protocol == Protocol::Tcp { server.tcp(family) } else { server.udp(family) };
            let answer = ask(&site.outside, to, protocol)?;
            ensure!(answer.server == server.name(), "{} answered", answer.server);
            let seen = answer.client_seen.ip();
            ensure!(seen == site.outside.address(family), "the pod sees {seen}");
        }
        Ok(())
    })
}
