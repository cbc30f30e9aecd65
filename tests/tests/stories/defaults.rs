//! What happens without flags: TCP at the socket for everyone, UDP at the socket for the node only.

use std::time::Duration;

use anyhow::Result;
use lab::{AgentFlags, Family, Wiring};

use crate::cluster::Cluster;

#[test]
fn tcp_of_pods_is_translated_at_the_socket_and_udp_on_the_wire() -> Result<()> {
    let cluster = Cluster::new(Wiring::Ptp)?;
    let web = cluster.web(&cluster.all())?;
    let _agent = cluster.a.start_agent(&AgentFlags::new())?;
    for family in Family::BOTH {
        let wire = cluster.client.wire("eth0")?;
        let tcp = cluster.client.tcp(web.http(family)).ask()?;
        wire.expect(Duration::from_secs(1), |seen| seen.destination() == tcp.endpoint)?;
        let udp = cluster.client.udp(web.dns(family)).ask()?;
        wire.expect(Duration::from_secs(1), |seen| {
            seen.source() == udp.client_seen && seen.destination() == web.dns(family)
        })?;
    }
    Ok(())
}

#[test]
fn udp_of_the_node_is_translated_at_the_socket() -> Result<()> {
    let cluster = Cluster::new(Wiring::Ptp)?;
    let web = cluster.web(&[&cluster.far])?;
    let _agent = cluster.a.start_agent(&AgentFlags::new())?;
    for family in Family::BOTH {
        let wire = cluster.a.wire("uplink")?;
        let answer = cluster.a.udp(web.dns(family)).ask()?;
        wire.expect(Duration::from_secs(1), |seen| seen.destination() == answer.endpoint)?;
    }
    Ok(())
}

#[test]
fn the_scope_host_leaves_pods_to_the_packet_path() -> Result<()> {
    let cluster = Cluster::new(Wiring::Ptp)?;
    let web = cluster.web(&[&cluster.far])?;
    let flags = AgentFlags::new().socket_lb_tcp("host").socket_lb_udp("host");
    let _agent = cluster.a.start_agent(&flags)?;
    for family in Family::BOTH {
        let wire = cluster.client.wire("eth0")?;
        let answer = cluster.client.tcp(web.http(family)).ask()?;
        assert_eq!(answer.peer, Some(web.http(family)));
        wire.expect(Duration::from_secs(1), |seen| seen.destination() == web.http(family))?;
        assert_eq!(cluster.a.tcp(web.http(family)).ask()?.server, "far");
    }
    Ok(())
}
