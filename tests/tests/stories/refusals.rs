//! Refusals on the wire. Who is refused, and who hears nothing: see [`crate::rows::verdicts`].

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lab::{Family, Wiring, packet};

use crate::cluster::{Cluster, Path, Shape, Web};

const A_SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_refusal_on_the_wire_is_a_whole_packet_from_the_frontend() -> Result<()> {
    for wiring in Wiring::ALL {
        for offloaded in [true, false] {
            let cluster = Cluster::new(wiring)?;
            let empty = cluster.web(&[])?;
            let _agent = cluster.a.start_agent(&Shape { wiring, path: Path::Packet }.flags())?;
            if !offloaded {
                cluster.client.finish_checksums_on("eth0")?;
            }
            // What leaves towards the client is finished, so that it can be checked here.
            let host_side = cluster.client.peer_of("eth0", &cluster.a)?;
            cluster.a.finish_checksums_on(&host_side)?;
            for family in Family::BOTH {
                assert_whole_refusals(&cluster, empty, family)
                    .with_context(|| format!("{wiring}, {family}, client's offload {offloaded}"))?;
            }
        }
    }
    Ok(())
}

fn assert_whole_refusals(cluster: &Cluster, empty: Web, family: Family) -> Result<()> {
    let wire = cluster.client.wire("eth0")?;
    let (client, frontend) = (cluster.client.address(family), empty.addresses.of(family));
    cluster.client.tcp(empty.http(family)).refusal()?;
    let reset = wire
        .expect(A_SECOND, |seen| seen.is_between(frontend, client) && seen.tcp_flags().is_some())?;
    ensure!(reset.source() == empty.http(family));
    ensure!(reset.tcp_flags() == Some(packet::TCP_RST | packet::TCP_ACK), "{reset:?}");
    ensure!(reset.checksum_is_right(), "wrong checksum: {reset:?}");

    cluster.client.udp(empty.dns(family)).refusal()?;
    let error = wire.expect(A_SECOND, |seen| {
        seen.destination().ip() == client && seen.icmp() == Some(port_unreachable(family))
    })?;
    ensure!(error.checksum_is_right(), "wrong checksum: {error:?}");
    let quoted = error.quoted().context("an ICMP error quotes")?;
    let sent = packet::Seen::parse_quoted(quoted).context("it quotes no packet")?;
    ensure!(sent.source().ip() == client, "it quotes {sent:?}");
    ensure!(sent.destination() == empty.dns(family), "it quotes {sent:?}");
    Ok(())
}

#[test]
fn a_stray_segment_to_a_frontend_is_reset_without_an_acknowledgement() -> Result<()> {
    let shape = Shape { wiring: Wiring::Ptp, path: Path::Packet };
    let (cluster, web, _agent) = Cluster::serving(shape)?;
    for family in Family::BOTH {
        // Teaches the next hop's address.
        cluster.client.tcp(web.http(family)).ask()?;
        let hop = cluster.client.next_hop(web.addresses.of(family))?;
        let source = (cluster.client.address(family), 4711).into();
        let stray = packet::tcp(source, web.http(family), (100, 200), packet::TCP_ACK, b"stray");
        let wire = cluster.client.wire("eth0")?;
        wire.send(&packet::ethernet(hop.source, hop.destination, &stray))?;
        let reset = wire.expect(A_SECOND, |seen| seen.destination() == source)?;
        assert_eq!(reset.tcp_flags(), Some(packet::TCP_RST));
        // RFC 9293 §3.5.2: the reset takes its number from what was acknowledged.
        assert_eq!(reset.segment()[4..8], 200u32.to_be_bytes());
        assert!(reset.checksum_is_right());
    }
    Ok(())
}

fn port_unreachable(family: Family) -> (u8, u8) {
    match family {
        Family::V4 => (3, 3),
        Family::V6 => (1, 4),
    }
}
