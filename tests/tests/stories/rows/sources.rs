//! Whose address the endpoint sees.

use std::net::IpAddr;

use anyhow::{Context as _, Result, ensure};
use lab::{Family, Host, manifest::Protocol, probe::Answer};

use crate::{
    cluster::{Cluster, Exposed, Kind, Path},
    rows::rows,
    site::{Site, ask, by_all_means},
};

rows![Site:
    a_pod_is_seen_by_its_address_through_a_cluster_ip,
    a_pod_reaches_itself_through_every_frontend,
    outside_clients_of_a_cluster_ip_are_masqueraded_like_policy_cluster,
    a_process_of_the_node_is_seen_as_the_kernel_routes_it,
    outside_clients_are_masqueraded_to_endpoints_of_other_nodes,
    outside_clients_are_seen_by_their_address_at_endpoints_of_this_node,
    outside_clients_are_seen_by_their_address_under_policy_local,
    a_pod_is_seen_by_its_address_through_every_frontend,
    two_frontends_on_one_endpoint_from_one_client_port_stay_separate,
];

fn a_pod_is_seen_by_its_address_through_a_cluster_ip(site: &Site) -> Result<()> {
    for service in site.by_endpoint {
        sees_client(site, &site.cluster.client, service, &[Kind::ClusterIp])?;
    }
    Ok(())
}

fn a_pod_is_seen_by_its_address_through_every_frontend(site: &Site) -> Result<()> {
    for service in site.by_endpoint {
        sees_client(site, &site.cluster.client, service, &Kind::EXTERNAL)?;
    }
    Ok(())
}

fn outside_clients_are_seen_by_their_address_at_endpoints_of_this_node(site: &Site) -> Result<()> {
    let [near, own, ..] = site.by_endpoint;
    for service in [near, own] {
        sees_client(site, &site.outside, service, &Kind::ALL)?;
    }
    Ok(())
}

fn outside_clients_are_seen_by_their_address_under_policy_local(site: &Site) -> Result<()> {
    sees_client(site, &site.outside, site.outer, &Kind::EXTERNAL)
}

/// The endpoint sees the address that it sees of the client without a Service: the client's own,
/// unless a CNI masquerades on the way.
fn sees_client(site: &Site, client: &Host, service: Exposed, kinds: &[Kind]) -> Result<()> {
    by_all_means(|family, protocol| {
        for &kind in kinds {
            let answer = ask(client, service.at(kind, family, protocol), protocol)?;
            let seen = answer.client_seen.ip();
            let expected = if site.is_inside(client) {
                ask(client, answer.endpoint, protocol)?.client_seen.ip()
            } else {
                client.address(family)
            };
            ensure!(seen == expected, "{} sees {seen}, not {expected}", answer.server);
        }
        Ok(())
    })
}

fn a_pod_reaches_itself_through_every_frontend(site: &Site) -> Result<()> {
    let pod = site.cluster.near.host();
    let [near, ..] = site.by_endpoint;
    by_all_means(|family, protocol| {
        for kind in Kind::ALL {
            let answer = ask(pod, near.at(kind, family, protocol), protocol)?;
            ensure!(answer.server == "near", "{} answered", answer.server);
        }
        Ok(())
    })
}

fn outside_clients_of_a_cluster_ip_are_masqueraded_like_policy_cluster(site: &Site) -> Result<()> {
    masquerades(site, &[Kind::ClusterIp])
}

fn outside_clients_are_masqueraded_to_endpoints_of_other_nodes(site: &Site) -> Result<()> {
    masquerades(site, &Kind::EXTERNAL)
}

/// Endpoints of the other node see an address of the device that the packet leaves by.
fn masquerades(site: &Site, kinds: &[Kind]) -> Result<()> {
    let [_, _, far, host_network] = site.by_endpoint;
    by_all_means(|family, protocol| {
        for service in [far, host_network] {
            for &kind in kinds {
                let answer = ask(&site.outside, service.at(kind, family, protocol), protocol)?;
                let expected = source_towards(&site.cluster, answer.endpoint.ip())?;
                let seen = answer.client_seen;
                ensure!(seen.ip() == expected, "{} sees {seen}, not {expected}", answer.server);
                ensure!((12_000..30_000).contains(&seen.port()), "masqueraded to {seen}");
            }
        }
        Ok(())
    })
}

/// The address of the device that node `a` reaches `endpoint` by.
fn source_towards(cluster: &Cluster, endpoint: IpAddr) -> Result<IpAddr> {
    let route = cluster.a.namespace().ip_json(&["route", "get", &endpoint.to_string()])?;
    let source = route[0]["prefsrc"].as_str().with_context(|| format!("no source in {route}"))?;
    Ok(source.parse()?)
}

fn a_process_of_the_node_is_seen_as_the_kernel_routes_it(site: &Site) -> Result<()> {
    by_all_means(|family, protocol| {
        for (service, server) in site.by_endpoint.into_iter().zip(site.servers()) {
            let target =
                if protocol == Protocol::Tcp { server.tcp(family) } else { server.udp(family) };
            let directly = ask(&site.cluster.a, target, protocol)?;
            let answer =
                ask(&site.cluster.a, service.at(Kind::ClusterIp, family, protocol), protocol)?;
            let seen = |answer: &Answer| answer.client_seen.ip();
            ensure!(
                seen(&answer) == seen(&directly),
                "{} sees {}, and {} without a Service",
                answer.server,
                seen(&answer),
                seen(&directly)
            );
        }
        Ok(())
    })
}

fn two_frontends_on_one_endpoint_from_one_client_port_stay_separate(site: &Site) -> Result<()> {
    let [near, _, far, _] = site.by_endpoint;
    // At the socket both would be one connection, which the kernel refuses to make.
    let clients = match site.place.path {
        Path::Packet => vec![&site.outside, &site.cluster.client],
        Path::Socket => vec![&site.outside],
    };
    for family in Family::BOTH {
        for (number, service) in [near, far].into_iter().enumerate() {
            // Outside the range that the kernel gives to other sockets.
            let port = 20_000 + u16::try_from(number)?;
            let [first, second] = [Kind::NodePort, Kind::LoadBalancer]
                .map(|kind| service.at(kind, family, Protocol::Tcp));
            for client in &clients {
                let (mut by_first, _) = client.tcp(first).from_port(port).aborting().open()?;
                let (mut by_second, _) = client.tcp(second).from_port(port).aborting().open()?;
                for _ in 0..3 {
                    ensure!(by_first.ask()?.peer == Some(first));
                    ensure!(by_second.ask()?.peer == Some(second));
                }
            }
            let [first, second] = [Kind::NodePort, Kind::LoadBalancer]
                .map(|kind| service.at(kind, family, Protocol::Udp));
            for client in &clients {
                for to in [first, second, first, second] {
                    let answer = client.udp(to).from_port(port).ask()?;
                    ensure!(answer.received_from == Some(to), "{answer:?}");
                }
            }
        }
    }
    Ok(())
}
