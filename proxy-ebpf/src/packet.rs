//! What the datapath asks of a packet. The kernel's socket buffer implements it in the BPF binary,
//! a byte vector in [`crate::user`].

use bytemuck::Pod;
use proxy_common::Be16;

/// How a change of bytes reaches a transport checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Covered {
    /// The bytes are in the pseudo-header (RFC 9293 §3.1, RFC 8200 §8.1): addresses, lengths. A
    /// checksum that the device will compute starts from their sum, so it changes too.
    PseudoHeader,
    /// The bytes are in the transport header or behind it. A checksum that the device will compute
    /// doesn't contain them yet.
    Payload,
}

/// Which checksum is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChecksumKind {
    /// Zero is a checksum like any other.
    Plain,
    /// Zero says that there is none, and stays (UDP over IPv4, RFC 768).
    ZeroIsNone,
}

impl ChecksumKind {
    /// How `checksum` is written into its field: where zero says that there is none, 0xffff says zero.
    #[inline(always)]
    #[must_use]
    pub fn stored(self, checksum: Be16) -> Be16 {
        if self == Self::ZeroIsNone && checksum == Be16::ZERO {
            Be16::new(0xffff)
        } else {
            checksum
        }
    }
}

/// A packet at a hook, from the first byte of its link-layer header on.
///
/// Offsets are in bytes from there. Nothing is cached: a value that was read is a copy, and stays
/// valid whatever happens to the packet.
pub trait Packet {
    /// The `T` at `offset`; `None` when the packet (or its readable part) ends before.
    fn read<T: Pod>(&self, offset: usize) -> Option<T>;

    /// Overwrites what is at `offset`; `None` when the packet ends before.
    fn write<T: Pod>(&mut self, offset: usize, value: T) -> Option<()>;

    /// How many bytes the packet has, readable or not.
    fn length(&self) -> u32;

    /// Applies `difference` (a one's-complement sum, see [`crate::checksum`]) to the transport
    /// checksum at `offset`.
    ///
    /// Right for a checksum that is complete, that a device has verified, and that a device will
    /// compute (`CHECKSUM_PARTIAL`).
    fn adjust_checksum(
        &mut self,
        offset: usize,
        kind: ChecksumKind,
        covered: Covered,
        difference: u32,
        family_words: usize,
    ) -> Option<()>;

    /// Cuts or pads the packet to `length` bytes. A GSO packet becomes an ordinary one.
    fn resize(&mut self, length: u32) -> Option<()>;

    /// Makes room for `bytes` between the link-layer header and the network header.
    fn grow(&mut self, bytes: u32) -> Option<()>;
}
