//! A ClusterIP as pods and processes of the node see it: every kind of socket, and what both ends see.

use std::time::Duration;

use anyhow::{Result, ensure};
use lab::{Family, manifest::Protocol, probe::Answer};

use crate::{
    cluster::{Kind, Path},
    rows::rows,
    site::{Site, reach},
};

rows![Site:
    pods_reach_every_endpoint_over_tcp,
    pods_reach_every_endpoint_over_udp,
    connected_udp_sockets_are_served_too,
    ipv6_sockets_reach_ipv4_frontends,
    the_path_that_was_asked_for_is_taken,
    a_pod_reaches_itself,
    processes_of_the_node_reach_every_endpoint,
];

fn pods_reach_every_endpoint_over_tcp(site: &Site) -> Result<()> {
    for family in Family::BOTH {
        let to = site.everywhere.at(Kind::ClusterIp, family, Protocol::Tcp);
        for answer in reach(&site.cluster.client, to, Protocol::Tcp, &site.servers())? {
            is_seen_as_itself(site, &answer, family)?;
            // A CNI that masquerades may have to change the port.
            let same_port = answer.client_seen.port() == answer.local.port();
            ensure!(same_port || site.place.masquerades(), "the port changed: {answer:?}");
        }
    }
    Ok(())
}

fn pods_reach_every_endpoint_over_udp(site: &Site) -> Result<()> {
    for family in Family::BOTH {
        let to = site.everywhere.at(Kind::ClusterIp, family, Protocol::Udp);
        for answer in reach(&site.cluster.client, to, Protocol::Udp, &site.servers())? {
            is_seen_as_itself(site, &answer, family)?;
        }
    }
    Ok(())
}

/// The endpoint sees the pod's own address, unless it is a node and the CNI masquerades.
fn is_seen_as_itself(site: &Site, answer: &Answer, family: Family) -> Result<()> {
    let is_node = site.cluster.b.address(family) == answer.endpoint.ip();
    let client = if is_node && site.place.masquerades() {
        site.cluster.a.address(family)
    } else {
        site.cluster.client.address(family)
    };
    ensure!(answer.client_seen.ip() == client, "the server sees {}", answer.client_seen);
    Ok(())
}

fn connected_udp_sockets_are_served_too(site: &Site) -> Result<()> {
    for family in Family::BOTH {
        let to = site.everywhere.at(Kind::ClusterIp, family, Protocol::Udp);
        let (mut socket, first) = site.cluster.client.udp(to).connected().open()?;
        for _ in 0..20 {
            let answer = socket.ask()?;
            ensure!(answer.server == first.server, "a flow stays with its endpoint");
            ensure!(answer.peer == Some(to) && answer.received_from == Some(to), "{answer:?}");
            is_seen_as_itself(site, &answer, family)?;
        }
    }
    Ok(())
}

fn ipv6_sockets_reach_ipv4_frontends(site: &Site) -> Result<()> {
    let [near, ..] = site.by_endpoint;
    let client = &site.cluster.client;
    let to = near.at(Kind::ClusterIp, Family::V4, Protocol::Tcp);
    let answer = client.tcp(to).mapped().ask()?;
    ensure!(answer.peer == Some(to), "{answer:?}");
    is_seen_as_itself(site, &answer, Family::V4)?;
    let to = near.at(Kind::ClusterIp, Family::V4, Protocol::Udp);
    for connected in [false, true] {
        let udp = client.udp(to).mapped();
        let answer = if connected { udp.connected().ask()? } else { udp.ask()? };
        ensure!(answer.received_from == Some(to), "{answer:?}");
        is_seen_as_itself(site, &answer, Family::V4)?;
    }
    Ok(())
}

fn the_path_that_was_asked_for_is_taken(site: &Site) -> Result<()> {
    let client = &site.cluster.client;
    for family in Family::BOTH {
        let wire = client.wire("eth0")?;
        let [near, ..] = site.by_endpoint;
        let [tcp, udp] = [Protocol::Tcp, Protocol::Udp]
            .map(|protocol| near.at(Kind::ClusterIp, family, protocol));
        for (answer, frontend) in [(client.tcp(tcp).ask()?, tcp), (client.udp(udp).ask()?, udp)] {
            let on_the_wire = match site.place.path {
                Path::Packet => frontend,
                Path::Socket => answer.endpoint,
            };
            wire.expect(Duration::from_secs(1), |seen| {
                seen.source() == answer.client_seen && seen.destination() == on_the_wire
            })?;
        }
    }
    Ok(())
}

fn a_pod_reaches_itself(site: &Site) -> Result<()> {
    let [near, ..] = site.by_endpoint;
    let pod = site.cluster.near.host();
    for family in Family::BOTH {
        let to = near.at(Kind::ClusterIp, family, Protocol::Tcp);
        let answer = pod.tcp(to).ask()?;
        ensure!(answer.server == "near" && answer.peer == Some(to), "{answer:?}");
        let to = near.at(Kind::ClusterIp, family, Protocol::Udp);
        ensure!(pod.udp(to).ask()?.received_from == Some(to));
    }
    Ok(())
}

fn processes_of_the_node_reach_every_endpoint(site: &Site) -> Result<()> {
    let node = &*site.cluster.a;
    for family in Family::BOTH {
        let to = site.everywhere.at(Kind::ClusterIp, family, Protocol::Tcp);
        for answer in reach(node, to, Protocol::Tcp, &site.servers())? {
            ensure!(answer.client_seen == answer.local, "not as the kernel routes it: {answer:?}");
        }
        let to = site.everywhere.at(Kind::ClusterIp, family, Protocol::Udp);
        reach(node, to, Protocol::Udp, &site.servers())?;
    }
    Ok(())
}
