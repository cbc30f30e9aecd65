//! Checksum arithmetic: one's-complement sums (RFC 1071) and their differences (RFC 1624).
//!
//! Sums are never byte-swapped. One's-complement addition gives the same sixteen bits whatever
//! order the bytes of each word are read in, as long as the result is stored the way the words were
//! read. So everything here works on words as they lie in memory.

use bytemuck::Pod;
use proxy_common::{Address, Be16};

/// A one's-complement sum of 16-bit words, unfolded. Room for 65,536 words of 32 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sum {
    total: u64,
}

impl Sum {
    /// The empty sum.
    pub const ZERO: Self = Self { total: 0 };

    /// Adds a 16-bit word.
    #[inline(always)]
    #[must_use]
    pub const fn be16(self, word: Be16) -> Self {
        Self { total: self.total + word.wire() as u64 }
    }

    /// Takes a 16-bit word away.
    #[inline(always)]
    #[must_use]
    pub const fn without_be16(self, word: Be16) -> Self {
        Self { total: self.total + (!word.wire()) as u64 }
    }

    /// Adds an address.
    #[inline(always)]
    #[must_use]
    pub fn address<A: Address>(self, address: A) -> Self {
        let words = address.words();
        let mut total = self.total + words[0] as u64;
        if A::WORDS == 4 {
            total += words[1] as u64 + words[2] as u64 + words[3] as u64;
        }
        Self { total }
    }

    /// Takes an address away.
    #[inline(always)]
    #[must_use]
    pub fn without_address<A: Address>(self, address: A) -> Self {
        let words = address.words();
        let mut total = self.total + !words[0] as u64;
        if A::WORDS == 4 {
            total += !words[1] as u64 + !words[2] as u64 + !words[3] as u64;
        }
        Self { total }
    }

    /// Adds the 32-bit words of a structure.
    #[inline(always)]
    #[must_use]
    pub fn words<const N: usize>(self, words: [u32; N]) -> Self {
        let mut total = self.total;
        for word in words {
            total += word as u64;
        }
        Self { total }
    }

    /// Adds a structure whose size is a multiple of four.
    #[inline(always)]
    #[must_use]
    pub fn structure<T: Pod, const N: usize>(self, value: T) -> Self {
        self.words(bytemuck::must_cast::<T, [u32; N]>(value))
    }

    /// Adds another sum.
    #[inline(always)]
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self { total: self.total + other.folded32() as u64 }
    }

    /// The sum in 32 bits, as the kernel's checksum helpers take a difference.
    #[inline(always)]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "folded first")]
    pub const fn folded32(self) -> u32 {
        let once = (self.total & 0xffff_ffff) + (self.total >> 32);
        ((once & 0xffff_ffff) + (once >> 32)) as u32
    }

    /// The sum in 16 bits, not complemented: what a device starts from.
    #[inline(always)]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "folded first")]
    pub const fn folded(self) -> Be16 {
        let sum = self.folded32();
        let once = (sum & 0xffff) + (sum >> 16);
        Be16::from_wire(((once & 0xffff) + (once >> 16)) as u16)
    }

    /// Whether applying this difference leaves a checksum what it is.
    #[inline(always)]
    #[must_use]
    pub const fn is_nothing(self) -> bool {
        matches!(self.folded().wire(), 0 | 0xffff)
    }

    /// The checksum of what was summed.
    #[inline(always)]
    #[must_use]
    pub const fn checksum(self) -> Be16 {
        Be16::from_wire(!self.folded().wire())
    }

    /// `checksum` after this difference was applied to what it covers (RFC 1624, equation 3).
    #[inline(always)]
    #[must_use]
    pub const fn applied_to(self, checksum: Be16) -> Be16 {
        Self { total: self.folded32() as u64 + !checksum.wire() as u64 }.checksum()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};
    use proxy_common::{Be16, V4, V6};

    use super::Sum;

    fn checksum_of(bytes: &[u8]) -> Be16 {
        let mut sum = Sum::ZERO;
        for pair in bytes.chunks(2) {
            let pair = [pair[0], pair.get(1).copied().unwrap_or(0)];
            sum = sum.be16(Be16::from_wire(u16::from_ne_bytes(pair)));
        }
        sum.checksum()
    }

    #[test]
    fn the_example_of_rfc_1071() {
        let sum = checksum_of(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]);
        assert_eq!(sum.get(), !0xddf2);
    }

    proptest! {
        #[test]
        fn a_difference_gives_what_recomputing_gives(
            mut bytes in any::<[u8; 20]>(),
            new in any::<[u8; 4]>(),
            port in any::<u16>(),
        ) {
            // An all-zero packet has two checksums, 0 and 0xffff: leave it out, as on the wire.
            bytes[0] |= 1;
            let before = checksum_of(&bytes);
            let old = V4::new([bytes[4], bytes[5], bytes[6], bytes[7]]);
            let old_port = Be16::new(u16::from_be_bytes([bytes[8], bytes[9]]));
            bytes[4..8].copy_from_slice(&new);
            bytes[8..10].copy_from_slice(&port.to_be_bytes());
            let difference = Sum::ZERO
                .without_address(old)
                .address(V4::new(new))
                .without_be16(old_port)
                .be16(Be16::new(port));
            assert_eq!(difference.applied_to(before), checksum_of(&bytes));
        }

        #[test]
        fn six_words_sum_like_their_bytes(bytes in any::<[u8; 16]>()) {
            assert_eq!(Sum::ZERO.address(V6::new(bytes)).checksum(), checksum_of(&bytes));
        }
    }
}
