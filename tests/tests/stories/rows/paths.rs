//! What happens on the way: links that are too small, errors about translated packets, fragments.

use std::{net::IpAddr, time::Duration};

use anyhow::{Context as _, Result, ensure};
use lab::{
    Addresses, Family, Host, Node, Server,
    manifest::{self, Protocol, endpoint_slice, service},
    packet::{ICMP_REDIRECT, ICMPV6_REDIRECT, Seen},
    probe::Trouble,
};

use crate::{
    cluster::{Cluster, DNS, Kind, eventually},
    rows::rows,
    site::{Site, by_all_means},
};

rows![Site:
    path_mtu_is_found_through_a_cluster_ip,
    path_mtu_is_found_through_a_masqueraded_node_port,
    path_mtu_is_found_towards_the_client_of_a_masqueraded_node_port,
    port_unreachable_comes_back_from_the_frontend,
    redirects_never_reach_a_client,
    fragments_are_translated_both_ways,
];

/// A Service whose endpoints don't listen.
const DEAF: u8 = 33;
const CLOSED: u16 = 9;
/// Less than any other link has, more than IPv6 asks for.
const SMALL_MTU: u16 = 1300;
/// Long enough for dozens of packets each way.
const BYTES: u64 = 200_000;
/// Three fragments on an ordinary link.
const LONG_DATAGRAM: usize = 4000;

/// Writes the Services that only these rows are about.
pub(crate) fn furnish(cluster: &Cluster) -> Result<()> {
    let object = service("deaf", Addresses::cluster_ips(DEAF))
        .port("dns", DNS.0, Protocol::Udp)
        .node_port(30_000 + u16::from(DEAF))
        .load_balancer(Addresses::load_balancer_ips(DEAF))
        .object();
    let [v4, v6] = endpoint_slice("deaf")
        .port("dns", CLOSED, Protocol::Udp)
        .endpoint(cluster.far.host(), &cluster.b)
        .objects();
    manifest::write(&cluster.lab.manifests(), "deaf.yaml", &[object, v4, v6])
}

/// Sets the MTU of the way from `node` to `address`, for what it forwards; `None`: the device's.
fn set_mtu(node: &Node, address: IpAddr, mtu: Option<u16>) -> Result<()> {
    let target = address.to_string();
    let route = node.namespace().ip_json(&["route", "get", &target])?;
    let field = |name: &str, word: &str| {
        route[0][name].as_str().map(|value| format!("{word} {value}")).unwrap_or_default()
    };
    let prefix = if address.is_ipv4() { 32 } else { 128 };
    node.namespace().ip(&format!(
        "route replace {target}/{prefix} {} {} {} {} {}",
        field("gateway", "via"),
        field("dev", "dev"),
        field("prefsrc", "src"),
        mtu.map(|mtu| format!("mtu {mtu}")).unwrap_or_default(),
        if route[0]["gateway"].is_string() { "onlink" } else { "" },
    ))
}

/// While the way from `node` to `to` is small, `client` moves bytes both ways through a frontend.
fn moves_bytes(site: &Site, client: &Host, node: &Node, to: &Host, kind: Kind) -> Result<()> {
    let [_, _, far, _] = site.by_endpoint;
    for family in Family::BOTH {
        let frontend = far.at(kind, family, Protocol::Tcp);
        set_mtu(node, to.address(family), Some(SMALL_MTU))?;
        let moved = client.tcp(frontend).bulk(BYTES, BYTES);
        set_mtu(node, to.address(family), None)?;
        let moved = moved.with_context(|| format!("{family}, {frontend}"))?;
        let faults = (moved.upload_fault, moved.download_fault);
        ensure!(faults == (None, None), "{family}: bytes were changed: {moved:?}");
    }
    Ok(())
}

fn path_mtu_is_found_through_a_cluster_ip(site: &Site) -> Result<()> {
    let Cluster { client, far, b, .. } = &site.cluster;
    moves_bytes(site, client, b, far.host(), Kind::ClusterIp)
}

