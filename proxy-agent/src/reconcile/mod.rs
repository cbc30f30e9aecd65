//! From events to ordered operations on the maps.
//!
//! [`Reconciler`] is pure: time is an argument, the maps are behind [`MapStore`]. One task of the
//! agent owns it. Work per change is proportional to the Services that changed.

mod settings;

pub use settings::{FrontendKinds, NodePortAddresses, Settings};

use std::{collections::HashSet, net::IpAddr};

use proxy_common::{Nanoseconds, ServiceId};

use crate::{
    model::{NamespacedName, Problem},
    source::Event,
    store::{Installed, MapStore, StoreError},
};

/// What one run did.
#[derive(Debug, Default)]
pub struct Report {
    /// Operations that were applied.
    pub applied: usize,
    /// What could not be done; it is tried again.
    pub failures: Vec<Failure>,
}

/// Something that could not be done, and for whom.
#[derive(Debug)]
pub struct Failure {
    /// The Services that are not (or not newly) served because of it; empty when it hurts none.
    pub services: Vec<NamespacedName>,
    /// What failed.
    pub error: ReconcileError,
}

/// Why a Service could not be programmed.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No free run of slots is long enough.
    #[error(
        "SLOTS has no run of {wanted} free slots left; raise its size or serve fewer endpoints"
    )]
    SlotsFull {
        /// How many were needed.
        wanted: u32,
    },
    /// No backend id is free.
    #[error("{map} is full; raise its size or serve fewer endpoints")]
    BackendsFull {
        /// The map.
        map: &'static str,
    },
}

/// Which addresses and Services the flow tables still name, found by a sweep.
#[derive(Clone, Debug, Default)]
pub struct LiveFlows {
    /// When the sweep began.
    pub since: Nanoseconds,
    /// Destinations of the keys of `DST_FLOWS_*` and `NEW_DST_FLOWS_*`.
    pub destinations: HashSet<IpAddr>,
    /// Sources of the keys of `SRC_FLOWS_*` and `NEW_SRC_FLOWS_*`.
    pub sources: HashSet<IpAddr>,
    /// Service ids in the values.
    pub services: HashSet<ServiceId>,
}

/// Brings the maps to what the cluster's objects ask for.
#[derive(Debug)]
pub struct Reconciler {
    settings: Settings,
    installed: Installed,
    problems: Vec<Problem>,
}

impl Reconciler {
    /// Starts from what the maps hold: ids, slots, backends and filter bits are adopted.
    #[must_use]
    pub fn new(settings: Settings, installed: Installed) -> Self {
        Self { settings, installed, problems: Vec::new() }
    }

    /// Takes in what changed. Nothing is written.
    pub fn apply(&mut self, events: Vec<Event>) {
        self.problems.extend(events.into_iter().filter_map(|event| match event {
            Event::Problem(problem) => Some(problem),
            _ => None,
        }));
    }

    /// Writes what is needed, in an order that no packet can see a half-written Service in.
    ///
    /// Before [`Event::Synced`] nothing but `CONFIG` is written: what is installed stays in force.
    pub fn reconcile(&mut self, _store: &mut dyn MapStore, _now: Nanoseconds) -> Report {
        let _ = (&self.settings, &self.installed);
        Report::default()
    }

    /// When [`Self::reconcile`] has to run again even if no event comes: something waits for its
    /// grace period, or is to be retried.
    #[must_use]
    pub fn needs_reconcile_at(&self) -> Option<Nanoseconds> {
        None
    }

    /// The addresses of the node, for NodePorts.
    pub fn node_addresses(&mut self, _addresses: Vec<IpAddr>) {}

    /// Addresses that packets are masqueraded to: answers to them are looked up.
    pub fn masquerade_addresses(&mut self, _addresses: Vec<IpAddr>) {}

    /// What the flow tables still name: filter bits, names and service ids of these are kept, those
    /// of others that are no longer needed are released.
    pub fn live_flows(&mut self, _live: &LiveFlows) {}

    /// Problems found since the last call, those of sources included.
    pub fn take_problems(&mut self) -> Vec<Problem> {
        std::mem::take(&mut self.problems)
    }
}
