//! The transport layer: ports, and what a packet means for its connection.

use bytemuck::{Pod, Zeroable};
use proxy_common::{Be16, FragmentKey, FragmentPorts, Protocol, Tuple};

use crate::{
    checksum::Sum,
    env::Maps,
    headers::{Headers, Part},
    network::Network,
    packet::{ChecksumKind, Packet},
};

/// Where a packet is looked at. The number is part of the key of `FRAGMENTS_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Hook {
    /// It comes in.
    Ingress = 0,
    /// It goes out.
    Egress = 1,
}

/// What TCP, UDP and SCTP headers start with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Ports {
    /// Source port.
    pub source: Be16,
    /// Destination port.
    pub destination: Be16,
}

impl Ports {
    /// What `new` in place of `self` changes in a checksum.
    #[inline(always)]
    #[must_use]
    pub fn difference_to(self, new: Self) -> Sum {
        Sum::ZERO
            .without_be16(self.source)
            .without_be16(self.destination)
            .be16(new.source)
            .be16(new.destination)
    }
}

/// The flags of a TCP header (RFC 9293 §3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpFlags {
    bits: u8,
}

impl TcpFlags {
    const FIN: u8 = 0x01;
    const SYN: u8 = 0x02;
    const RST: u8 = 0x04;
    const ACK: u8 = 0x10;

    /// A RST that answers a packet with an acknowledgement.
    pub const RESET: u8 = Self::RST;
    /// A RST that answers a packet without one.
    pub const RESET_ACK: u8 = Self::RST | Self::ACK;

    /// From the byte at [`TCP_FLAGS`].
    #[inline(always)]
    #[must_use]
    pub const fn new(bits: u8) -> Self {
        Self { bits }
    }

    /// Ends this direction.
    #[inline(always)]
    #[must_use]
    pub const fn fin(self) -> bool {
        self.bits & Self::FIN != 0
    }

    /// Opens a connection, or agrees to.
    #[inline(always)]
    #[must_use]
    pub const fn syn(self) -> bool {
        self.bits & Self::SYN != 0
    }

    /// Ends the connection.
    #[inline(always)]
    #[must_use]
    pub const fn rst(self) -> bool {
        self.bits & Self::RST != 0
    }

    /// Acknowledges.
    #[inline(always)]
    #[must_use]
    pub const fn ack(self) -> bool {
        self.bits & Self::ACK != 0
    }
}

/// The longest TCP header with its options, in bytes.
const TCP_HEADER_MAX: usize = 60;

/// Offset of the flags in a TCP header.
pub const TCP_FLAGS: usize = 13;

/// What a packet means for its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It may open a connection: a SYN, any datagram, any SCTP packet.
    Opens,
    /// It may be the first answer: SYN and ACK, or RST.
    Answers,
    /// It belongs to a connection that exists: everything else of TCP, and later fragments.
    Continues,
}

impl<A: Network> Headers<A> {
    /// What the packet means for its connection.
    #[inline(always)]
    #[must_use]
    pub fn step(&self) -> Step {
        if self.tuple.protocol != Protocol::TCP || self.opens_tcp() {
            Step::Opens
        } else if self.flags.syn() || self.flags.rst() {
            Step::Answers
        } else {
            Step::Continues
        }
    }

    /// Whether the packet, of `length` bytes in all, can't be one that opens a TCP connection or
    /// answers such a one: SYN, SYN and ACK, RST, or a bare ACK that challenges the SYN (RFC 5961 §4).
    /// Data comes only when the flow is settled.
    #[inline(always)]
    #[must_use]
    pub fn is_past_opening(&self, length: u32) -> bool {
        let behind_network = (length as usize).saturating_sub(self.transport_at());
        self.step() == Step::Continues && behind_network > TCP_HEADER_MAX
    }

    /// Whether the packet asks for a new TCP connection.
    #[inline(always)]
    #[must_use]
    pub fn opens_tcp(&self) -> bool {
        self.flags.syn() && !self.flags.ack()
    }
}

/// Why a transport header can't be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoTransport {
    /// A protocol without ports.
    NoPorts,
    /// The packet ends before.
    Truncated,
    /// A later fragment of a datagram whose first one wasn't seen.
    UnknownFragment,
}

/// Reads the transport header into `headers`, whose network header is read.
///
/// A first fragment leaves its ports for the later ones; each hook has its own, since the tuple on
/// the wire differs.
#[inline(always)]
pub fn parse<A, P, E>(
    packet: &P,
    env: &E,
    hook: Hook,
    headers: &mut Headers<A>,
) -> Result<(), NoTransport>
where
    A: Network,
    P: Packet,
    E: Maps<A>,
{
    if !headers.tuple.protocol.has_ports() {
        return Err(NoTransport::NoPorts);
    }
    if headers.part == Part::Later {
        return if recall(env, hook, headers) { Ok(()) } else { Err(NoTransport::UnknownFragment) };
    }
    let at = headers.transport_at();
    let ports: u32 = packet.read(at).ok_or(NoTransport::Truncated)?;
    let Tuple { source, destination, protocol, .. } = headers.tuple;
    headers.tuple = A::tuple(source, destination, ports, protocol);
    headers.flags = TcpFlags::new(if headers.tuple.protocol == Protocol::TCP {
        packet.read(at + TCP_FLAGS).ok_or(NoTransport::Truncated)?
    } else {
        0
    });
    if headers.part == Part::First {
        remember(env, hook, headers);
    }
    Ok(())
}

/// Fills in the ports of the datagram that a later fragment belongs to; `false` when they aren't
/// known.
#[inline(never)]
fn recall<A, E>(env: &E, hook: Hook, headers: &mut Headers<A>) -> bool
where
    A: Network,
    E: Maps<A>,
{
    let Some(ports) = env.fragment(&fragment_key(hook, headers)) else { return false };
    headers.tuple.source_port = ports.source;
    headers.tuple.destination_port = ports.destination;
    headers.flags = TcpFlags::new(0);
    true
}

/// Leaves a first fragment's ports for the later ones.
#[inline(never)]
fn remember<A, E>(env: &E, hook: Hook, headers: &Headers<A>)
where
    A: Network,
    E: Maps<A>,
{
    let ports = FragmentPorts {
        source: headers.tuple.source_port,
        destination: headers.tuple.destination_port,
    };
    env.insert_fragment(&fragment_key(hook, headers), ports);
}

#[inline(always)]
fn fragment_key<A: Network>(hook: Hook, headers: &Headers<A>) -> FragmentKey<A> {
    let Tuple { source, destination, protocol, .. } = headers.tuple;
    FragmentKey::new(source, destination, headers.identification, protocol, hook as u8)
}

/// Where a protocol keeps its checksum, from the start of its header; `None` when the checksum
/// doesn't cover addresses and isn't touched (SCTP's CRC32c, RFC 9260 §6.8).
#[inline(always)]
#[must_use]
pub fn checksum_field(protocol: Protocol) -> Option<(usize, ChecksumKind)> {
    match protocol {
        Protocol::TCP => Some((16, ChecksumKind::Plain)),
        Protocol::UDP => Some((6, ChecksumKind::ZeroIsNone)),
        _ => None,
    }
}