fn path_mtu_is_found_through_a_masqueraded_node_port(site: &Site) -> Result<()> {
    let Cluster { far, b, .. } = &site.cluster;
    moves_bytes(site, &site.outside, b, far.host(), Kind::NodePort)
}

fn path_mtu_is_found_towards_the_client_of_a_masqueraded_node_port(site: &Site) -> Result<()> {
    moves_bytes(site, &site.outside, &site.cluster.a, &site.outside, Kind::NodePort)
}

fn port_unreachable_comes_back_from_the_frontend(site: &Site) -> Result<()> {
    let deaf = crate::cluster::Exposed::new(DEAF, &site.cluster.a);
    for family in Family::BOTH {
        for (client, device, kind) in [
            (&site.outside, "uplink", Kind::NodePort),
            (&site.outside, "uplink", Kind::LoadBalancer),
            (&site.cluster.client, "eth0", Kind::ClusterIp),
            (&site.cluster.client, "eth0", Kind::NodePort),
        ] {
            let to = deaf.at(kind, family, Protocol::Udp);
            let wire = client.wire(device)?;
            let failure = client.udp(to).patience_ms(3000).refusal()?;
            ensure!(failure.trouble == Trouble::Refused, "{} asks {to}: {failure}", client.name());
            if site.is_translated_on_the_wire(client) {
                let error = wire.expect(Duration::from_secs(1), |seen| {
                    seen.destination().ip() == client.address(family) && seen.quoted().is_some()
                })?;
                ensure!(error.source().ip() == to.ip(), "{to} was asked: {error:?}");
                let quoted = error.quoted().and_then(Seen::parse_quoted).context("no quote")?;
                ensure!(quoted.destination() == to, "{to} was asked, quoted is {quoted:?}");
            }
        }
    }
    Ok(())
}

fn redirects_never_reach_a_client(site: &Site) -> Result<()> {
    let [_, _, far, host_network] = site.by_endpoint;
    let wires = [site.outside.wire("uplink")?, site.cluster.client.wire("eth0")?];
    by_all_means(|family, protocol| {
        for client in [&site.outside, &site.cluster.client] {
            for service in [far, host_network] {
                for kind in Kind::ALL {
                    crate::site::ask(client, service.at(kind, family, protocol), protocol)?;
                }
            }
        }
        Ok(())
    })?;
    for wire in wires {
        let redirects = wire.collect(Duration::from_millis(20), |seen| {
            matches!(
                (seen.source().ip(), seen.icmp()),
                (IpAddr::V4(_), Some((ICMP_REDIRECT, _)))
                    | (IpAddr::V6(_), Some((ICMPV6_REDIRECT, _)))
            )
        })?;
        ensure!(redirects.is_empty(), "{redirects:?}");
    }
    Ok(())
}

fn fragments_are_translated_both_ways(site: &Site) -> Result<()> {
    for family in Family::BOTH {
        for (service, server) in site.by_endpoint.into_iter().zip(site.servers()) {
            for client in [&site.outside, &site.cluster.client] {
                for kind in Kind::ALL {
                    let to = service.at(kind, family, Protocol::Udp);
                    let question = client.udp(to).size(LONG_DATAGRAM).fragmented();
                    // Where a link of IPv6 is smaller than the first one, each end has to learn it,
                    // and what taught it is lost.
                    let (answer, _) = eventually(Duration::from_secs(20), || {
                        Ok(question.clone().patience_ms(500).attempt()?.ok())
                    })
                    .with_context(|| format!("{} asks {to}", client.name()))?;
                    ensure!(answer.received_from == Some(to), "{answer:?}");
                    is_the_server(&answer.server, server)?;
                }
            }
        }
    }
    Ok(())
}

fn is_the_server(answered: &str, server: &Server) -> Result<()> {
    ensure!(answered == server.name(), "{answered} answered instead of {}", server.name());
    Ok(())
}
