//! IPv4 (RFC 791).

use bytemuck::{Pod, Zeroable};
use proxy_common::{Be16, Config, Prefix, Protocol, SERVICE_CIDRS_MAX, V4};

use super::{IcmpHeader, IcmpKind, Network};
use crate::{
    checksum::Sum,
    headers::{Headers, Part, offset},
    packet::Packet,
};

const MORE_FRAGMENTS: u16 = 0x2000;
const DONT_FRAGMENT: u16 = 0x4000;
const OFFSET_MASK: u16 = 0x1fff;
const HOP_LIMIT: u8 = 64;

/// Destination unreachable, port unreachable (RFC 792).
const UNREACHABLE: (u8, u8) = (3, 3);

/// The header without options, as on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Ipv4Header {
    /// Version (4 bits) and header length in 32-bit words (4 bits).
    pub version_length: u8,
    /// Type of service.
    pub tos: u8,
    /// Length of header and payload in bytes.
    pub total_length: Be16,
    /// Identification of the datagram, for fragments.
    pub identification: Be16,
    /// Flags (3 bits) and fragment offset in 8 bytes (13 bits).
    pub flags_offset: Be16,
    /// Hop limit.
    pub ttl: u8,
    /// Transport protocol.
    pub protocol: Protocol,
    /// Checksum of the header and its options.
    pub checksum: Be16,
    /// Source address.
    pub source: V4,
    /// Destination address.
    pub destination: V4,
}

const CHECKSUM: usize = 10;
const SOURCE: usize = 12;
const DESTINATION: usize = 16;

/// Applies `difference` to the checksum of the header at `at`.
#[inline(always)]
fn repair<P: Packet>(packet: &mut P, at: usize, difference: Sum) -> Option<()> {
    let checksum: Be16 = packet.read(at + CHECKSUM)?;
    packet.write(at + CHECKSUM, difference.applied_to(checksum))
}

/// The headers of a port unreachable message.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct Unreachable {
    header: Ipv4Header,
    icmp: IcmpHeader,
}

impl Network for V4 {
    const VERSION: u32 = 4;
    const ICMP: Protocol = Protocol::ICMP;
    // The destination of the packet that it quotes.
    const REDIRECT_DESTINATION: usize = 8 + DESTINATION;
    type Unreachable = Unreachable;

    #[inline(always)]
    fn parse<P: Packet>(packet: &P, at: usize, headers: &mut Headers<Self>) -> Option<()> {
        let header: Ipv4Header = packet.read(at)?;
        let words = header.version_length & 0x0f;
        if header.version_length >> 4 != 4 || words < 5 {
            return None;
        }
        let flags_offset = header.flags_offset.get();
        headers.tuple.source = header.source;
        headers.tuple.destination = header.destination;
        headers.tuple.protocol = header.protocol;
        headers.transport = offset(at) + u16::from(words) * 4;
        headers.identification = u32::from(header.identification.wire());
        headers.part = if flags_offset & OFFSET_MASK != 0 {
            Part::Later
        } else if flags_offset & MORE_FRAGMENTS != 0 {
            Part::First
        } else {
            Part::Whole
        };
        Some(())
    }

    #[inline(always)]
    fn write_source<P: Packet>(packet: &mut P, at: usize, old: Self, new: Self) -> Option<()> {
        repair(packet, at, Sum::ZERO.without_address(old).address(new))?;
        packet.write(at + SOURCE, new)
    }

    #[inline(always)]
    fn write_destination<P: Packet>(packet: &mut P, at: usize, old: Self, new: Self) -> Option<()> {
        repair(packet, at, Sum::ZERO.without_address(old).address(new))?;
        packet.write(at + DESTINATION, new)
    }

    fn turn_around<P: Packet>(
        packet: &mut P,
        at: usize,
        _: &Headers<Self>,
        length: u16,
    ) -> Option<()> {
        let old: Ipv4Header = packet.read(at)?;
        let header_length = u16::from(old.version_length & 0x0f) * 4;
        let mut new = Ipv4Header {
            tos: 0,
            total_length: Be16::new(header_length + length),
            identification: Be16::ZERO,
            flags_offset: Be16::new(DONT_FRAGMENT),
            ttl: HOP_LIMIT,
            source: old.destination,
            destination: old.source,
            ..old
        };
        // Options stay, so the checksum is carried over and not computed anew.
        let (old_words, new_words): ([u32; 5], [u32; 5]) =
            (bytemuck::must_cast(old), bytemuck::must_cast(new));
        let difference = Sum::ZERO.words(old_words.map(|word| !word)).words(new_words);
        new.checksum = difference.applied_to(old.checksum);
        packet.write(at, new)
    }

    fn unreachable(headers: &Headers<Self>, quoted: u16, quote: Sum) -> Self::Unreachable {
        let mut header = Ipv4Header {
            version_length: 0x45,
            tos: 0,
            total_length: Be16::new(28 + quoted),
            identification: Be16::ZERO,
            flags_offset: Be16::new(DONT_FRAGMENT),
            ttl: HOP_LIMIT,
            protocol: Protocol::ICMP,
            checksum: Be16::ZERO,
            source: headers.tuple.destination,
            destination: headers.tuple.source,
        };
        header.checksum = Sum::ZERO.structure::<_, 5>(header).checksum();
        let mut icmp = IcmpHeader {
            kind: UNREACHABLE.0,
            code: UNREACHABLE.1,
            checksum: Be16::ZERO,
            rest: [0; 4],
        };
        icmp.checksum = quote.structure::<_, 2>(icmp).checksum();
        Unreachable { header, icmp }
    }

    #[inline(always)]
    fn icmp_kind(kind: u8) -> IcmpKind {
        // Unreachable, source quench, time exceeded, parameter problem (RFC 792).
        match kind {
            3 | 4 | 11 | 12 => IcmpKind::Error,
            5 => IcmpKind::Redirect,
            _ => IcmpKind::Other,
        }
    }

    #[inline(always)]
    fn service_cidrs(config: &Config) -> (&[Prefix<Self>; SERVICE_CIDRS_MAX], u8) {
        (&config.service_cidrs_v4, config.service_cidr_count_v4)
    }

    #[inline(always)]
    fn is_loopback(self) -> bool {
        self.word().to_ne_bytes()[0] == 127
    }

    #[inline(always)]
    fn is_inside(self, prefix: &Prefix<Self>) -> bool {
        (self.word() ^ prefix.network.word()) & prefix.mask.word() == 0
    }

    #[inline(always)]
    fn transport_length<P: Packet>(packet: &P, at: usize, _: &Headers<Self>) -> Option<u32> {
        let header: Ipv4Header = packet.read(at)?;
        let header_length = u32::from(header.version_length & 0x0f) * 4;
        u32::from(header.total_length.get()).checked_sub(header_length)
    }
}
