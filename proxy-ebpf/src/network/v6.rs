//! IPv6 (RFC 8200) and its extension headers.

use bytemuck::{Pod, Zeroable};
use proxy_common::{Address, Be16, Config, Prefix, Protocol, SERVICE_CIDRS_MAX, V6};

use super::{IcmpHeader, IcmpKind, Network, pseudo_header};
use crate::{
    checksum::Sum,
    headers::{Headers, OFFSET_MASK, Part, offset},
    packet::Packet,
};

const HEADER: u16 = 40;
const HOP_LIMIT: u8 = 64;
const VERSION: [u8; 4] = [0x60, 0, 0, 0];

/// Destination unreachable, port unreachable (RFC 4443 §3.1).
const UNREACHABLE: (u8, u8) = (1, 4);

/// How many extension headers are followed; a packet with more is no Service's.
const EXTENSIONS_MAX: usize = 6;

const HOP_BY_HOP: Protocol = Protocol::new(0);
const ROUTING: Protocol = Protocol::new(43);
const FRAGMENT: Protocol = Protocol::new(44);
const DESTINATION_OPTIONS: Protocol = Protocol::new(60);

/// The fixed header, as on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Ipv6Header {
    /// Version (4 bits), traffic class (8), flow label (20).
    pub version_class_label: [u8; 4],
    /// Bytes that follow this header.
    pub payload_length: Be16,
    /// What follows: an extension header or the transport.
    pub next_header: Protocol,
    /// Hop limit.
    pub hop_limit: u8,
    /// Source address.
    pub source: V6,
    /// Destination address.
    pub destination: V6,
}

/// The fields of [`Extension::offset_more`].
const FRAGMENT_OFFSET: u16 = 0xfff8;
const MORE_FRAGMENTS: u16 = 1;

const SOURCE: usize = 8;
const DESTINATION: usize = 24;

/// What every extension header starts with.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Extension {
    next_header: Protocol,
    /// Length in 8 bytes, the first 8 not counted.
    length: u8,
    /// Fragment header: offset in 8 bytes (13 bits), reserved (2), more fragments (1).
    offset_more: Be16,
    /// Fragment header: identification.
    identification: [u8; 4],
}

/// The headers of a port unreachable message.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct Unreachable {
    header: Ipv6Header,
    icmp: IcmpHeader,
}

impl Network for V6 {
    const VERSION: u32 = 6;
    const ICMP: Protocol = Protocol::ICMPV6;
    // Behind the ICMP header and the target address (RFC 4861 §4.5).
    const REDIRECT_DESTINATION: usize = 8 + 16;
    type Unreachable = Unreachable;

    #[inline(always)]
    fn parse<P: Packet>(packet: &P, at: usize, headers: &mut Headers<Self>) -> Option<()> {
        let header: Ipv6Header = packet.read(at)?;
        if header.version_class_label[0] >> 4 != 6 {
            return None;
        }
        // By themselves: as parts of the header the compiler takes an address byte by byte.
        let [source, destination]: [V6; 2] = packet.read(at + SOURCE)?;
        headers.tuple.source = source;
        headers.tuple.destination = destination;
        headers.tuple.protocol = header.next_header;
        headers.transport = offset(at) + HEADER;
        headers.identification = 0;
        headers.part = Part::Whole;
        if header.next_header.has_ports() || follow_extensions(packet, headers) {
            Some(())
        } else {
            None
        }
    }

    #[inline(always)]
    fn write_source<P: Packet>(packet: &mut P, at: usize, _: Self, new: Self) -> Option<()> {
        packet.write(at + SOURCE, new)
    }

    #[inline(always)]
    fn write_destination<P: Packet>(packet: &mut P, at: usize, _: Self, new: Self) -> Option<()> {
        packet.write(at + DESTINATION, new)
    }

    fn turn_around<P: Packet>(
        packet: &mut P,
        at: usize,
        headers: &Headers<Self>,
        length: u16,
    ) -> Option<()> {
        let old: Ipv6Header = packet.read(at)?;
        let extensions = extensions_length(at, headers);
        packet.write(
            at,
            Ipv6Header {
                version_class_label: VERSION,
                payload_length: Be16::new(extensions + length),
                next_header: old.next_header,
                hop_limit: HOP_LIMIT,
                source: old.destination,
                destination: old.source,
            },
        )
    }

