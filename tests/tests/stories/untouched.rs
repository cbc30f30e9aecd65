//! What is no Service's arrives byte for byte.

use std::{net::IpAddr, time::Duration};

use anyhow::{Context as _, Result};
use lab::{
    Family, Host, Wiring,
    packet::{self, ICMP, ICMPV6, TCP_ACK, TCP_SYN},
};

use crate::cluster::{Cluster, DNS, HTTP, Path, Shape};

/// A protocol for experiments (RFC 3692), of which the datapath knows nothing.
const EXPERIMENT: u8 = 253;
const DESTINATION_OPTIONS: u8 = 60;

#[test]
fn packets_between_pods_arrive_byte_for_byte() -> Result<()> {
    for wiring in Wiring::ALL {
        let shape = Shape { wiring, path: Path::Packet };
        let (cluster, _, _agent) = Cluster::serving(shape)?;
        for family in Family::BOTH {
            for server in [&cluster.near, &cluster.far] {
                // Teaches the next hops' addresses, both ways.
                cluster.client.tcp(server.tcp(family)).ask()?;
                let switched = wiring == Wiring::Bridge && server.name() == "near";
                let hops = match (switched, server.name()) {
                    (true, _) => 0,
                    (false, "near") => 1,
                    (false, _) => 2,
                };
                for (what, sent) in odd_packets(&cluster.client, server.host(), family) {
                    assert_arrives(&cluster.client, server.host(), &sent, hops)
                        .with_context(|| format!("{wiring}, {family}, to {}", server.name()))
                        .context(what)?;
                }
            }
        }
    }
    Ok(())
}

#[test]
fn endpoints_are_reached_directly_beside_their_service() -> Result<()> {
    for wiring in Wiring::ALL {
        let shape = Shape { wiring, path: Path::Packet };
        let (cluster, web, _agent) = Cluster::serving(shape)?;
        for family in Family::BOTH {
            for server in cluster.all() {
                cluster.client.tcp(web.http(family)).ask()?;
                let answer = cluster.client.tcp(server.tcp(family)).ask()?;
                assert_eq!(answer.server, server.name());
                assert_eq!(answer.peer, Some(server.tcp(family)));
                assert_eq!(answer.client_seen, answer.local);
                let answer = cluster.client.udp(server.udp(family)).ask()?;
                assert_eq!(answer.received_from, Some(server.udp(family)));
            }
        }
    }
    Ok(())
}

/// Packets to an endpoint's own address, of kinds that a careless datapath would change or drop.
fn odd_packets(client: &Host, server: &Host, family: Family) -> Vec<(&'static str, Vec<u8>)> {
    let (from, to) = (client.address(family), server.address(family));
    let (http, dns) = ((to, HTTP.1).into(), (to, DNS.1).into());
    let mut packets = vec![
        ("UDP to an endpoint", packet::udp((from, 4711).into(), dns, b"odd length")),
        ("UDP to the Service's port number", packet::udp((from, 53).into(), (to, 53).into(), b"x")),
        ("a SYN with data", packet::tcp((from, 80).into(), http, (7, 0), TCP_SYN, b"early")),
        ("a stray ACK", packet::tcp((from, 4712).into(), http, (7, 8), TCP_ACK, b"")),
    ];
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let echo = packet::echo_request(to.into(), 77);
            let mut without_checksum = packet::udp((from, 4713).into(), dns, b"unsummed");
            without_checksum[26..28].fill(0);
            packets.extend([
                ("an echo request", packet::ipv4(from, to, ICMP, &[], &echo)),
                ("an unknown protocol", packet::ipv4(from, to, EXPERIMENT, &[], b"experiment")),
                ("options", packet::ipv4(from, to, EXPERIMENT, &[1, 1, 1, 0], b"experiment")),
                ("a header cut short", packet::ipv4(from, to, packet::TCP, &[], b"\x12\x67\x1f")),
                ("UDP without checksum", without_checksum),
            ]);
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            // A pad option of six bytes, then a header that is none.
            let extension = [&[59, 0, 1, 4, 0, 0, 0, 0][..], b"rest"].concat();
            packets.extend([
                ("an unknown protocol", packet::ipv6(from, to, EXPERIMENT, b"experiment")),
                ("an extension", packet::ipv6(from, to, DESTINATION_OPTIONS, &extension)),
                ("a header cut short", packet::ipv6(from, to, packet::TCP, b"\x12\x67\x1f")),
                ("an unknown ICMPv6 type", packet::ipv6(from, to, ICMPV6, &[200, 0, 0, 0, 1])),
            ]);
        }
        _ => unreachable!("both are of one family"),
    }
    packets
}

fn assert_arrives(client: &Host, server: &Host, sent: &[u8], hops: usize) -> Result<()> {
    let hop = client.next_hop(packet::Seen::parse(sent).context("odd")?.destination().ip())?;
    let arriving = server.wire("eth0")?;
    let expected = (0..hops).fold(sent.to_vec(), |packet, _| packet::after_one_hop(&packet));
    client.wire("eth0")?.send(&packet::ethernet(hop.source, hop.destination, sent))?;
    arriving.expect(Duration::from_secs(1), |seen| seen.bytes() == expected)?;
    Ok(())
}
