//! `loadBalancerSourceRanges`: who may use a load balancer's frontend.

use crate::{Address, ServiceId};

/// A client of a Service port, or the network address of a range of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(C)]
pub struct ServiceClient<A> {
    /// The Service port.
    pub service: ServiceId,
    /// The client's address.
    pub address: A,
}

/// The key of `SOURCE_RANGES_V4` and `SOURCE_RANGES_V6`, both longest-prefix-match tries. An element
/// means "admitted"; its value says nothing. The fields are called as in the kernel's
/// `struct bpf_lpm_trie_key`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(C)]
pub struct SourceRangeKey<A> {
    /// How many bits of [`Self::data`] must agree, host order.
    pub prefix_len: u32,
    /// The range.
    pub data: ServiceClient<A>,
}

impl<A: Address> SourceRangeKey<A> {
    /// Bits in front of the address.
    const SERVICE_BITS: u32 = 32;

    /// The key that one client is looked up with.
    #[inline(always)]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "an address has four words at most")]
    pub fn of_client(service: ServiceId, address: A) -> Self {
        Self::of_range(service, address, A::WORDS as u32 * 32)
    }

    /// The key of the range `network/length`.
    #[inline(always)]
    #[must_use]
    pub fn of_range(service: ServiceId, network: A, length: u32) -> Self {
        let data = ServiceClient { service, address: network };
        Self { prefix_len: Self::SERVICE_BITS + length, data }
    }
}
