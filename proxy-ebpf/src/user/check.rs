//! Are all the checksums of a packet right? Every one is computed anew: of the IPv4 header, of TCP,
//! UDP, ICMP and ICMPv6, and of the packet that an ICMP error quotes. For a packet whose checksum is
//! left to the device: the one that the device would put.
//!
//! Deliberately shares no code with the datapath. Called by tests.

use proxy_common::{Protocol, V4, V6};

use super::{
    packet::{ChecksumState, UserPacket},
    wire::{Wire, addresses, sum},
};

/// A checksum that is not what its packet calls for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// Which: `IPv4` for the header's own, else the transport's name.
    pub what: &'static str,
    /// Whether it is in a packet that an ICMP error quotes.
    pub quoted: bool,
    /// Where it is, from the packet's first byte on.
    pub at: usize,
    /// What is there.
    pub found: u16,
    /// What belongs there.
    pub expected: u16,
}

/// The packet as it is on the wire: what is left to the device is done.
#[must_use]
pub fn as_sent(packet: &UserPacket) -> UserPacket {
    let mut sent = packet.clone();
    if let ChecksumState::ByDevice { start, field } = packet.checksum {
        let checksum = !sum(packet.bytes.get(start..).unwrap_or_default());
        if let Some(bytes) = sent.bytes.get_mut(field..field + 2) {
            let mangled = if checksum == 0 { 0xffff } else { checksum };
            bytes.copy_from_slice(&mangled.to_be_bytes());
        }
        sent.checksum = ChecksumState::Complete;
    }
    sent
}

/// Checks every checksum of the packet.
///
/// # Errors
/// The first one that is wrong.
pub fn check(packet: &UserPacket) -> Result<(), Wrong> {
    let sent = as_sent(packet);
    let datagram = Layer { bytes: &sent.bytes, at: sent.link_header, quoted: false };
    datagram.check()
}

#[derive(Clone, Copy)]
struct Layer<'a> {
    bytes: &'a [u8],
    at: usize,
    quoted: bool,
}

impl Layer<'_> {
    fn byte(&self, offset: usize) -> u8 {
        self.bytes.get(self.at + offset).copied().unwrap_or(0)
    }

    fn word(&self, offset: usize) -> u16 {
        u16::from_be_bytes([self.byte(offset), self.byte(offset + 1)])
    }

    fn compare(&self, what: &'static str, at: usize, total: u16) -> Result<(), Wrong> {
        let found = self.word(at - self.at);
        if total == 0xffff {
            return Ok(());
        }
        // The sum of everything but the checksum, complemented, belongs there.
        let rest = sum(&[total.to_be_bytes(), (!found).to_be_bytes()].concat());
        Err(Wrong { what, quoted: self.quoted, at, found, expected: !rest })
    }

    fn check(&self) -> Result<(), Wrong> {
        match self.byte(0) >> 4 {
            4 => self.check_v4(),
            6 => self.check_v6(),
            _ => Ok(()),
        }
    }

    fn check_v4(&self) -> Result<(), Wrong> {
        let header = usize::from(self.byte(0) & 0xf) * 4;
        let Some(bytes) = self.bytes.get(self.at..self.at + header) else { return Ok(()) };
        self.compare("IPv4", self.at + 10, sum(bytes))?;
        if self.word(6) & 0x3fff != 0 {
            // The checksum of a fragmented datagram covers what isn't here.
            return Ok(());
        }
        let end = self.at + usize::from(self.word(2));
        self.check_transport::<V4>(Protocol::new(self.byte(9)), (self.at + header, end), 12)
    }

    fn check_v6(&self) -> Result<(), Wrong> {
        let end = self.at + 40 + usize::from(self.word(4));
        let mut next = self.byte(6);
        let mut offset = 40;
        while matches!(next, 0 | 43 | 44 | 60) && self.at + offset < self.bytes.len() {
            if next == 44 && self.word(offset + 2) & 0xfff9 != 0 {
                return Ok(());
            }
            let length = if next == 44 { 8 } else { (usize::from(self.byte(offset + 1)) + 1) * 8 };
            next = self.byte(offset);
            offset += length;
        }
        self.check_transport::<V6>(Protocol::new(next), (self.at + offset, end), 8)
    }

    fn check_transport<A: Wire>(
        &self,
        protocol: Protocol,
        (start, end): (usize, usize),
        source: usize,
    ) -> Result<(), Wrong> {
        let (what, field) = match protocol {
            Protocol::TCP => ("TCP", 16),
            Protocol::UDP => ("UDP", 6),
            Protocol::ICMP => ("ICMP", 2),
            Protocol::ICMPV6 => ("ICMPv6", 2),
            _ => return Ok(()),
        };
        // A quote is cut short: what its checksum covers isn't here.
        let Some(transport) = self.bytes.get(start..end) else { return Ok(()) };
        let Some(checksum) = transport.get(field..field + 2) else { return Ok(()) };
        if protocol == Protocol::UDP && checksum == [0, 0] {
            return Ok(());
        }
        let pseudo = match addresses::<A>(self.bytes, self.at + source) {
            Some(addresses) if protocol != Protocol::ICMP => {
                let length = u32::try_from(transport.len()).unwrap_or(u32::MAX);
                A::pseudo_header(addresses, protocol, length)
            }
            _ => Vec::new(),
        };
        self.compare(what, start + field, sum(&[&pseudo, transport].concat()))?;
        let is_error = match protocol {
            Protocol::ICMP => matches!(transport[0], 3 | 4 | 5 | 11 | 12),
            Protocol::ICMPV6 => transport[0] < 128,
            _ => false,
        };
        if is_error && !self.quoted {
            return Layer { at: start + 8, quoted: true, ..*self }.check();
        }
        Ok(())
    }
}
