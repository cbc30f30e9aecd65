//! SCTP, packet by packet: this kernel needs no SCTP for it, and never loads it.
//!
//! Where port and target port agree, only addresses change: the checksum (CRC-32c) does not cover
//! them, and is passed on as it came. Another target port is refused, and said.

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    sync::atomic::{AtomicU16, Ordering},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use lab::{
    Addresses, AgentFlags, Family, Host, NextHop, SERVICE_PREFIXES, Wire, Wiring,
    manifest::{self, Protocol, endpoint_slice, service},
    packet::{self, SCTP, Seen},
};

use crate::cluster::{Cluster, eventually};

const NUMBER: u8 = 62;
/// The Service's port, its target port, and its NodePort.
const PORT: u16 = 30_062;
/// A port whose target port is another one.
const MOVED: (u16, u16) = (30_063, 3868);
const CLIENT_PORT: u16 = 20_000;
const PATIENCE: Duration = Duration::from_secs(20);

/// An INIT chunk behind a common header; whatever it says, it has to arrive as it is.
const INIT: [u8; 28] = [
    0, 0, 0, 0, 0xde, 0xad, 0xbe, 0xef, 1, 0, 0, 20, 1, 2, 3, 4, 0, 0, 0xff, 0xff, 0, 1, 0, 1, 5,
    6, 7, 8,
];

fn modules() -> String {
    fs::read_to_string("/proc/modules").unwrap_or_default()
}

#[test]
fn sctp_is_translated_by_address_alone_and_no_module_is_loaded() -> Result<()> {
    let before = modules();
    let cluster = Cluster::new(Wiring::Ptp)?;
    let outside = cluster.lab.outside("outside")?;
    cluster.lab.route(&SERVICE_PREFIXES, &cluster.a)?;
    for (name, number, server) in
        [("near-sctp", NUMBER, &cluster.near), ("far-sctp", NUMBER + 1, &cluster.far)]
    {
        let object = service(name, Addresses::cluster_ips(number))
            .port("diameter", PORT, Protocol::Sctp)
            .node_port(PORT + u16::from(number - NUMBER) * 10)
            .load_balancer(Addresses::load_balancer_ips(number));
        let node = if name == "near-sctp" { &cluster.a } else { &cluster.b };
        let [v4, v6] = endpoint_slice(name)
            .port("diameter", PORT, Protocol::Sctp)
            .endpoint(server.host(), node)
            .objects();
        let objects = [object.object(), v4, v6];
        manifest::write(&cluster.lab.manifests(), &format!("{name}.yaml"), &objects)?;
    }
    let _agent = cluster.a.start_agent(&AgentFlags::new())?;
    for family in Family::BOTH {
        for (number, server) in [(NUMBER, &cluster.near), (NUMBER + 1, &cluster.far)] {
            let frontends = [
                Addresses::cluster_ips(number).of(family),
                Addresses::load_balancer_ips(number).of(family),
            ];
            for (client, device) in [(&cluster.client, "eth0"), (&outside, "uplink")] {
                for frontend in frontends {
                    there_and_back(client, device, (frontend, PORT).into(), server)
                        .with_context(|| format!("{} to {frontend}", client.name()))?;
                }
            }
        }
        // One NodePort agrees with the target port.
        let node_port = (cluster.a.address(family), PORT).into();
        there_and_back(&outside, "uplink", node_port, &cluster.near)?;
    }
    ensure!(modules() == before, "a module was loaded");
    Ok(())
}

/// An INIT arrives at the server's pod as it was sent, and the answer comes from the frontend.
fn there_and_back(
    client: &Host,
    device: &str,
    frontend: SocketAddr,
    server: &lab::Server,
) -> Result<()> {
    let family = Family::of(frontend.ip());
    // Ports can't be changed, so that two frontends on one endpoint need two ports of the client.
    static PORTS: AtomicU16 = AtomicU16::new(CLIENT_PORT);
    let source = (client.address(family), PORTS.fetch_add(1, Ordering::Relaxed)).into();
    let (at_client, at_server) = (client.wire(device)?, server.host().wire("eth0")?);
    let sent = packet::sctp(source, frontend, &INIT);
    send(client, &at_client, &sent)?;
    let endpoint = (server.host().address(family), PORT);
    let arrived = at_server
        .expect(PATIENCE, |seen| seen.protocol() == SCTP && seen.destination() == endpoint.into())
        .context("it did not arrive")?;
    let (was, is) = (Seen::parse(&sent).expect("an SCTP packet"), arrived.clone());
    ensure!(
        was.segment() == is.segment(),
        "{frontend}: {:?} became {:?}",
        was.segment(),
        is.segment()
    );
    let answer = packet::sctp(arrived.destination(), arrived.source(), &INIT);
    send(server.host(), &at_server, &answer)?;
    let back = at_client
        .expect(PATIENCE, |seen| seen.protocol() == SCTP && seen.destination() == source)?;
    ensure!(back.source() == frontend, "the answer comes from {}", back.source());
    Ok(())
}

/// Sends a packet to the next hop that it has.
fn send(host: &Host, wire: &Wire, bytes: &[u8]) -> Result<()> {
    let to: IpAddr = Seen::parse(bytes).expect("a packet").destination().ip();
    let hop = next_hop(host, to)?;
    wire.send(&packet::ethernet(hop.source, hop.destination, bytes))
}

/// The host's next hop to `to`; a packet that way teaches the address of one that is unknown. One that
/// is known isn't asked again: a node answers what it forwards to no Service with a redirect (RFC 792) to
/// another hop, and the host would follow it.
fn next_hop(host: &Host, to: IpAddr) -> Result<NextHop> {
    if let Ok(hop) = host.next_hop(to) {
        return Ok(hop);
    }
    let _ = host.udp((to, 9).into()).patience_ms(1).attempt()?;
    Ok(eventually(PATIENCE, || Ok(host.next_hop(to).ok()))?.0)
}

#[test]
fn sctp_to_another_target_port_is_dropped_and_the_agent_says_why() -> Result<()> {
    let cluster = Cluster::new(Wiring::Ptp)?;
    let object = service("moved-sctp", Addresses::cluster_ips(NUMBER)).port(
        "diameter",
        MOVED.0,
        Protocol::Sctp,
    );
    let [v4, v6] = endpoint_slice("moved-sctp")
        .port("diameter", MOVED.1, Protocol::Sctp)
        .endpoint(cluster.near.host(), &cluster.a)
        .objects();
    manifest::write(&cluster.lab.manifests(), "moved.yaml", &[object.object(), v4, v6])?;
    let mut agent = cluster.a.start_agent(&AgentFlags::new())?;
    let told = agent.wait_for_log(PATIENCE, |line| line.contains("moved-sctp"))?;
    ensure!(told.contains("SCTP") && told.contains(&MOVED.1.to_string()), "it says {told}");
    for family in Family::BOTH {
        let frontend = (Addresses::cluster_ips(NUMBER).of(family), MOVED.0).into();
        let source = (cluster.client.address(family), CLIENT_PORT).into();
        let (at_client, at_server) =
            (cluster.client.wire("eth0")?, cluster.near.host().wire("eth0")?);
        send(&cluster.client, &at_client, &packet::sctp(source, frontend, &INIT))?;
        let arrived =
            at_server.collect(Duration::from_millis(100), |seen| seen.protocol() == SCTP)?;
        ensure!(arrived.is_empty(), "{arrived:?}");
    }
    Ok(())
}
