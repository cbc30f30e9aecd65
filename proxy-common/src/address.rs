//! Addresses of both families, and what the datapath may ask of one.

use core::{
    fmt,
    hash::Hash,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use bytemuck::{Pod, Zeroable};

use crate::{Protocol, Tuple};

/// An address of either family. Code that is generic over it is written once and compiled for
/// [`V4`] and [`V6`].
pub trait Address: Pod + Eq + Ord + Hash + fmt::Debug + fmt::Display + Send + Sync {
    /// How many 32-bit words an address has.
    const WORDS: usize;

    /// What a structure with 64-bit fields and one address needs to be a multiple of 8 bytes long:
    /// four bytes for [`V4`], none for [`V6`].
    type Align: Pod + Eq + Ord + Hash + fmt::Debug + Send + Sync;

    /// The words as they stand in memory (network order), for checksums and hashing. Words past
    /// [`Self::WORDS`] are zero.
    fn words(self) -> [u32; 4];

    /// A tuple from its parts, written in whole words: `ports` are both ports as they lie in a
    /// packet.
    ///
    /// The kernel hashes keys by words. One that was written in smaller pieces a moment ago is read
    /// several nanoseconds late.
    fn tuple(source: Self, destination: Self, ports: u32, protocol: Protocol) -> Tuple<Self>;

    /// As the standard library's type.
    fn to_ip(self) -> IpAddr;

    /// From the standard library's type; `None` when it is of the other family.
    fn from_ip(ip: IpAddr) -> Option<Self>;

    /// A number of 32 well-mixed bits, the same in the kernel and in the agent.
    #[inline(always)]
    fn mix(self) -> u32 {
        let words = self.words();
        let mut folded = words[0];
        if Self::WORDS == 4 {
            folded ^= words[1].rotate_left(7) ^ words[2].rotate_left(13) ^ words[3].rotate_left(19);
        }
        // Knuth's multiplicative hash: the high bits depend on every bit of the address.
        let product = folded.wrapping_mul(0x9E37_79B1);
        product ^ (product >> 15)
    }
}

/// An IPv4 address: four bytes in network order.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Pod, Zeroable)]
#[repr(C, align(4))]
pub struct V4 {
    bytes: [u8; 4],
}

/// An IPv6 address: sixteen bytes in network order.
#[derive(Clone, Copy, Eq, PartialOrd, Ord, Pod, Zeroable)]
#[repr(C, align(4))]
pub struct V6 {
    bytes: [u8; 16],
}

impl PartialEq for V6 {
    // By words: the derived comparison calls `memcmp`, which in BPF is a loop over bytes.
    #[inline(always)]
    fn eq(&self, other: &Self) -> bool {
        let (one, other) = (self.words(), other.words());
        one[0] == other[0] && one[1] == other[1] && one[2] == other[2] && one[3] == other[3]
    }
}

impl Hash for V6 {
    fn hash<H: core::hash::Hasher>(&self, state: &mut H) {
        self.bytes.hash(state);
    }
}

impl V4 {
    /// From four bytes in network order.
    #[inline(always)]
    #[must_use]
    pub const fn new(bytes: [u8; 4]) -> Self {
        Self { bytes }
    }

    /// From the 32-bit word that the kernel's `bpf_sock_addr::user_ip4` holds (network order).
    #[inline(always)]
    #[must_use]
    pub const fn from_word(word: u32) -> Self {
        Self { bytes: word.to_ne_bytes() }
    }

    /// The inverse of [`Self::from_word`].
    #[inline(always)]
    #[must_use]
    pub const fn word(self) -> u32 {
        u32::from_ne_bytes(self.bytes)
    }
}

impl V6 {
    /// From sixteen bytes in network order.
    #[inline(always)]
    #[must_use]
    pub const fn new(bytes: [u8; 16]) -> Self {
        Self { bytes }
    }

    /// From the four words that the kernel's `bpf_sock_addr::user_ip6` holds (network order).
    #[inline(always)]
    #[must_use]
    pub fn from_words(words: [u32; 4]) -> Self {
        bytemuck::must_cast(words)
    }

    /// The IPv4 address inside `::ffff:a.b.c.d`, if it is one (RFC 4291 §2.5.5.2).
    #[inline(always)]
    #[must_use]
    pub fn to_v4_mapped(self) -> Option<V4> {
        let words = self.words();
        let mapped = words[0] == 0 && words[1] == 0 && words[2] == 0xffff_u32.to_be();
        if mapped { Some(V4::from_word(words[3])) } else { None }
    }

    /// `::ffff:a.b.c.d`.
    #[inline(always)]
    #[must_use]
    pub fn from_v4_mapped(address: V4) -> Self {
        Self::from_words([0, 0, 0xffff_u32.to_be(), address.word()])
    }
}

impl Address for V4 {
    const WORDS: usize = 1;
    type Align = u32;

    #[inline(always)]
    fn words(self) -> [u32; 4] {
        [self.word(), 0, 0, 0]
    }

    #[inline(always)]
    fn tuple(source: Self, destination: Self, ports: u32, protocol: Protocol) -> Tuple<Self> {
        bytemuck::must_cast([source.word(), destination.word(), ports, protocol.word()])
    }

    fn to_ip(self) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from(self.bytes))
    }

    fn from_ip(ip: IpAddr) -> Option<Self> {
        match ip {
            IpAddr::V4(ip) => Some(Self::new(ip.octets())),
            IpAddr::V6(_) => None,
        }
    }
}

impl Address for V6 {
    const WORDS: usize = 4;
    type Align = [u32; 0];

    #[inline(always)]
    fn words(self) -> [u32; 4] {
        bytemuck::must_cast(self)
    }

    #[inline(always)]
    fn tuple(source: Self, destination: Self, ports: u32, protocol: Protocol) -> Tuple<Self> {
        let ([a, b, c, d], [e, f, g, h]) = (source.words(), destination.words());
        bytemuck::must_cast([a, b, c, d, e, f, g, h, ports, protocol.word()])
    }

    fn to_ip(self) -> IpAddr {
        IpAddr::V6(Ipv6Addr::from(self.bytes))
    }

    fn from_ip(ip: IpAddr) -> Option<Self> {
        match ip {
            IpAddr::V4(_) => None,
            IpAddr::V6(ip) => Some(Self::new(ip.octets())),
        }
    }
}

macro_rules! shown_as_ip {
    ($($address:ty),*) => {$(
        impl fmt::Debug for $address {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.to_ip(), f)
            }
        }

        impl fmt::Display for $address {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.to_ip(), f)
            }
        }
    )*};
}

shown_as_ip!(V4, V6);

#[cfg(test)]
mod tests {
    use super::{Address, V4, V6};

    #[test]
    fn a_mapped_address_is_found_and_only_a_mapped_one() {
        let v4 = V4::new([10, 96, 0, 1]);
        assert_eq!(V6::from_v4_mapped(v4).to_v4_mapped(), Some(v4));
        assert_eq!(V6::new([0; 16]).to_v4_mapped(), None);
        let mut bytes = *bytemuck::bytes_of(&V6::from_v4_mapped(v4)).first_chunk::<16>().unwrap();
        bytes[0] = 1;
        assert_eq!(V6::new(bytes).to_v4_mapped(), None);
    }

    #[test]
    fn an_address_survives_the_standard_library() {
        let v4 = V4::new([192, 0, 2, 7]);
        assert_eq!(V4::from_ip(v4.to_ip()), Some(v4));
        assert_eq!(V6::from_ip(v4.to_ip()), None);
    }
}