    fn unreachable(headers: &Headers<Self>, quoted: u16, quote: Sum) -> Self::Unreachable {
        let header = Ipv6Header {
            version_class_label: VERSION,
            payload_length: Be16::new(8 + quoted),
            next_header: Protocol::ICMPV6,
            hop_limit: HOP_LIMIT,
            source: headers.tuple.destination,
            destination: headers.tuple.source,
        };
        let mut icmp = IcmpHeader {
            kind: UNREACHABLE.0,
            code: UNREACHABLE.1,
            checksum: Be16::ZERO,
            rest: [0; 4],
        };
        let pseudo = pseudo_header(
            headers.tuple.destination,
            headers.tuple.source,
            Protocol::ICMPV6,
            8 + quoted,
        );
        icmp.checksum = quote.plus(pseudo).structure::<_, 2>(icmp).checksum();
        Unreachable { header, icmp }
    }

    #[inline(always)]
    fn icmp_kind(kind: u8) -> IcmpKind {
        // Unreachable, packet too big, time exceeded, parameter problem (RFC 4443); redirect (RFC 4861).
        match kind {
            1..=4 => IcmpKind::Error,
            137 => IcmpKind::Redirect,
            _ => IcmpKind::Other,
        }
    }

    #[inline(always)]
    fn service_cidrs(config: &Config) -> (&[Prefix<Self>; SERVICE_CIDRS_MAX], u8) {
        (&config.service_cidrs_v6, config.service_cidr_count_v6)
    }

    #[inline(always)]
    fn is_loopback(self) -> bool {
        self == Self::from_words([0, 0, 0, 1_u32.to_be()])
    }

    #[inline(always)]
    fn is_inside(self, prefix: &Prefix<Self>) -> bool {
        let (address, network, mask) = (self.words(), prefix.network.words(), prefix.mask.words());
        (address[0] ^ network[0]) & mask[0]
            | (address[1] ^ network[1]) & mask[1]
            | (address[2] ^ network[2]) & mask[2]
            | (address[3] ^ network[3]) & mask[3]
            == 0
    }

    #[inline(always)]
    fn transport_length<P: Packet>(packet: &P, at: usize, headers: &Headers<Self>) -> Option<u32> {
        let header: Ipv6Header = packet.read(at)?;
        let extensions = u32::from(extensions_length(at, headers));
        u32::from(header.payload_length.get()).checked_sub(extensions)
    }
}

/// Walks over the extension headers to the transport header; `false` when the packet ends before or
/// has too many.
///
/// An authentication or encapsulating header ends the walk: what follows can't be read or must not
/// be changed.
#[inline(never)]
fn follow_extensions<P: Packet>(packet: &P, headers: &mut Headers<V6>) -> bool {
    for _ in 0..EXTENSIONS_MAX {
        if !is_extension(headers.tuple.protocol) {
            return true;
        }
        let at = headers.transport_at();
        let Some(extension) = packet.read::<Extension>(at) else { return false };
        let is_fragment = headers.tuple.protocol == FRAGMENT;
        headers.transport += if is_fragment { 8 } else { (u16::from(extension.length) + 1) * 8 };
        headers.tuple.protocol = extension.next_header;
        if is_fragment {
            headers.identification = u32::from_ne_bytes(extension.identification);
            if extension.offset_more.get() & FRAGMENT_OFFSET != 0 {
                // What follows is payload, whatever the next header says.
                headers.part = Part::Later;
                return true;
            }
            if extension.offset_more.get() & MORE_FRAGMENTS != 0 {
                headers.part = Part::First;
            }
        }
    }
    !is_extension(headers.tuple.protocol)
}

/// Bytes of extension headers between the header and the transport header.
#[inline(always)]
fn extensions_length(at: usize, headers: &Headers<V6>) -> u16 {
    (headers.transport & OFFSET_MASK).wrapping_sub(offset(at) + HEADER)
}

#[inline(always)]
fn is_extension(protocol: Protocol) -> bool {
    matches!(protocol, FRAGMENT | HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS)
}
