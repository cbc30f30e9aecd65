//! `loadBalancerSourceRanges`: who may use a load balancer's address.

use crate::{Address, ServiceId};

/// A prefix of clients that a Service admits: the key of the LPM tries `SOURCE_RANGES_V4` and
/// `SOURCE_RANGES_V6`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct SourceRangeKey<A> {
    /// Significant bits that follow: 32 for [`Self::service`] and the length of the prefix.
    pub prefix_length: u32,
    /// The Service port, in the order in which it stands in memory: matched as a whole.
    pub service: ServiceId,
    /// The client's address or network.
    pub client: A,
}

impl<A: Address> SourceRangeKey<A> {
    /// The key that matches `client` with `bits` significant bits.
    #[inline(always)]
    #[must_use]
    pub fn new(service: ServiceId, client: A, bits: u32) -> Self {
        Self { prefix_length: 32 + bits, service, client }
    }
}
