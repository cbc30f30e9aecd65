//! IPv6 (RFC 8200) and its extension headers.

use bytemuck::{Pod, Zeroable};
use proxy_common::{Address, Be16, Config, Prefix, Protocol, SERVICE_CIDRS_MAX, V6};

use super::{IcmpHeader, Ip, Network, Part, pseudo_header};
use crate::{checksum::Sum, packet::Packet};

const HEADER: usize = 40;
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
    const HEADERS_MAX: usize = HEADER + EXTENSIONS_MAX * 64;
    const ICMP: Protocol = Protocol::ICMPV6;
    type Unreachable = Unreachable;

    #[inline(always)]
    fn parse<P: Packet>(packet: &P, at: usize) -> Option<Ip<Self>> {
        let header: Ipv6Header = packet.read(at)?;
        if header.version_class_label[0] >> 4 != 6 {
            return None;
        }
        #[expect(clippy::cast_possible_truncation, reason = "at most a link-layer header")]
        let mut walk = Walk {
            identification: 0,
            transport: (at + HEADER) as u16,
            protocol: header.next_header,
            part: Part::Whole as u8,
        };
        if !walk.protocol.has_ports() && !follow_extensions(packet, &mut walk) {
            return None;
        }
        Some(Ip {
            source: header.source,
            destination: header.destination,
            protocol: walk.protocol,
            at,
            transport: walk.transport,
            part: match walk.part {
                FIRST => Part::First,
                LATER => Part::Later,
                _ => Part::Whole,
            },
            identification: walk.identification,
        })
    }

    #[inline(always)]
    fn write_source<P: Packet>(packet: &mut P, ip: &Ip<Self>, source: Self) -> Option<()> {
        packet.write(ip.at + SOURCE, source)
    }

    #[inline(always)]
    fn write_destination<P: Packet>(
        packet: &mut P,
        ip: &Ip<Self>,
        destination: Self,
    ) -> Option<()> {
        packet.write(ip.at + DESTINATION, destination)
    }

    fn turn_around<P: Packet>(packet: &mut P, ip: &Ip<Self>, length: u16) -> Option<()> {
        let old: Ipv6Header = packet.read(ip.at)?;
        let extensions = u16::try_from(ip.transport() - ip.at - HEADER).ok()?;
        packet.write(
            ip.at,
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

    fn unreachable(ip: &Ip<Self>, quoted: u16, quote: Sum) -> Self::Unreachable {
        let header = Ipv6Header {
            version_class_label: VERSION,
            payload_length: Be16::new(8 + quoted),
            next_header: Protocol::ICMPV6,
            hop_limit: HOP_LIMIT,
            source: ip.destination,
            destination: ip.source,
        };
        let mut icmp = IcmpHeader {
            kind: UNREACHABLE.0,
            code: UNREACHABLE.1,
            checksum: Be16::ZERO,
            rest: [0; 4],
        };
        let pseudo = pseudo_header(ip.destination, ip.source, Protocol::ICMPV6, 8 + quoted);
        icmp.checksum = quote.plus(pseudo).structure::<_, 2>(icmp).checksum();
        Unreachable { header, icmp }
    }

    #[inline(always)]
    fn service_cidrs(config: &Config) -> (&[Prefix<Self>; SERVICE_CIDRS_MAX], u8) {
        (&config.service_cidrs_v6, config.service_cidr_count_v6)
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
    fn transport_length<P: Packet>(packet: &P, ip: &Ip<Self>) -> Option<u32> {
        let header: Ipv6Header = packet.read(ip.at)?;
        let extensions = u32::try_from(ip.transport() - ip.at - HEADER).ok()?;
        u32::from(header.payload_length.get()).checked_sub(extensions)
    }
}

const FIRST: u8 = Part::First as u8;
const LATER: u8 = Part::Later as u8;

/// How far the walk over the extension headers has come.
struct Walk {
    identification: u32,
    transport: u16,
    protocol: Protocol,
    /// A [`Part`] as its number.
    part: u8,
}

/// Walks over the extension headers to the transport header; `false` when the packet ends before or
/// has too many.
///
/// An authentication or encapsulating header ends the walk: what follows can't be read or must not
/// be changed.
#[inline(never)]
fn follow_extensions<P: Packet>(packet: &P, walk: &mut Walk) -> bool {
    for _ in 0..EXTENSIONS_MAX {
        if !is_extension(walk.protocol) {
            return true;
        }
        let at = usize::from(walk.transport & super::TRANSPORT_MASK);
        let Some(extension) = packet.read::<Extension>(at) else { return false };
        let is_fragment = walk.protocol == FRAGMENT;
        walk.transport += if is_fragment { 8 } else { (u16::from(extension.length) + 1) * 8 };
        walk.protocol = extension.next_header;
        if is_fragment {
            walk.identification = u32::from_ne_bytes(extension.identification);
            if extension.offset_more.get() & FRAGMENT_OFFSET != 0 {
                // What follows is payload, whatever the next header says.
                walk.part = LATER;
                return true;
            }
            if extension.offset_more.get() & MORE_FRAGMENTS != 0 {
                walk.part = FIRST;
            }
        }
    }
    !is_extension(walk.protocol)
}

#[inline(always)]
fn is_extension(protocol: Protocol) -> bool {
    matches!(protocol, FRAGMENT | HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS)
}
