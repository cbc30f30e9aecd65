//! Where the families differ when a packet is put together from scratch, and the checksum of RFC
//! 1071 in the plainest words. Called by [`super::build`] and [`super::check`].

use proxy_common::{Address, Protocol, V4, V6};

use super::machine::FamilyOf;

/// What stands between the network header and the transport header.
#[derive(Clone, Debug)]
pub struct Extension {
    /// IPv6: which extension header. IPv4: of no interest.
    pub(super) kind: Protocol,
    /// IPv4: options. IPv6: the header without its first two bytes.
    pub(super) body: Vec<u8>,
}

/// Which part of a datagram a packet is.
#[derive(Clone, Copy, Debug)]
pub struct Datagram {
    /// What the fragments have in common; IPv4 has room for 16 bits.
    pub(super) identification: u32,
    /// Where in the datagram this fragment begins, in bytes.
    pub(super) offset: u16,
    /// Whether more fragments follow.
    pub(super) more: bool,
    /// Whether it isn't fragmented at all.
    pub(super) whole: bool,
}

/// A family, as the builder sees it.
pub trait Wire: FamilyOf {
    /// The type in an Ethernet header.
    const ETHERNET_TYPE: u16;
    /// ICMP type and code of an echo request.
    const ECHO_REQUEST: (u8, u8);
    /// ICMP type and code of "port unreachable".
    const PORT_UNREACHABLE: (u8, u8);
    /// ICMP type and code of "packet too big".
    const TOO_BIG: (u8, u8);
    /// ICMP type and code of "time exceeded".
    const TIME_EXCEEDED: (u8, u8);

    /// The network header with extensions for `length` bytes of payload.
    fn header(
        addresses: (Self, Self),
        protocol: Protocol,
        hop_limit_and_length: (u8, usize),
        extensions: &[Extension],
        datagram: Datagram,
    ) -> Vec<u8>;

    /// What a transport checksum covers beside the transport (RFC 9293 §3.1, RFC 8200 §8.1).
    fn pseudo_header(addresses: (Self, Self), protocol: Protocol, length: u32) -> Vec<u8>;
}

/// The one's-complement sum of `bytes`, read as 16-bit integers in network order (RFC 1071).
#[must_use]
pub(super) fn sum(bytes: &[u8]) -> u16 {
    let mut total = 0_u64;
    for pair in bytes.chunks(2) {
        total += (u64::from(pair[0]) << 8) | u64::from(pair.get(1).copied().unwrap_or(0));
    }
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    u16::try_from(total).unwrap_or(0)
}

fn length16(length: usize) -> [u8; 2] {
    u16::try_from(length).unwrap_or(0).to_be_bytes()
}

impl Wire for V4 {
    const ETHERNET_TYPE: u16 = 0x0800;
    const ECHO_REQUEST: (u8, u8) = (8, 0);
    const PORT_UNREACHABLE: (u8, u8) = (3, 3);
    const TOO_BIG: (u8, u8) = (3, 4);
    const TIME_EXCEEDED: (u8, u8) = (11, 0);

    fn header(
        (source, destination): (Self, Self),
        protocol: Protocol,
        (hop_limit, length): (u8, usize),
        extensions: &[Extension],
        datagram: Datagram,
    ) -> Vec<u8> {
        let mut options: Vec<u8> =
            extensions.iter().flat_map(|extension| extension.body.iter().copied()).collect();
        options.resize(options.len().next_multiple_of(4).min(40), 0);
        let header = 20 + options.len();
        let words = u8::try_from(header / 4).unwrap_or(5);
        let Datagram { identification, offset, more, whole } = datagram;
        let flags = if whole { 0x4000 } else { u16::from(more) << 13 };
        let mut bytes = vec![0x40 | words, 0];
        bytes.extend(length16(header + length));
        bytes.extend(&identification.to_be_bytes()[2..]);
        bytes.extend((flags | (offset / 8)).to_be_bytes());
        bytes.extend([hop_limit, protocol.number(), 0, 0]);
        bytes.extend(bytemuck::bytes_of(&source));
        bytes.extend(bytemuck::bytes_of(&destination));
        bytes.extend(options);
        let checksum = !sum(&bytes);
        bytes[10..12].copy_from_slice(&checksum.to_be_bytes());
        bytes
    }

    fn pseudo_header(
        (source, destination): (Self, Self),
        protocol: Protocol,
        length: u32,
    ) -> Vec<u8> {
        let addresses = [bytemuck::bytes_of(&source), bytemuck::bytes_of(&destination)].concat();
        [&addresses, [0, protocol.number()].as_slice(), &length.to_be_bytes()[2..]].concat()
    }
}

impl Wire for V6 {
    const ETHERNET_TYPE: u16 = 0x86dd;
    const ECHO_REQUEST: (u8, u8) = (128, 0);
    const PORT_UNREACHABLE: (u8, u8) = (1, 4);
    const TOO_BIG: (u8, u8) = (2, 0);
    const TIME_EXCEEDED: (u8, u8) = (3, 0);

    fn header(
        (source, destination): (Self, Self),
        protocol: Protocol,
        (hop_limit, length): (u8, usize),
        extensions: &[Extension],
        datagram: Datagram,
    ) -> Vec<u8> {
        const FRAGMENT: u8 = 44;
        // (type, the bytes behind "next header"), in the order on the wire.
        let mut chain: Vec<(u8, Vec<u8>)> = Vec::new();
        for Extension { kind, body } in extensions {
            let total = (2 + body.len()).next_multiple_of(8);
            let mut bytes = vec![u8::try_from(total / 8 - 1).unwrap_or(0)];
            bytes.extend(body);
            bytes.resize(total - 1, 0);
            chain.push((kind.number(), bytes));
        }
        let Datagram { identification, offset, more, whole } = datagram;
        if !whole {
            let mut bytes = vec![0];
            bytes.extend(((offset & 0xfff8) | u16::from(more)).to_be_bytes());
            bytes.extend(identification.to_be_bytes());
            chain.push((FRAGMENT, bytes));
        }
        let behind: usize = chain.iter().map(|(_, bytes)| bytes.len() + 1).sum();
        let next = |index: usize| chain.get(index).map_or(protocol.number(), |(kind, _)| *kind);
        let mut bytes = vec![0x60, 0, 0, 0];
        bytes.extend(length16(behind + length));
        bytes.extend([next(0), hop_limit]);
        bytes.extend(bytemuck::bytes_of(&source));
        bytes.extend(bytemuck::bytes_of(&destination));
        for (index, (_, body)) in chain.iter().enumerate() {
            bytes.push(next(index + 1));
            bytes.extend(body);
        }
        bytes
    }

    fn pseudo_header(
        (source, destination): (Self, Self),
        protocol: Protocol,
        length: u32,
    ) -> Vec<u8> {
        let addresses = [bytemuck::bytes_of(&source), bytemuck::bytes_of(&destination)].concat();
        [&addresses, length.to_be_bytes().as_slice(), &[0, 0, 0, protocol.number()]].concat()
    }
}

/// The two addresses of a network header, if `bytes` hold that many.
pub(super) fn addresses<A: Address>(bytes: &[u8], at: usize) -> Option<(A, A)> {
    let size = size_of::<A>();
    let read = |at: usize| bytemuck::try_pod_read_unaligned(bytes.get(at..at + size)?).ok();
    Some((read(at)?, read(at + size)?))
}
