//! Random packets that mean something: to frontends, in answer to flows that are there, about them,
//! in fragments, and a few that are broken.

use lab::kernel_run::KernelFamily;
use proxy_common::{Protocol, Tuple};
use proxy_ebpf::{
    env::FlowTable,
    transport::Hook,
    user::{
        Machine, UserPacket,
        build::{Build, End, icmp_error, ping, sctp, tcp, tcp_syn, udp},
    },
};

use crate::world::{
    backend, client, dead_frontend, frontend, hairpin_frontend, large_frontend, node,
    remote_frontend, same_port_frontend, second_frontend,
};

/// Numbers that repeat with their seed (xorshift64*).
pub(crate) struct Random {
    state: u64,
}

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self { state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1 }
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        let number = self.state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(number).unwrap_or(0) % end
    }

    /// True once in `times`.
    fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.below(256)).unwrap_or(0)
    }
}

/// The next packet or the next few, and where they are to be sent.
pub(crate) fn next<A: KernelFamily>(
    random: &mut Random,
    machine: &Machine,
) -> (Hook, Vec<UserPacket>) {
    let (hook, source, destination, protocol) = match random.below(10) {
        0..7 => known::<A>(random, machine).unwrap_or_else(|| stranger(random)),
        _ => stranger(random),
    };
    if random.once_in(12) {
        return (hook, vec![error(random, (source, destination), protocol)]);
    }
    if random.once_in(30) {
        return (hook, vec![ping(source.0, destination.0).packet()]);
    }
    let packet = segment(random, source, destination, protocol);
    if random.once_in(8) {
        let mut fragments = packet
            .data(&vec![0x77; 100 + random.below(60)])
            .fragments(u32::try_from(random.below(3)).unwrap_or(0) + 0x0102_0300, 64);
        if random.once_in(2) {
            fragments.reverse();
        }
        if random.once_in(3) {
            fragments.pop();
        }
        return (hook, fragments);
    }
    let mut packet = packet.packet();
    damage::<A>(random, &mut packet);
    (hook, vec![packet])
}

type Way<A> = (Hook, End<A>, End<A>, Protocol);

/// A packet of a flow that is there, at the hook where it is looked for.
fn known<A: KernelFamily>(random: &mut Random, machine: &Machine) -> Option<Way<A>> {
    let (hook, table) = random.pick(&[
        (Hook::Ingress, FlowTable::NewDst),
        (Hook::Ingress, FlowTable::Dst),
        (Hook::Egress, FlowTable::NewSrc),
        (Hook::Egress, FlowTable::Src),
    ]);
    let mut keys: Vec<Tuple<A>> = A::of(machine).table(table).borrow().keys().copied().collect();
    if keys.is_empty() {
        return None;
    }
    keys.sort_unstable();
    let key = random.pick(&keys);
    let source = (key.source, key.source_port.get());
    Some((hook, source, (key.destination, key.destination_port.get()), key.protocol))
}

/// A packet from anybody to anybody.
fn stranger<A: KernelFamily>(random: &mut Random) -> Way<A> {
    let clients = [client::<A>(), (A::address(1, 2), 40_000), (A::address(1, 1), 40_001)];
    let frontends = [
        frontend::<A>(),
        frontend(),
        second_frontend(),
        dead_frontend(),
        remote_frontend(),
        same_port_frontend(),
        hairpin_frontend(),
        large_frontend(),
        (frontend::<A>().0, 81),
        (A::address(96, 99), 80),
    ];
    let others = [backend::<A>(), (node::<A>(), 61_000), (A::address(50, 1), 80), client()];
    let protocol = random.pick(&[
        Protocol::TCP,
        Protocol::TCP,
        Protocol::TCP,
        Protocol::UDP,
        Protocol::UDP,
        Protocol::SCTP,
    ]);
    let hook = random.pick(&[Hook::Ingress, Hook::Ingress, Hook::Ingress, Hook::Egress]);
    let everybody = [&frontends[..], &others].concat();
    match random.below(6) {
        0 => (hook, random.pick(&everybody), random.pick(&everybody), protocol),
        1 => (hook, random.pick(&clients), random.pick(&others), protocol),
        _ => (hook, random.pick(&clients), random.pick(&frontends), protocol),
    }
}

fn segment<A: KernelFamily>(
    random: &mut Random,
    source: End<A>,
    destination: End<A>,
    protocol: Protocol,
) -> Build<A> {
    let packet = match protocol {
        Protocol::TCP => match random.below(10) {
            0..3 => tcp_syn(source, destination),
            3 => tcp_syn(source, destination).ack(),
            4 => tcp(source, destination).fin().ack(),
            5 => tcp(source, destination).rst(),
            6 => tcp(source, destination).rst().ack(),
            7 => tcp(source, destination),
            _ => tcp(source, destination).ack(),
        },
        Protocol::UDP if random.once_in(5) => udp(source, destination).without_udp_checksum(),
        Protocol::UDP => udp(source, destination),
        _ => sctp(source, destination),
    };
    let bytes: Vec<u8> = (0..random.below(40)).map(|_| random.byte()).collect();
    let packet = packet.data(&bytes);
    match random.below(6) {
        0 => packet.lengthened(),
        1 => packet.lengthened().lengthened(),
        _ => packet,
    }
}

/// An error about a packet that went the other way, from its receiver or from a router.
fn error<A: KernelFamily>(
    random: &mut Random,
    (source, destination): (End<A>, End<A>),
    protocol: Protocol,
) -> UserPacket {
    let about = segment(random, destination, source, protocol).packet();
    let kind = random.pick(&[A::PORT_UNREACHABLE, A::TOO_BIG, A::TIME_EXCEEDED]);
    let from = random.pick(&[source.0, source.0, A::address(2, 254)]);
    let mut quote = about.bytes[about.link_header..].to_vec();
    if random.once_in(3) {
        quote.truncate(20 + random.below(60));
    }
    icmp_error(from, destination.0, kind, [0, 0, 5, 0], &about).data(&quote).packet()
}

/// Breaks one packet in ten: cut short, or with a wrong byte behind the Ethernet header.
fn damage<A: KernelFamily>(random: &mut Random, packet: &mut UserPacket) {
    // The kernel runs no program on less than a network header.
    let header = if A::WORDS == 1 { 14 + 20 } else { 14 + 40 };
    match random.below(20) {
        0 => {
            let end = header + random.below(packet.bytes.len() - header);
            packet.bytes.truncate(end);
        }
        1 => {
            let at = 14 + random.below(packet.bytes.len() - 14);
            packet.bytes[at] = random.byte();
        }
        _ => {}
    }
}
