//! The filter in front of every look-up: is this address of any interest at all?
//!
//! An address has a slot of two bits in `ADDRESS_FILTER`; other addresses may share the slot. A
//! clear bit is proof: no frontend (no backend) and no flow has that address. A set bit proves
//! nothing. So a packet that is no Service's usually costs no look-up in a hash, and the agent may
//! clear a bit late, but never early.

use bytemuck::{Pod, Zeroable};

use crate::Address;

/// Elements of `ADDRESS_FILTER`, a `u64` each.
pub const FILTER_WORDS: u32 = 1 << 15;

const SLOTS_PER_WORD: u32 = 32;

/// What an address may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Pod, Zeroable)]
#[repr(transparent)]
pub struct FilterBits {
    bits: u8,
}

impl FilterBits {
    /// A frontend's address, or the destination of a flow in `DST_FLOWS_*`.
    pub const FRONTEND: Self = Self { bits: 1 };
    /// A backend's address, or the source of a flow in `SRC_FLOWS_*`.
    pub const BACKEND: Self = Self { bits: 2 };

    /// Whether no bit is set.
    #[inline(always)]
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.bits == 0
    }

    /// Whether every bit of `other` is set.
    #[inline(always)]
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.bits & other.bits == other.bits
    }

    /// These bits and those of `other`.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self { bits: self.bits | other.bits }
    }
}

/// Where an address' two bits are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FilterSlot {
    /// Index of the word.
    pub word: u32,
    /// How far to shift the word right.
    pub shift: u32,
}

impl FilterSlot {
    /// The slot of `address`.
    #[inline(always)]
    #[must_use]
    pub fn of<A: Address>(address: A) -> Self {
        let slot = address.mix() & (FILTER_WORDS * SLOTS_PER_WORD - 1);
        Self { word: slot / SLOTS_PER_WORD, shift: (slot % SLOTS_PER_WORD) * 2 }
    }

    /// The bits of this slot in its `word`.
    #[inline(always)]
    #[must_use]
    pub const fn read(self, word: u64) -> FilterBits {
        FilterBits { bits: ((word >> self.shift) & 3) as u8 }
    }

    /// `word` with the bits of this slot replaced by `bits`.
    #[must_use]
    pub const fn write(self, word: u64, bits: FilterBits) -> u64 {
        (word & !(3 << self.shift)) | ((bits.bits as u64) << self.shift)
    }
}

#[cfg(test)]
mod tests {
    use super::{FILTER_WORDS, FilterBits, FilterSlot};
    use crate::V4;

    #[test]
    fn what_is_written_is_read_and_neighbours_stay() {
        let slot = FilterSlot { word: 0, shift: 6 };
        let word = slot.write(u64::MAX, FilterBits::BACKEND);
        assert_eq!(slot.read(word), FilterBits::BACKEND);
        assert_eq!(FilterSlot { word: 0, shift: 4 }.read(word).bits, 3);
        assert_eq!(FilterSlot { word: 0, shift: 8 }.read(word).bits, 3);
    }

    #[test]
    fn neighbouring_addresses_spread_over_the_filter() {
        let mut taken = [0u8; (FILTER_WORDS / 8) as usize];
        let mut shared = 0;
        for host in 0..10_000u32 {
            let word = FilterSlot::of(V4::from_word((0x0a60_0000 + host).to_be())).word;
            let bit = 1 << (word % 8);
            shared += u32::from(taken[(word / 8) as usize] & bit != 0);
            taken[(word / 8) as usize] |= bit;
        }
        assert!(shared < 2_500, "{shared} of 10,000 addresses share a word with another");
    }
}
