//! Refusals: a packet is turned, in its own buffer, into the answer that its sender gets. A RST for
//! TCP (RFC 9293 §3.10.7.1), port unreachable for everything else (RFC 792, RFC 4443 §3.1).
//!
//! IPv4 options and IPv6 extension headers of the packet stay in a RST, so that the transport header
//! stays where a device may have been told to compute a checksum.

use bytemuck::{Pod, Zeroable};
use proxy_common::{Be16, DropReason, Protocol, RejectReason};

use crate::{
    checksum::Sum,
    env::{Kernel, Maps},
    headers::{Headers, Part},
    network::{Network, pseudo_header},
    packet::{ChecksumKind, Covered, Packet},
    transport::TcpFlags,
    verdict::Verdict,
};

/// Bytes of the transport header that an ICMP error quotes: the ports, which is what the sender's
/// stack finds the socket by (RFC 792 asks for exactly 8).
const QUOTED: usize = 8;

/// The most that is quoted of a packet: its network header with options or extensions, and
/// [`QUOTED`].
const QUOTED_MAX: usize = 256;

/// A TCP header without options, as on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
struct TcpHeader {
    source: Be16,
    destination: Be16,
    sequence: [u8; 4],
    acknowledgement: [u8; 4],
    /// Header length in 32-bit words (4 bits), reserved (4).
    offset: u8,
    flags: u8,
    window: Be16,
    checksum: Be16,
    urgent: Be16,
}

const TCP_HEADER: u16 = 20;
const TCP_CHECKSUM: usize = 16;
const UDP_CHECKSUM: usize = 6;

/// An Ethernet header (IEEE 802.3), as far as it matters here.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct MacAddresses {
    destination: [u8; 6],
    source: [u8; 6],
}

/// Turns the packet, whose network header is at `at`, into its refusal.
#[inline(never)]
pub fn answer<A, P, E>(packet: &mut P, env: &E, at: usize, reason: RejectReason) -> Verdict
where
    A: Network,
    P: Packet,
    E: Maps<A> + Kernel,
{
    let mut headers = Headers::empty();
    if A::parse(packet, at, &mut headers).is_none() {
        return Verdict::drop(DropReason::Malformed);
    }
    let headers = &headers;
    // Of a fragmented segment neither the length nor what to acknowledge is known.
    let fragmented_tcp = headers.part == Part::First && headers.tuple.protocol == Protocol::TCP;
    if headers.part == Part::Later || fragmented_tcp {
        return Verdict::drop(DropReason::RejectUnanswerable);
    }
    let answered = if headers.tuple.protocol == Protocol::TCP {
        reset(packet, at, headers)
    } else if env.take_reject_budget() {
        unreachable(packet, at, headers)
    } else {
        Err(DropReason::RejectLimited)
    };
    match answered {
        Ok(()) => {
            if at != 0 && swap_mac_addresses(packet).is_none() {
                return Verdict::drop(DropReason::RewriteFailed);
            }
            Verdict::send_back(reason)
        }
        Err(reason) => Verdict::drop(reason),
    }
}

fn swap_mac_addresses<P: Packet>(packet: &mut P) -> Option<()> {
    let MacAddresses { destination, source } = packet.read(0)?;
    packet.write(0, MacAddresses { destination: source, source: destination })
}

/// Makes a RST of a TCP packet.
#[inline(always)]
fn reset<A: Network, P: Packet>(
    packet: &mut P,
    at: usize,
    headers: &Headers<A>,
) -> Result<(), DropReason> {
    let old: TcpHeader = packet.read(headers.transport_at()).ok_or(DropReason::Malformed)?;
    let flags = TcpFlags::new(old.flags);
    if flags.rst() {
        return Err(DropReason::RejectUnanswerable);
    }
    let length = A::transport_length(packet, at, headers).ok_or(DropReason::Malformed)?;
    let new = answer_to(&old, flags, length);
    write_reset(packet, at, headers, new).ok_or(DropReason::RewriteFailed)
}

