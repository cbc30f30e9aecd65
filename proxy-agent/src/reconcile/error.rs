//! What can go wrong between the cluster's objects and the maps, and for whom.

use std::{collections::BTreeMap, net::SocketAddr};

use proxy_common::ServiceId;

use crate::{
    model::{Family, NamespacedName},
    store::StoreError,
};

/// Why something could not be programmed.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No free run of slots is long enough.
    #[error(
        "SLOTS has no run of {wanted} free slots left: raise --service-map-limit, use a smaller --maglev-table-size, or serve fewer endpoints"
    )]
    SlotsFull {
        /// How many were needed.
        wanted: u32,
    },
    /// No backend id is free.
    #[error(
        "the map of {family} backends is full: raise --service-map-limit, or serve fewer endpoints"
    )]
    BackendsFull {
        /// Which of the two.
        family: Family,
    },
}

impl ReconcileError {
    /// The map that is too small or refused.
    #[must_use]
    pub const fn map(&self) -> &'static str {
        match self {
            Self::Store(error) => error.map(),
            Self::SlotsFull { .. } => "SLOTS",
            Self::BackendsFull { family: Family::V4 } => "BACKENDS_V4",
            Self::BackendsFull { family: Family::V6 } => "BACKENDS_V6",
        }
    }

    /// Whether a store said so, and not the allocators.
    pub(super) const fn is_from_the_store(&self) -> bool {
        matches!(self, Self::Store(_))
    }

    /// Whether something is full: no other node would do better, and time doesn't help.
    #[must_use]
    pub const fn is_for_want_of_room(&self) -> bool {
        !matches!(self, Self::Store(StoreError::Kernel { .. }))
    }

    /// The kernel's error number, when there is one.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Store(error) => error.errno(),
            Self::SlotsFull { .. } | Self::BackendsFull { .. } => None,
        }
    }
}

/// Something that could not be done, and for whom. It is tried again.
#[derive(Debug)]
pub struct Failure {
    /// The Services that go on as they were (or unserved) because of it, in order; empty when it
    /// hurts none.
    pub services: Vec<NamespacedName>,
    /// What failed.
    pub error: ReconcileError,
}

/// What one run did.
#[derive(Debug, Default)]
pub struct Report {
    /// Operations that were applied.
    pub applied: usize,
    /// Services that were looked at.
    pub services: usize,
    /// What could not be done.
    pub failures: Vec<Failure>,
    /// How many elements more would be needed, of maps that are full.
    pub short: BTreeMap<&'static str, u32>,
    /// UDP Service ports whose serving endpoints changed; at first, all of them.
    pub udp_serving: Vec<UdpServing>,
}

/// The endpoints that serve a UDP Service port of one family: flows to others are to be removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UdpServing {
    /// The Service port.
    pub service: ServiceId,
    /// Ready endpoints, and those that are terminating and still serve. Where there is none, and
    /// when the port is gone, flows stay.
    pub endpoints: Vec<SocketAddr>,
}
