//! The network layer: where the two families differ, and nothing else of the datapath does.

mod v4;
mod v6;

use bytemuck::{Pod, Zeroable};
use proxy_common::{Address, Be16, Config, Prefix, Protocol, SERVICE_CIDRS_MAX};

use crate::{checksum::Sum, headers::Headers, packet::Packet};

pub use v4::Ipv4Header;
pub use v6::Ipv6Header;

/// What an ICMP message is to the datapath.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IcmpKind {
    /// An error that quotes the packet it is about.
    Error,
    /// Another way to a destination.
    Redirect,
    /// Echo, neighbour discovery, everything else.
    Other,
}

/// A family: how its header is read and rewritten.
pub trait Network: Address {
    /// 4 or 6.
    const VERSION: u32;

    /// The protocol number of the family's ICMP.
    const ICMP: Protocol;

    /// Where an ICMP redirect says which destination it is about, from the start of its header.
    const REDIRECT_DESTINATION: usize;

    /// What port unreachable looks like.
    type Unreachable: Pod;

    /// Reads the header at `at` and its options or extensions into `headers`; `None` when it is cut
    /// short or contradicts itself.
    fn parse<P: Packet>(packet: &P, at: usize, headers: &mut Headers<Self>) -> Option<()>;

    /// Writes another source address into the header at `at` and repairs the header's own checksum.
    fn write_source<P: Packet>(packet: &mut P, at: usize, old: Self, new: Self) -> Option<()>;

    /// Writes another destination address into the header at `at`, likewise.
    fn write_destination<P: Packet>(packet: &mut P, at: usize, old: Self, new: Self) -> Option<()>;

    /// Turns the header at `at` around for an answer of `length` bytes behind the header and its options
    /// or extensions: source and destination change places, hop limit and length are fresh.
    fn turn_around<P: Packet>(
        packet: &mut P,
        at: usize,
        headers: &Headers<Self>,
        length: u16,
    ) -> Option<()>;

    /// The header and ICMP header of "port unreachable" about the packet with `headers`, whose first `quoted`
    /// bytes (sum `quote`) follow. Padded to [`Self::Unreachable`].
    fn unreachable(headers: &Headers<Self>, quoted: u16, quote: Sum) -> Self::Unreachable;

    /// What an ICMP message of this type is.
    fn icmp_kind(kind: u8) -> IcmpKind;

    /// The cluster's ServiceCIDRs of this family.
    fn service_cidrs(config: &Config) -> (&[Prefix<Self>; SERVICE_CIDRS_MAX], u8);

    /// Whether `self` is an address that never leaves the machine.
    fn is_loopback(self) -> bool;

    /// Whether `self` is inside `prefix`.
    fn is_inside(self, prefix: &Prefix<Self>) -> bool;

    /// How many bytes of transport the packet has, by its own header.
    fn transport_length<P: Packet>(packet: &P, at: usize, headers: &Headers<Self>) -> Option<u32>;
}

/// The pseudo-header that a transport checksum covers (RFC 9293 §3.1, RFC 8200 §8.1).
#[must_use]
#[inline(always)]
pub fn pseudo_header<A: Address>(
    source: A,
    destination: A,
    protocol: Protocol,
    length: u16,
) -> Sum {
    Sum::ZERO
        .address(source)
        .address(destination)
        .be16(Be16::new(u16::from(protocol.number())))
        .be16(Be16::new(length))
}

/// An ICMP or ICMPv6 header: type, code, checksum and four bytes that depend on the type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct IcmpHeader {
    /// Type.
    pub kind: u8,
    /// Code.
    pub code: u8,
    /// Checksum.
    pub checksum: Be16,
    /// The rest.
    pub rest: [u8; 4],
}