/// The RST that answers `old`, which came with `length` bytes of header and data.
fn answer_to(old: &TcpHeader, flags: TcpFlags, length: u32) -> TcpHeader {
    let (sequence, acknowledgement, bits) = if flags.ack() {
        (old.acknowledgement, [0; 4], TcpFlags::RESET)
    } else {
        let data = length.saturating_sub(u32::from(old.offset >> 4) * 4);
        let occupied = data + u32::from(flags.syn()) + u32::from(flags.fin());
        let next = u32::from_be_bytes(old.sequence).wrapping_add(occupied);
        ([0; 4], next.to_be_bytes(), TcpFlags::RESET_ACK)
    };
    TcpHeader {
        source: old.destination,
        destination: old.source,
        sequence,
        acknowledgement,
        offset: 5 << 4,
        flags: bits,
        window: Be16::ZERO,
        checksum: Be16::ZERO,
        urgent: Be16::ZERO,
    }
}

#[inline(always)]
fn write_reset<A: Network, P: Packet>(
    packet: &mut P,
    at: usize,
    headers: &Headers<A>,
    new: TcpHeader,
) -> Option<()> {
    let pseudo =
        pseudo_header(headers.tuple.destination, headers.tuple.source, Protocol::TCP, TCP_HEADER);
    let checksum_at = headers.transport_at() + TCP_CHECKSUM;
    let end = u32::try_from(headers.transport_at()).ok()? + u32::from(TCP_HEADER);
    packet.resize(end)?;
    packet.write(headers.transport_at(), new)?;
    let checksum = if computed_by_device::<A, P>(packet, checksum_at)? {
        pseudo.folded()
    } else {
        pseudo.structure::<_, 5>(new).checksum()
    };
    packet.write(checksum_at, checksum)?;
    A::turn_around(packet, at, headers, TCP_HEADER)
}

/// Whether the checksum at `at`, which is zero now, is one that a device will compute. Asked by
/// changing it: such a checksum doesn't take part in a change of payload.
#[inline(always)]
fn computed_by_device<A: Network, P: Packet>(packet: &mut P, at: usize) -> Option<bool> {
    packet.adjust_checksum(at, ChecksumKind::Plain, Covered::Payload, 1, A::WORDS)?;
    let probed: Be16 = packet.read(at)?;
    Some(probed == Be16::ZERO)
}

/// Makes "port unreachable" of a packet: cut to what is quoted, with fresh headers in front.
#[inline(always)]
fn unreachable<A: Network, P: Packet>(
    packet: &mut P,
    at: usize,
    headers: &Headers<A>,
) -> Result<(), DropReason> {
    let quoted = headers.transport_at() - at + QUOTED;
    if quoted > QUOTED_MAX {
        return Err(DropReason::RejectUnanswerable);
    }
    let transport: [u32; QUOTED / 4] =
        packet.read(headers.transport_at()).ok_or(DropReason::Malformed)?;
    let quote = quote(packet, at, headers, transport).ok_or(DropReason::RewriteFailed)?;
    write_unreachable(packet, at, headers, quoted, quote).ok_or(DropReason::RewriteFailed)
}

/// The sum of what is quoted, as it will be on the wire.
#[inline(always)]
fn quote<A: Network, P: Packet>(
    packet: &mut P,
    at: usize,
    headers: &Headers<A>,
    transport: [u32; QUOTED / 4],
) -> Option<Sum> {
    let mut sum = Sum::ZERO;
    // verifier: a constant number of steps, each checked against the packet's end.
    for step in 0..QUOTED_MAX / 4 {
        let offset = at + step * 4;
        if offset >= headers.transport_at() {
            break;
        }
        sum = sum.structure::<u32, 1>(packet.read(offset)?);
    }
    if headers.tuple.protocol == Protocol::UDP {
        let checksum_at = headers.transport_at() + UDP_CHECKSUM;
        let checksum: Be16 = packet.read(checksum_at)?;
        packet.write(checksum_at, Be16::ZERO)?;
        let by_device = computed_by_device::<A, P>(packet, checksum_at)?;
        packet.write(checksum_at, checksum)?;
        if by_device {
            // The device will sum the eight bytes, which contain the sum of the pseudo-header, and
            // put the complement in: together they then sum to that sum's complement.
            return Some(sum.without_be16(checksum));
        }
    }
    Some(sum.words(transport))
}

#[inline(always)]
fn write_unreachable<A: Network, P: Packet>(
    packet: &mut P,
    at: usize,
    headers: &Headers<A>,
    quoted: usize,
    quote: Sum,
) -> Option<()> {
    packet.resize(u32::try_from(at + quoted).ok()?)?;
    packet.grow(u32::try_from(size_of::<A::Unreachable>()).ok()?)?;
    packet.write(at, A::unreachable(headers, u16::try_from(quoted).ok()?, quote))
}
