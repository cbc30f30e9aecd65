//! Integers in network byte order.

use core::fmt;

use bytemuck::{Pod, Zeroable};

/// A 16-bit integer in network byte order: a port, a length, a checksum as it is on the wire.
///
/// Kept as bytes so that a map dump shows `[31,144]` (0x1f90) for port 8080 on every machine, and
/// aligned like the integer so that it is loaded and stored in one instruction.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Pod, Zeroable)]
#[repr(C, align(2))]
pub struct Be16 {
    bytes: [u8; 2],
}

impl Be16 {
    /// Port 0, length 0.
    pub const ZERO: Self = Self { bytes: [0; 2] };

    /// From a host-order integer.
    #[inline(always)]
    #[must_use]
    pub const fn new(host: u16) -> Self {
        Self { bytes: host.to_be_bytes() }
    }

    /// As a host-order integer.
    #[inline(always)]
    #[must_use]
    pub const fn get(self) -> u16 {
        u16::from_be_bytes(self.bytes)
    }

    /// The two bytes as they stand on the wire, read as this machine's integer: what checksum
    /// arithmetic works on (RFC 1071 is indifferent to byte order, so nothing is swapped).
    #[inline(always)]
    #[must_use]
    pub const fn wire(self) -> u16 {
        u16::from_ne_bytes(self.bytes)
    }

    /// The inverse of [`Self::wire`].
    #[inline(always)]
    #[must_use]
    pub const fn from_wire(wire: u16) -> Self {
        Self { bytes: wire.to_ne_bytes() }
    }
}

impl fmt::Debug for Be16 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

impl fmt::Display for Be16 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::Be16;

    #[test]
    fn bytes_stand_in_wire_order() {
        assert_eq!(bytemuck::bytes_of(&Be16::new(8080)), [0x1f, 0x90]);
        assert_eq!(Be16::new(8080).get(), 8080);
        assert_eq!(Be16::from_wire(Be16::new(53).wire()), Be16::new(53));
    }
}
