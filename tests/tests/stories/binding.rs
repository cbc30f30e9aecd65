//! NodePorts and the node's own processes: nobody binds one by accident, and nothing of Sluice's
//! listens there.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result, ensure};
use lab::{AgentFlags, Family, Host, Wiring, manifest, probe::Trouble};

use crate::cluster::{Cluster, eventually};

const NUMBER: u8 = 53;
const FREE: u16 = 30_999;
const PATIENCE: Duration = Duration::from_secs(20);

/// Any address and a loopback address, of each family, with this port.
fn addresses(port: u16) -> [SocketAddr; 4] {
    ["0.0.0.0", "127.0.0.1", "::", "::1"]
        .map(|address| SocketAddr::new(address.parse().expect("an address"), port))
}

fn may_bind(host: &Host, address: SocketAddr, datagrams: bool) -> Result<bool> {
    match host.bind(address, datagrams)? {
        Ok(()) => Ok(true),
        Err(failure) => {
            let taken = failure.trouble == Trouble::Other(libc::EADDRINUSE);
            ensure!(taken, "{} binds {address}: {failure}", host.name());
            Ok(false)
        }
    }
}

#[test]
fn no_process_of_the_node_binds_a_node_port_by_accident() -> Result<()> {
    let cluster = Cluster::new(Wiring::Ptp)?;
    let service = cluster.expose("bound", NUMBER, &[&cluster.near], |it| it)?;
    let agent = cluster.a.start_agent(&AgentFlags::new())?;
    for datagrams in [false, true] {
        for address in addresses(service.node_port()) {
            let context = || format!("{address}, datagrams: {datagrams}");
            ensure!(!may_bind(&cluster.a, address, datagrams).with_context(context)?, context());
            // A pod has ports of its own.
            ensure!(may_bind(&cluster.client, address, datagrams)?, context());
        }
        for address in addresses(FREE) {
            ensure!(may_bind(&cluster.a, address, datagrams)?, "{address} belongs to nobody");
        }
    }
    // It holds without an agent, and ends with the Service.
    agent.kill()?;
    ensure!(!may_bind(&cluster.a, addresses(service.node_port())[0], false)?);
    let _agent = cluster.a.start_agent(&AgentFlags::new())?;
    manifest::remove(&cluster.lab.manifests(), "bound.yaml")?;
    for address in addresses(service.node_port()) {
        eventually(PATIENCE, || Ok(may_bind(&cluster.a, address, false)?.then_some(())))?;
    }
    Ok(())
}

#[test]
fn without_bind_protection_every_port_can_be_bound_so_nothing_listens_there() -> Result<()> {
    let cluster = Cluster::new(Wiring::Ptp)?;
    let service = cluster.expose("bound", NUMBER, &[&cluster.near], |it| it)?;
    let protected = cluster.a.start_agent(&AgentFlags::new())?;
    let address = addresses(service.node_port())[0];
    ensure!(!may_bind(&cluster.a, address, false)?, "protection is the default");
    protected.kill()?;
    let flags = AgentFlags::new().with("--bind-protection", "false");
    let _agent = cluster.a.start_agent(&flags)?;
    for datagrams in [false, true] {
        for address in addresses(service.node_port()) {
            ensure!(may_bind(&cluster.a, address, datagrams)?, "{address}, {datagrams}");
        }
    }
    for family in Family::BOTH {
        let to = service.at(crate::cluster::Kind::NodePort, family, manifest::Protocol::Tcp);
        ensure!(cluster.client.tcp(to).ask()?.server == "near");
    }
    Ok(())
}
