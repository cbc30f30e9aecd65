//! A ClusterIP is reached from pods and from the node, and both ends see what they should.

use std::time::Duration;

use anyhow::{Result, ensure};
use lab::{AgentFlags, Family, Wiring};

use crate::cluster::{Cluster, Path, Shape, tally};

in_every_shape![
    pods_reach_every_endpoint_over_tcp,
    pods_reach_every_endpoint_over_udp,
    connected_udp_sockets_are_served_too,
    ipv6_sockets_reach_ipv4_frontends,
    the_path_that_was_asked_for_is_taken,
    a_pod_reaches_itself,
];

fn pods_reach_every_endpoint_over_tcp(shape: Shape) -> Result<()> {
    let (cluster, web, _agent) = Cluster::serving(shape)?;
    let before = cluster.counters()?;
    for family in Family::BOTH {
        let frontend = web.http(family);
        let answers = tally(
            || cluster.client.tcp(frontend).ask(),
            |answer| {
                let seen = answer.client_seen;
                ensure!(seen.ip() == cluster.client.address(family), "the server sees {seen}");
                ensure!(seen == answer.local, "the port changed on the way");
                ensure!(answer.peer == Some(frontend), "getpeername() shows {:?}", answer.peer);
                Ok(())
            },
        )?;
        assert_eq!(answers.len(), 3, "{shape}, {family}: {answers:?}");
    }
    cluster.assert_trusted(&before)
}

fn pods_reach_every_endpoint_over_udp(shape: Shape) -> Result<()> {
    let (cluster, web, _agent) = Cluster::serving(shape)?;
    let before = cluster.counters()?;
    for family in Family::BOTH {
        let frontend = web.dns(family);
        let answers = tally(
            || cluster.client.udp(frontend).ask(),
            |answer| {
                let (seen, from) = (answer.client_seen, answer.received_from);
                ensure!(seen.ip() == cluster.client.address(family), "the server sees {seen}");
                ensure!(from == Some(frontend), "recvfrom() shows {from:?}");
                Ok(())
            },
        )?;
        assert_eq!(answers.len(), 3, "{shape}, {family}: {answers:?}");
    }
    cluster.assert_trusted(&before)
}

fn connected_udp_sockets_are_served_too(shape: Shape) -> Result<()> {
    let (cluster, web, _agent) = Cluster::serving(shape)?;
    for family in Family::BOTH {
        let frontend = web.dns(family);
        let (mut socket, first) = cluster.client.udp(frontend).connected().open()?;
        for _ in 0..20 {
            let answer = socket.ask()?;
            assert_eq!(answer.server, first.server, "a flow stays with its endpoint");
            assert_eq!(answer.peer, Some(frontend));
            assert_eq!(answer.received_from, Some(frontend));
            assert_eq!(answer.client_seen.ip(), cluster.client.address(family));
        }
    }
    Ok(())
}

fn ipv6_sockets_reach_ipv4_frontends(shape: Shape) -> Result<()> {
    let (cluster, web, _agent) = Cluster::serving(shape)?;
    let answer = cluster.client.tcp(web.http(Family::V4)).mapped().ask()?;
    assert_eq!(answer.peer, Some(web.http(Family::V4)));
    assert_eq!(answer.client_seen.ip(), cluster.client.address(Family::V4));
    for connected in [false, true] {
        let client = cluster.client.udp(web.dns(Family::V4)).mapped();
        let answer = if connected { client.connected().ask()? } else { client.ask()? };
        assert_eq!(answer.received_from, Some(web.dns(Family::V4)));
        assert_eq!(answer.client_seen.ip(), cluster.client.address(Family::V4));
    }
    Ok(())
}

fn the_path_that_was_asked_for_is_taken(shape: Shape) -> Result<()> {
    let (cluster, web, _agent) = Cluster::serving(shape)?;
    for family in Family::BOTH {
        let wire = cluster.client.wire("eth0")?;
        let tcp = cluster.client.tcp(web.http(family)).ask()?;
        let udp = cluster.client.udp(web.dns(family)).ask()?;
        for (answer, frontend) in [(tcp, web.http(family)), (udp, web.dns(family))] {
            let on_the_wire = match shape.path {
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

fn a_pod_reaches_itself(shape: Shape) -> Result<()> {
    let cluster = Cluster::new(shape.wiring)?;
    let own = cluster.web(&[&cluster.near])?;
    let _agent = cluster.a.start_agent(&shape.flags())?;
    let pod = cluster.near.host();
    for family in Family::BOTH {
        let answer = pod.tcp(own.http(family)).ask()?;
        assert_eq!((answer.server.as_str(), answer.peer), ("near", Some(own.http(family))));
        let answer = pod.udp(own.dns(family)).ask()?;
        assert_eq!(answer.received_from, Some(own.dns(family)));
    }
    Ok(())
}

#[test]
fn processes_of_the_node_reach_every_endpoint() -> Result<()> {
    for wiring in Wiring::ALL {
        let cluster = Cluster::new(wiring)?;
        let web = cluster.web(&cluster.all())?;
        let _agent = cluster.a.start_agent(&AgentFlags::new())?;
        for family in Family::BOTH {
            let answers = tally(
                || cluster.a.tcp(web.http(family)).ask(),
                |answer| {
                    ensure!(answer.client_seen == answer.local, "not as the kernel routes it");
                    ensure!(answer.peer == Some(web.http(family)));
                    Ok(())
                },
            )?;
            assert_eq!(answers.len(), 3, "{wiring}, {family}, TCP: {answers:?}");
            let answers = tally(
                || cluster.a.udp(web.dns(family)).ask(),
                |answer| {
                    ensure!(answer.received_from == Some(web.dns(family)));
                    Ok(())
                },
            )?;
            assert_eq!(answers.len(), 3, "{wiring}, {family}, UDP: {answers:?}");
        }
    }
    Ok(())
}

#[test]
fn endpoints_share_the_work_evenly() -> Result<()> {
    for path in [Path::Packet, Path::Socket] {
        let (cluster, web, _agent) = Cluster::serving(Shape { wiring: Wiring::Ptp, path })?;
        let mut most = 0;
        for _ in 0..4 {
            let answers = tally(|| cluster.client.tcp(web.http(Family::V4)).ask(), |_| Ok(()))?;
            most = most.max(answers.values().copied().max().unwrap_or(0));
        }
        // 30 of 90 each; 60 would be six standard deviations off.
        assert!(most < 57, "one endpoint got {most} of 90 connections on the {path:?} path");
    }
    Ok(())
}
