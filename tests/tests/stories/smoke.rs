//! What every kernel must do, with as few starts of an agent as it takes: where a verifier is old and
//! the machine is emulated, each start takes a minute. `cargo xtask vm` runs it on the kernels of the
//! matrix.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result, ensure};
use lab::{
    Agent, AgentFlags, Bpftool, Family, Host, SERVICE_PREFIXES, Sluice, Wiring, manifest::Protocol,
    probe::Trouble,
};

use crate::{
    cluster::{Cluster, Kind, eventually},
    errnos::features,
    site::{ask, by_all_means},
};

#[test]
fn a_node_serves_on_both_paths_survives_its_agent_and_leaves_nothing() -> Result<()> {
    let cluster = Cluster::new(Wiring::Ptp)?;
    let outside = cluster.lab.outside("outside")?;
    cluster.lab.route(&SERVICE_PREFIXES, &cluster.a)?;
    let near = cluster.expose("near", 1, &[&cluster.near], |service| service)?;
    let far = cluster.expose("far", 2, &[&cluster.far], |service| service)?;
    let empty = cluster.expose("empty", 3, &[], |service| service)?;
    let flags = |scope| AgentFlags::new().socket_lb_tcp(scope).socket_lb_udp(scope);

    // Pods by their packets, the node at its sockets.
    let agent = cluster.a.start_agent(&flags("host"))?;
    let features = features(&agent.json(&cluster.a, &["status"])?)?;
    assert_devices_are_attached_by(
        &agent,
        &cluster,
        if features["tcx"] { "tcx" } else { "clsact" },
    )?;
    by_all_means(|family, protocol| {
        for client in [&cluster.client, &*cluster.a] {
            for service in [near, far] {
                ask(client, service.at(Kind::ClusterIp, family, protocol), protocol)?;
            }
        }
        ask(&outside, near.at(Kind::NodePort, family, protocol), protocol)?;
        let masqueraded = ask(&outside, far.at(Kind::NodePort, family, protocol), protocol)?;
        let seen = masqueraded.client_seen;
        ensure!(seen.ip() == cluster.a.address(family), "the endpoint sees {seen}, not the node");
        Ok(())
    })?;
    let nobody = |family| empty.at(Kind::ClusterIp, family, Protocol::Tcp);
    for family in Family::BOTH {
        refuses(&cluster.client, nobody(family))?;
        // Whatever this kernel lets a program say.
        refuses(&cluster.a, nobody(family))?;
    }

    // Without an agent, and with one that finds all this.
    let (mut open, first) =
        cluster.client.tcp(far.at(Kind::ClusterIp, Family::V4, Protocol::Tcp)).open()?;
    agent.kill()?;
    open.ask()?;
    ask(&cluster.client, far.at(Kind::ClusterIp, Family::V6, Protocol::Tcp), Protocol::Tcp)?;
    let agent = cluster.a.start_agent(&flags("all"))?;
    assert_eq!(open.ask()?.server, first.server);
    by_all_means(|family, protocol| {
        let wire = cluster.client.wire("eth0")?;
        let answer = ask(&cluster.client, far.at(Kind::ClusterIp, family, protocol), protocol)?;
        wire.expect(Duration::from_secs(5), |seen| seen.destination() == answer.endpoint)?;
        Ok(())
    })?;
    for family in Family::BOTH {
        refuses(&cluster.client, nobody(family))?;
    }

    // And nothing is left.
    agent.kill()?;
    Sluice::of_workspace()?.text(&cluster.a, &["cleanup"])?;
    ensure!(
        !cluster.a.pin_path().exists() || Bpftool::pins(&cluster.a.pin_path())?.is_empty(),
        "pins are left"
    );
    eventually(Duration::from_secs(10), || {
        let failure = cluster
            .client
            .tcp(near.at(Kind::ClusterIp, Family::V4, Protocol::Tcp))
            .patience_ms(300)
            .refusal();
        Ok(failure.is_ok().then_some(()))
    })?;
    Ok(())
}

fn refuses(client: &Host, to: SocketAddr) -> Result<()> {
    let failure = client.tcp(to).patience_ms(5000).refusal()?;
    ensure!(failure.trouble == Trouble::Refused, "{} asks {to}: {failure}", client.name());
    Ok(())
}

fn assert_devices_are_attached_by(agent: &Agent, cluster: &Cluster, by: &str) -> Result<()> {
    let status = agent.json(&cluster.a, &["status"])?;
    let programs = status["programs"].as_array().context("no programs")?;
    let of_devices: Vec<_> = programs.iter().filter(|program| program["by"] != "cgroup").collect();
    ensure!(!of_devices.is_empty(), "no device has a program");
    let all = of_devices.iter().all(|program| program["by"] == by);
    ensure!(all, "not all of them are attached by {by}: {of_devices:?}");
    Ok(())
}
