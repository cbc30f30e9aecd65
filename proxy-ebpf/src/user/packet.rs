//! [`Packet`] over a byte vector.

use bytemuck::Pod;
use proxy_common::Be16;

use crate::{
    checksum::Sum,
    packet::{ChecksumKind, Covered, Packet},
};

/// What the transport checksum of a packet is (`skb->ip_summed` in the kernel).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChecksumState {
    /// Complete.
    Complete,
    /// The sum of the pseudo-header; the device computes the rest (`CHECKSUM_PARTIAL`).
    ByDevice {
        /// Where what the device sums begins: the transport header (`csum_start`).
        start: usize,
        /// Where the device puts the checksum (`csum_start + csum_offset`).
        field: usize,
    },
}

/// A packet in user space, from the first byte of its link-layer header on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserPacket {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Who computes its transport checksum.
    pub checksum: ChecksumState,
    /// How long the link-layer header is: 14 with Ethernet, 0 without.
    pub link_header: usize,
}

impl UserPacket {
    /// A packet with an Ethernet header and a complete checksum.
    #[must_use]
    pub fn ethernet(bytes: Vec<u8>) -> Self {
        Self { bytes, checksum: ChecksumState::Complete, link_header: 14 }
    }
}

impl Packet for UserPacket {
    fn read<T: Pod>(&self, offset: usize) -> Option<T> {
        let bytes = self.bytes.get(offset..offset.checked_add(size_of::<T>())?)?;
        bytemuck::try_pod_read_unaligned(bytes).ok()
    }

    fn write<T: Pod>(&mut self, offset: usize, value: T) -> Option<()> {
        let bytes = self.bytes.get_mut(offset..offset.checked_add(size_of::<T>())?)?;
        bytes.copy_from_slice(bytemuck::bytes_of(&value));
        Some(())
    }

    fn length(&self) -> u32 {
        u32::try_from(self.bytes.len()).unwrap_or(u32::MAX)
    }

    fn adjust_checksum(
        &mut self,
        offset: usize,
        kind: ChecksumKind,
        covered: Covered,
        difference: u32,
        _: usize,
    ) -> Option<()> {
        let old: Be16 = self.read(offset)?;
        let difference = Sum::ZERO.words([difference]);
        if kind == ChecksumKind::ZeroIsNone && old == Be16::ZERO {
            return Some(());
        }
        let new = match (self.checksum, covered) {
            (ChecksumState::Complete, _) => difference.applied_to(old),
            // Not complemented: the device goes on adding.
            (ChecksumState::ByDevice { .. }, Covered::PseudoHeader) => {
                difference.be16(old).folded()
            }
            (ChecksumState::ByDevice { .. }, Covered::Payload) => return Some(()),
        };
        self.write(offset, kind.stored(new))
    }

    fn resize(&mut self, length: u32) -> Option<()> {
        self.bytes.resize(usize::try_from(length).ok()?, 0);
        Some(())
    }

    fn grow(&mut self, bytes: u32) -> Option<()> {
        let bytes = usize::try_from(bytes).ok()?;
        if self.link_header > self.bytes.len() {
            return None;
        }
        let room = vec![0; bytes];
        if let ChecksumState::ByDevice { start, field } = &mut self.checksum {
            *start += bytes;
            *field += bytes;
        }
        self.bytes.splice(self.link_header..self.link_header, room);
        Some(())
    }
}
