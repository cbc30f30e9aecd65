//! A packet that was seen on a wire, as far as stories ask about it.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

use super::{ICMP, ICMPV6, IPV4_HEADER, IPV6_HEADER, SCTP, TCP, UDP, checksum, pseudo_header};

/// A packet from its network header on.
#[derive(Clone, PartialEq, Eq)]
pub struct Seen {
    bytes: Vec<u8>,
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    /// Where the header of layer 4 starts.
    segment: usize,
}

impl Seen {
    /// From the bytes of an IP packet; `None` for anything else. IPv6 extension headers are not
    /// followed: the packet's protocol is then that of the first of them.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let mut seen = Self::parse_quoted(bytes)?;
        // Short frames are padded by the device.
        let length = seen.length();
        if seen.bytes.len() < length {
            return None;
        }
        seen.bytes.truncate(length);
        Some(seen)
    }

    /// Like [`Self::parse`], of a packet of which only the start is there.
    #[must_use]
    pub fn parse_quoted(bytes: &[u8]) -> Option<Self> {
        let (source, destination, protocol, segment) = match bytes.first()? >> 4 {
            4 => {
                let header = bytes.first_chunk::<IPV4_HEADER>()?;
                let source: [u8; 4] = header[12..16].try_into().ok()?;
                let destination: [u8; 4] = header[16..20].try_into().ok()?;
                let segment = usize::from(header[0] & 0xf) * 4;
                (IpAddr::from(source), IpAddr::from(destination), header[9], segment)
            }
            6 => {
                let header = bytes.first_chunk::<IPV6_HEADER>()?;
                let source: [u8; 16] = header[8..24].try_into().ok()?;
                let destination: [u8; 16] = header[24..40].try_into().ok()?;
                (source.into(), destination.into(), header[6], IPV6_HEADER)
            }
            _ => return None,
        };
        Some(Self { bytes: bytes.to_vec(), source, destination, protocol, segment })
    }

    /// Every byte from the network header on.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// IP protocol number, or the next header of IPv6.
    #[must_use]
    pub fn protocol(&self) -> u8 {
        self.protocol
    }

    /// Source, with port 0 where the protocol has none.
    #[must_use]
    pub fn source(&self) -> SocketAddr {
        SocketAddr::new(self.source, self.port(0))
    }

    /// Destination, with port 0 where the protocol has none.
    #[must_use]
    pub fn destination(&self) -> SocketAddr {
        SocketAddr::new(self.destination, self.port(2))
    }

    /// Whether it is from `source` to `destination`.
    #[must_use]
    pub fn is_between(&self, source: IpAddr, destination: IpAddr) -> bool {
        self.source == source && self.destination == destination
    }

    /// What follows the IP header.
    #[must_use]
    pub fn segment(&self) -> &[u8] {
        self.bytes.get(self.segment..).unwrap_or_default()
    }

    /// The flags of a TCP segment.
    #[must_use]
    pub fn tcp_flags(&self) -> Option<u8> {
        (self.protocol == TCP).then(|| self.segment().get(13).copied())?
    }

    /// Type and code of an ICMP or ICMPv6 message.
    #[must_use]
    pub fn icmp(&self) -> Option<(u8, u8)> {
        let is_icmp = matches!(self.protocol, ICMP | ICMPV6);
        let &[kind, code, ..] = self.segment() else { return None };
        is_icmp.then_some((kind, code))
    }

    /// The packet that an ICMP error is about, as far as it is quoted. No other message quotes one:
    /// neighbours may look for each other at any time.
    #[must_use]
    pub fn quoted(&self) -> Option<&[u8]> {
        let (kind, _) = self.icmp()?;
        // RFC 4443 §2.1: errors are below 128. RFC 792: unreachable, redirect, time exceeded, parameter
        // problem.
        let quotes =
            if self.source.is_ipv6() { kind < 128 } else { matches!(kind, 3 | 5 | 11 | 12) };
        self.segment().get(8..).filter(|_| quotes)
    }

    /// Whether the checksums of IPv4 and of layer 4 hold. Between namespaces of one kernel a socket's
    /// own packets carry an unfinished one; a packet that a program made must carry a right one.
    #[must_use]
    pub fn checksum_is_right(&self) -> bool {
        let header_is_right =
            self.source.is_ipv6() || checksum(&[&self.bytes[..self.segment]]) == 0;
        let segment = self.segment();
        let pseudo = match self.protocol {
            ICMP => Vec::new(),
            protocol => pseudo_header(self.source, self.destination, protocol, segment.len()),
        };
        header_is_right && checksum(&[&pseudo, segment]) == 0
    }

    /// The packet's length as its header tells it.
    fn length(&self) -> usize {
        let at =
            |offset| usize::from(u16::from_be_bytes([self.bytes[offset], self.bytes[offset + 1]]));
        if self.source.is_ipv4() { at(2) } else { IPV6_HEADER + at(4) }
    }

    fn port(&self, offset: usize) -> u16 {
        match self.segment().get(offset..offset + 2) {
            Some(&[high, low]) if matches!(self.protocol, TCP | UDP | SCTP) => {
                u16::from_be_bytes([high, low])
            }
            _ => 0,
        }
    }
}

impl fmt::Debug for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {}", self.source(), self.destination())?;
        match (self.tcp_flags(), self.icmp()) {
            (Some(flags), _) => write!(f, " TCP flags {flags:#04x}"),
            (_, Some((kind, code))) => write!(f, " ICMP type {kind} code {code}"),
            _ => write!(f, " protocol {}", self.protocol),
        }?;
        write!(f, ", {} bytes", self.bytes.len())
    }
}
