//! A flood of made-up clients: who is connected stays connected, who is new gets in.

use std::{
    env,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use lab::{
    AgentFlags, Crowd, Family, Host, SERVICE_PREFIXES, Wire, Wiring, manifest::Protocol, packet,
};

use crate::cluster::{Cluster, Exposed, Kind};

const NUMBER: u8 = 58;
/// Room for the established connections and little more; a flood fills the table of new flows many
/// times over.
const SMALL_TABLES: [(&str, &str); 2] =
    [("--flow-table-size", "4096"), ("--new-flow-table-size", "2048")];
const CONNECTIONS: usize = 1000;
/// Has the flood last as long as the promise says.
const LONG: &str = "SLUICE_LAB_LONG";
/// A packet may be lost in a queue that is full; TCP sends it again.
const PATIENCE_MS: u64 = 30_000;

#[test]
fn a_flood_of_spoofed_clients_loses_no_connection_and_lets_new_ones_in() -> Result<()> {
    let lasts = Duration::from_secs(if env::var_os(LONG).is_some() { 60 } else { 5 });
    let cluster = Cluster::new(Wiring::Ptp)?;
    let (outside, flooder) = (cluster.lab.outside("outside")?, cluster.lab.outside("flooder")?);
    cluster.lab.route(&SERVICE_PREFIXES, &cluster.a)?;
    let service = cluster.expose("flooded", NUMBER, &[&cluster.near, &cluster.far], |it| it)?;
    let flags = AgentFlags::new().socket_lb_tcp("host");
    let flags = SMALL_TABLES.iter().fold(flags, |flags, (name, value)| flags.with(name, value));
    let _agent = cluster.a.start_agent(&flags)?;
    let mut crowds = Vec::new();
    for family in Family::BOTH {
        for (client, kind) in [(&outside, Kind::NodePort), (&cluster.client, Kind::ClusterIp)] {
            let to = service.at(kind, family, Protocol::Tcp);
            let (crowd, opened) = client.crowd(to, CONNECTIONS / 4, PATIENCE_MS)?;
            ensure!(opened.failures.is_empty(), "before the flood: {:?}", opened.failures);
            crowds.push(crowd);
        }
    }
    let mut flood = Flood::aim(&flooder, service)?;
    let over = AtomicBool::new(false);
    let (sent, rounds) = thread::scope(|scope| -> Result<(u64, u32)> {
        let flooding = scope.spawn(|| flood.run(&over));
        let outcome = keep_asking(&mut crowds, &outside, service, lasts);
        over.store(true, Ordering::Relaxed);
        let sent = flooding.join().expect("the flood does not panic");
        Ok((sent, outcome?))
    })?;
    println!("{sent} packets in {lasts:?}, {rounds} rounds of questions and new connections");
    for crowd in &mut crowds {
        let last = crowd.ask()?;
        ensure!(last.endpoints.len() == CONNECTIONS / 4, "lost: {:?}", last.failures);
    }
    Ok(())
}

/// Asks every connection, and opens new ones, until the time is over.
fn keep_asking(
    crowds: &mut [Crowd],
    client: &Host,
    service: Exposed,
    lasts: Duration,
) -> Result<u32> {
    let start = Instant::now();
    let mut rounds = 0;
    while start.elapsed() < lasts {
        for crowd in &mut *crowds {
            let asked = crowd.ask()?;
            let failures = &asked.failures;
            ensure!(failures.is_empty(), "after {:?}: {failures:?}", start.elapsed());
        }
        for family in Family::BOTH {
            let to = service.at(Kind::NodePort, family, Protocol::Tcp);
            let answer = client.tcp(to).patience_ms(PATIENCE_MS).ask();
            answer.with_context(|| format!("a new connection after {:?}", start.elapsed()))?;
        }
        rounds += 1;
    }
    Ok(rounds)
}

/// SYNs and datagrams from clients that don't exist, as fast as they can be sent.
struct Flood {
    wire: Wire,
    frames: Vec<Frame>,
}

/// A frame of which the client's port can be changed and the checksum still be right: another word
/// changes the other way.
struct Frame {
    bytes: Vec<u8>,
    port: usize,
    balance: usize,
}

/// Made-up addresses of each family and protocol; ports make many clients of each.
const ADDRESSES: u16 = 512;
const FIRST_PORT: u16 = 1024;
const PORTS: u16 = 60_000;
const ETHERNET_HEADER: usize = 14;

impl Flood {
    fn aim(from: &Host, service: Exposed) -> Result<Self> {
        let mut frames = Vec::new();
        for family in Family::BOTH {
            let to = service.at(Kind::NodePort, family, Protocol::Tcp);
            // Teaches the next hop's address.
            from.tcp(to).ask()?;
            let hop = from.next_hop(to.ip())?;
            let header =
                if family == Family::V4 { packet::IPV4_HEADER } else { packet::IPV6_HEADER };
            let port = ETHERNET_HEADER + header;
            for number in 0..ADDRESSES {
                let source = SocketAddr::new(made_up(family, number), FIRST_PORT);
                // A word of the sequence number, and a word of the content.
                for (bytes, balance) in [
                    (packet::tcp(source, to, (1, 0), packet::TCP_SYN, b""), 4),
                    (packet::udp(source, to, b"spoofed!"), 8),
                ] {
                    let bytes = packet::ethernet(hop.source, hop.destination, &bytes);
                    frames.push(Frame { bytes, port, balance: port + balance });
                }
            }
        }
        Ok(Self { wire: from.wire("uplink")?, frames })
    }

    /// Sends until it is over, and says how much that was.
    fn run(&mut self, over: &AtomicBool) -> u64 {
        let mut sent = 0;
        for port in (FIRST_PORT..FIRST_PORT + PORTS).cycle() {
            for frame in &mut self.frames {
                frame.set_port(port);
                // A full queue loses the packet, as a wire would.
                sent += u64::from(self.wire.send(&frame.bytes).is_ok());
                if over.load(Ordering::Relaxed) {
                    return sent;
                }
            }
        }
        sent
    }
}

impl Frame {
    fn set_port(&mut self, port: u16) {
        let word = |bytes: &[u8], at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        let old = word(&self.bytes, self.port);
        let balance = word(&self.bytes, self.balance);
        // In ones' complement arithmetic: what is added here is taken away there.
        let balanced = add(add(balance, old), !port);
        self.bytes[self.port..self.port + 2].copy_from_slice(&port.to_be_bytes());
        self.bytes[self.balance..self.balance + 2].copy_from_slice(&balanced.to_be_bytes());
    }
}

fn add(one: u16, other: u16) -> u16 {
    let (sum, carry) = one.overflowing_add(other);
    sum + u16::from(carry)
}

fn made_up(family: Family, number: u16) -> IpAddr {
    let [high, low] = number.to_be_bytes();
    match family {
        Family::V4 => Ipv4Addr::new(100, 64, high, low).into(),
        Family::V6 => Ipv6Addr::new(0xfd00, 0xbad, 0, 0, 0, 0, 0, number).into(),
    }
}

#[test]
fn frames_of_the_flood_have_right_checksums_whatever_their_port() {
    let source = SocketAddr::new(made_up(Family::V4, 7), FIRST_PORT);
    let to = "10.96.0.1:80".parse().expect("an address");
    let port = ETHERNET_HEADER + packet::IPV4_HEADER;
    let bytes = packet::ethernet([0; 6], [0; 6], &packet::udp(source, to, b"spoofed!"));
    let mut frame = Frame { bytes, port, balance: port + 8 };
    for number in [1025, 4711, 61_023, 1024] {
        frame.set_port(number);
        let seen = packet::Seen::parse(&frame.bytes[ETHERNET_HEADER..]).expect("a packet");
        assert_eq!(seen.source().port(), number);
        assert!(seen.checksum_is_right());
    }
}
