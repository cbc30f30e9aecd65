//! The filter in front of every look-up: is this address, and is this port, of any interest at all?
//!
//! An address has a slot of four bits in `ADDRESS_FILTER`; other addresses may share the slot. A
//! clear bit is proof: no frontend (no node's address, no backend) and no flow has that address. A
//! set bit proves nothing. So a packet that is no Service's usually costs no look-up in a hash, and
//! the agent may clear a bit late, but never early.
//!
//! An address of the node is a frontend's at few ports, and a backend serves at few. So ports have
//! slots too, behind those of addresses, one for each protocol and number: ssh, an overlay's outer
//! packets, and answers to the node's own connections cost no look-up either.

use bytemuck::{Pod, Zeroable};

use crate::{Address, Be16, Protocol};

/// Elements of `ADDRESS_FILTER`, a `u64` each: slots of addresses, then slots of ports.
pub const FILTER_WORDS: u32 = ADDRESS_WORDS + PORT_WORDS;

const SLOTS_PER_WORD: u32 = 16;
const BITS_PER_SLOT: u32 = 4;
const ADDRESS_WORDS: u32 = 1 << 16;
/// Two protocols, 65,536 ports each.
const PORT_WORDS: u32 = (2 << 16) / SLOTS_PER_WORD;

/// What an address, or a port, may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Pod, Zeroable)]
#[repr(transparent)]
pub struct FilterBits {
    bits: u8,
}

impl FilterBits {
    /// A frontend's address, or the destination of a flow in `DST_FLOWS_*`; at any port.
    pub const FRONTEND: Self = Self { bits: 1 };
    /// A backend's address, or the source of a flow in `SRC_FLOWS_*`. Of a port: a backend's, or that
    /// of such a flow's end.
    pub const BACKEND: Self = Self { bits: 2 };
    /// An address of the node: a frontend's at ports with this bit only. Of a port: a NodePort, one
    /// that packets are masqueraded to, or the destination of a flow.
    pub const NODE: Self = Self { bits: 4 };
    /// Every bit that there is, to walk over.
    pub const ALL: [Self; 3] = [Self::FRONTEND, Self::BACKEND, Self::NODE];

    /// Whether no bit is set.
    #[inline(always)]
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.bits == 0
    }

    /// The bits that are set in both.
    #[inline(always)]
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self { bits: self.bits & other.bits }
    }
}

flag_set!(FilterBits);

/// Where the bits of an address or of a port are.
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
        Self::number(address.mix() & (ADDRESS_WORDS * SLOTS_PER_WORD - 1))
    }

    /// The slot of a port; `None` where ports aren't told apart: of protocols whose clients keep
    /// their port when they are masqueraded (SCTP).
    #[inline(always)]
    #[must_use]
    pub fn of_port(port: Be16, protocol: Protocol) -> Option<Self> {
        let first = ADDRESS_WORDS * SLOTS_PER_WORD;
        let number = port.get() as u32;
        match protocol {
            Protocol::TCP => Some(Self::number(first + number)),
            Protocol::UDP => Some(Self::number(first + (1 << 16) + number)),
            _ => None,
        }
    }

    #[inline(always)]
    const fn number(slot: u32) -> Self {
        Self { word: slot / SLOTS_PER_WORD, shift: (slot % SLOTS_PER_WORD) * BITS_PER_SLOT }
    }

    /// Every slot of `word`.
    pub fn of_word(word: u32) -> impl Iterator<Item = Self> {
        (0..SLOTS_PER_WORD).map(move |slot| Self { word, shift: slot * BITS_PER_SLOT })
    }

    /// The bits of this slot in its `word`.
    #[inline(always)]
    #[must_use]
    pub const fn read(self, word: u64) -> FilterBits {
        FilterBits { bits: ((word >> self.shift) & 15) as u8 }
    }

    /// `word` with the bits of this slot replaced by `bits`.
    #[must_use]
    pub const fn write(self, word: u64, bits: FilterBits) -> u64 {
        (word & !(15 << self.shift)) | ((bits.bits as u64) << self.shift)
    }
}

#[cfg(test)]
mod tests {
    use super::{ADDRESS_WORDS, FILTER_WORDS, FilterBits, FilterSlot};
    use crate::{Be16, Protocol, V4};

    #[test]
    fn what_is_written_is_read_and_neighbours_stay() {
        let slot = FilterSlot { word: 0, shift: 8 };
        let word = slot.write(u64::MAX, FilterBits::BACKEND);
        assert_eq!(slot.read(word), FilterBits::BACKEND);
        assert_eq!(FilterSlot { word: 0, shift: 4 }.read(word).bits, 15);
        assert_eq!(FilterSlot { word: 0, shift: 12 }.read(word).bits, 15);
    }

    #[test]
    fn every_port_of_a_protocol_has_a_slot_of_its_own_behind_those_of_addresses() {
        let mut free = FilterSlot { word: ADDRESS_WORDS, shift: 0 };
        for protocol in [Protocol::TCP, Protocol::UDP] {
            for port in 0..=u16::MAX {
                assert_eq!(FilterSlot::of_port(Be16::new(port), protocol), Some(free), "{port}");
                let shift = (free.shift + 4) % u64::BITS;
                free = FilterSlot { word: free.word + u32::from(shift == 0), shift };
            }
        }
        assert_eq!(free, FilterSlot { word: FILTER_WORDS, shift: 0 });
        assert_eq!(FilterSlot::of_port(Be16::new(80), Protocol::SCTP), None);
        assert!(FilterSlot::of_word(7).all(|slot| slot.word == 7));
        assert_eq!(FilterSlot::of_word(7).count(), 16);
    }

    #[test]
    fn neighbouring_addresses_spread_over_the_filter() {
        let mut taken = [0u8; (FILTER_WORDS / 8 + 1) as usize];
        let mut shared = 0;
        for host in 0..10_000u32 {
            let word = FilterSlot::of(V4::from_word((0x0a60_0000 + host).to_be())).word;
            let bit = 1 << (word % 8);
            shared += u32::from(taken[(word / 8) as usize] & bit != 0);
            taken[(word / 8) as usize] |= bit;
        }
        assert!(shared < 1_300, "{shared} of 10,000 addresses share a word with another");
    }
}
