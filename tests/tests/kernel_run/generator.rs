//! Random packets that mean something: to frontends, in answer to flows that are there, about them,
//! in fragments, and a few that are broken.

use lab::kernel_run::KernelFamily;
use proxy_common::{DeviceRole, Protocol, Tuple};
use proxy_ebpf::{
    env::FlowTable,
    transport::Hook,
    user::{
        Machine, UserPacket,
        build::{Build, End, icmp_error, ping, sctp, tcp, tcp_syn, udp},
    },
};

use crate::world::{
    ROLES, away, backend, client, dead_frontend, frontend, load_balancer, node, node_port, outside,
    second_frontend,
};

/// The kernel runs no program on less than an Ethernet header and a network header, and goes by the
/// type in the first even where there is none.
const SHORTEST: usize = 14 + 40;

/// A packet, and where it is sent.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// Which hook.
    pub(crate) hook: Hook,
    /// Of what kind of device.
    pub(crate) role: DeviceRole,
    /// The packet.
    pub(crate) packet: UserPacket,
}

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
pub(crate) fn next<A: KernelFamily>(random: &mut Random, machine: &Machine) -> Vec<Step> {
    let role = random.pick(&ROLES);
    let (hook, packets) = packets::<A>(random, machine);
    packets.into_iter().map(|packet| Step { hook, role, packet }).collect()
}

fn packets<A: KernelFamily>(random: &mut Random, machine: &Machine) -> (Hook, Vec<UserPacket>) {
    let (hook, source, destination, protocol) = match random.below(10) {
        0..7 => known::<A>(random, machine).unwrap_or_else(|| stranger(random, machine)),
        _ => stranger(random, machine),
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
    let layer3 = packet.clone().layer3().packet();
    let can_be_run =
        layer3.bytes.len() >= SHORTEST && layer3.bytes[12..14] == A::ETHERNET_TYPE.to_be_bytes();
    let mut packet = if can_be_run && random.once_in(6) { layer3 } else { packet.packet() };
    damage(random, &mut packet);
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
fn stranger<A: KernelFamily>(random: &mut Random, machine: &Machine) -> Way<A> {
    let mut frontends: Vec<_> = A::of(machine).services.keys().collect();
    frontends.retain(|frontend| !frontend.is_marker());
    frontends.sort_unstable();
    let somewhere = random.pick(&frontends);
    let protocol = random.pick(&[somewhere.protocol, Protocol::TCP, Protocol::UDP]);
    let somewhere = (somewhere.address, somewhere.port.get());
    let clients = [
        client::<A>(),
        (A::address(1, 2), 40_000),
        (A::address(1, 1), 40_001),
        outside(),
        (A::address(7, 2), 50_000),
        // Of no admitted net, and a frontend's own address.
        (A::address(8, 1), 50_000),
        (somewhere.0, 50_000),
    ];
    let named = [frontend::<A>(), second_frontend(), dead_frontend(), node_port(), load_balancer()];
    let others = [
        backend::<A>(),
        away(),
        (node::<A>(), 12_000),
        (node::<A>(), 22),
        (A::address(50, 1), 80),
        client(),
        (frontend::<A>().0, 81),
        (load_balancer::<A>().0, 81),
        (A::address(96, 0), 80),
    ];
    let hook = random.pick(&[Hook::Ingress, Hook::Ingress, Hook::Ingress, Hook::Egress]);
    let everybody = [&named[..], &others].concat();
    match random.below(8) {
        0 => (hook, random.pick(&everybody), random.pick(&everybody), protocol),
        1 => (hook, random.pick(&clients), random.pick(&others), protocol),
        2 | 3 => (hook, random.pick(&clients), random.pick(&named), protocol),
        _ => (hook, random.pick(&clients), somewhere, protocol),
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

/// Breaks one packet in ten: cut short, or with a wrong byte behind the link-layer header.
fn damage(random: &mut Random, packet: &mut UserPacket) {
    let link = packet.link_header;
    match random.below(20) {
        0 if packet.bytes.len() > SHORTEST => {
            let end = SHORTEST + random.below(packet.bytes.len() - SHORTEST);
            packet.bytes.truncate(end);
        }
        1 => {
            let at = link + random.below(packet.bytes.len() - link);
            if !(12..14).contains(&at) {
                packet.bytes[at] = random.byte();
            }
        }
        _ => {}
    }
}
