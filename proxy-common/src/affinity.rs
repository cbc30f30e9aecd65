//! Session affinity: which endpoint a client was last sent to.

use bytemuck::{Pod, Zeroable};

use crate::{Address, BackendId, Nanoseconds, ServiceId};

/// A client of a Service port: the key of `AFFINITY_V4` and `AFFINITY_V6`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct AffinityKey<A> {
    /// The client's address.
    pub client: A,
    /// The Service port.
    pub service: ServiceId,
}

impl<A: Address> AffinityKey<A> {
    /// A key from its parts.
    #[inline(always)]
    #[must_use]
    pub fn new(client: A, service: ServiceId) -> Self {
        Self { client, service }
    }
}

/// Where the client was last sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Affinity {
    /// When the client's last packet was seen.
    pub last_seen: Nanoseconds,
    /// The endpoint.
    pub backend: BackendId,
    /// Zero.
    pub pad: [u8; 4],
}
