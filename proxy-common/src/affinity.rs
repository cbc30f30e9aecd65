//! Session affinity: which endpoint a client stays with.

use bytemuck::{Pod, Zeroable};

use crate::{BackendId, Nanoseconds, ServiceId};

/// A client of a Service port: the key of `AFFINITY_V4` and `AFFINITY_V6`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct AffinityKey<A> {
    /// The client's address; the unspecified address stands for the processes of the node.
    pub client: A,
    /// The Service port.
    pub service: ServiceId,
}

/// Where a client's next connection goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Affinity {
    /// When the client's last packet was seen, or its last connect() on the socket path.
    pub last_seen: Nanoseconds,
    /// The endpoint it stays with.
    pub backend: BackendId,
    /// Zero.
    pub pad: u32,
}

/// An endpoint of a Service port with session affinity: the key of `AFFINITY_MEMBERS`.
///
/// A client stays with its endpoint while the endpoint is in the set that is used; this map answers
/// that by one look-up, whatever the size of the set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Pod, Zeroable)]
#[repr(C)]
pub struct MemberKey {
    /// The Service port.
    pub service: ServiceId,
    /// The endpoint.
    pub backend: BackendId,
}

/// The sets that an endpoint is in: the value of `AFFINITY_MEMBERS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Pod, Zeroable)]
#[repr(transparent)]
pub struct MemberSets {
    bits: u32,
}

impl MemberSets {
    /// The cluster set.
    pub const CLUSTER: Self = Self { bits: 1 };
    /// The local set.
    pub const LOCAL: Self = Self { bits: 2 };
}

flag_set!(MemberSets);

const _: () = assert!(size_of::<Affinity>() == 16 && size_of::<MemberKey>() == 8);
