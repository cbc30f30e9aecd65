//! Ports of masqueraded flows: never one that a process of the node uses or that is a NodePort, and
//! no packet is let through when none is left.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lab::{AgentFlags, Family, Host, SERVICE_PREFIXES, Wiring, manifest::Protocol, probe::Trouble};

use crate::cluster::{Cluster, DNS, Exposed, HTTP, Kind};

const NUMBER: u8 = 54;
/// Of these four ports the node's processes have two, and one is a NodePort.
const RANGE: &str = "61000-61003";
const USED: [u16; 2] = [61_000, 61_001];
const NODE_PORT: u16 = 61_002;
const LEFT: u16 = 61_003;

struct Scene {
    outside: Host,
    service: Exposed,
    _own: [lab::Server; 2],
    cluster: Cluster,
}

impl Scene {
    fn new() -> Result<Self> {
        let cluster = Cluster::new(Wiring::Ptp)?;
        let outside = cluster.lab.outside("outside")?;
        cluster.lab.route(&SERVICE_PREFIXES, &cluster.a)?;
        let service = cluster.expose("masqueraded", NUMBER, &[&cluster.far], |it| it)?;
        let other = lab::manifest::service("other", lab::Addresses::cluster_ips(NUMBER + 1))
            .port("http", HTTP.0, Protocol::Tcp)
            .node_port(NODE_PORT)
            .port("dns", DNS.0, Protocol::Udp)
            .node_port(NODE_PORT);
        cluster.write("other", &other, &[&cluster.near])?;
        let own = [cluster.a.serve(USED[0], USED[0])?, cluster.a.serve(USED[1], USED[1])?];
        Ok(Self { outside, service, _own: own, cluster })
    }
}

#[test]
fn a_masquerade_port_is_nobody_elses() -> Result<()> {
    let scene = Scene::new()?;
    let flags = AgentFlags::new().with("--masquerade-ports", RANGE);
    let _agent = scene.cluster.a.start_agent(&flags)?;
    for family in Family::BOTH {
        let to = scene.service.at(Kind::NodePort, family, Protocol::Tcp);
        // Where the choice is tried a few times at random, a packet may be lost: it is sent again.
        let (_open, answer) = scene.outside.tcp(to).patience_ms(20_000).open()?;
        ensure!(answer.client_seen.port() == LEFT, "the endpoint sees {}", answer.client_seen);
        for port in USED {
            // What the endpoint's host sends there is for the process.
            let to = (scene.cluster.a.address(family), port).into();
            ensure!(scene.cluster.far.host().tcp(to).ask()?.server == "node-a");
        }
    }
    Ok(())
}

#[test]
fn when_no_masquerade_port_is_left_packets_are_dropped_and_counted() -> Result<()> {
    let scene = Scene::new()?;
    let flags = AgentFlags::new().with("--masquerade-ports", "61000-61002");
    let agent = scene.cluster.a.start_agent(&flags)?;
    for family in Family::BOTH {
        let leaks = scene.cluster.far.host().wire("eth0")?;
        let to = scene.service.at(Kind::NodePort, family, Protocol::Tcp);
        let failure = scene.outside.tcp(to).patience_ms(300).refusal()?;
        ensure!(failure.trouble == Trouble::TimedOut, "{failure}");
        let to = scene.service.at(Kind::NodePort, family, Protocol::Udp);
        let failure = scene.outside.udp(to).patience_ms(300).refusal()?;
        ensure!(failure.trouble == Trouble::TimedOut, "{failure}");
        let leaked = leaks.collect(Duration::from_millis(20), |seen| {
            matches!(seen.protocol(), lab::packet::TCP | lab::packet::UDP)
        })?;
        ensure!(leaked.is_empty(), "{leaked:?}");
    }
    let status = agent.json(&scene.cluster.a, &["status"])?;
    let counted = status["counters"]
        .as_array()
        .and_then(|counters| {
            counters.iter().find(|one| one["name"] == "masquerade-ports-exhausted")
        })
        .and_then(|counter| counter["count"].as_u64())
        .with_context(|| format!("it is not counted: {}", status["counters"]))?;
    ensure!(counted >= 4, "{counted} were counted");
    Ok(())
}
