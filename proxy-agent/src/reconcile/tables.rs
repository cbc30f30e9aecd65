//! What is installed, who needs it, and what can go: the mirror of the maps, with reference counts
//! that follow from the mirrored frontends.
//!
//! A frontend holds its service id, its runs of slots and its filter bit; a run holds its backends;
//! a backend holds its filter bit. Nothing is reused while it is held.

use std::collections::HashMap;

use proxy_common::{Nanoseconds, Service};

use crate::{
    desired::FrontendKey,
    endpoints::{Backend, Sets},
    model::Family,
    store::Capacity,
};

use super::{
    backends::BackendTable,
    error::ReconcileError,
    family::PerFamily,
    filter::{Filter, Role},
    ids::{PortKey, ServiceIds},
    sets::{Placement, SlotSets, grace_after},
};

/// A frontend as the map has it, and where its sets lie.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Mirrored {
    pub(super) service: Service,
    pub(super) placement: Placement,
}

#[derive(Debug)]
pub(super) struct Tables {
    pub(super) capacity: Capacity,
    pub(super) filter: Filter,
    pub(super) backends: PerFamily<BackendTable>,
    pub(super) sets: SlotSets,
    pub(super) ids: ServiceIds,
    pub(super) frontends: HashMap<FrontendKey, Mirrored>,
    /// Where the sets of a Service port lie, or will as soon as they are written.
    pub(super) placements: HashMap<PortKey, Placement>,
}

impl Tables {
    /// Finds a place for the sets of `port`: the old one if they did not change. A fresh place has
    /// to be written before a frontend leads there.
    pub(super) fn place(
        &mut self,
        port: &PortKey,
        sets: &Sets,
        now: Nanoseconds,
    ) -> Result<Placement, ReconcileError> {
        let family = port.family;
        let cluster = self.hold_backends(family, &sets.cluster)?;
        let local = match self.hold_backends(family, &sets.local) {
            Ok(local) => local,
            Err(error) => {
                self.release_backends(family, &cluster);
                return Err(error);
            }
        };
        let before = self.placements.get(port).copied();
        if let Some(before) = before
            && self.sets.holds(&before, &cluster, &local)
        {
            self.release_backends(family, &cluster);
            self.release_backends(family, &local);
            return Ok(before);
        }
        let placement = match self.sets.place(family, &cluster, &local) {
            Ok(placement) => placement,
            Err(wanted) => {
                self.release_backends(family, &cluster);
                self.release_backends(family, &local);
                return Err(ReconcileError::SlotsFull { wanted });
            }
        };
        if !cluster.is_empty() && cluster.starts_with(&local) {
            self.release_backends(family, &local);
        }
        self.sets.hold(&placement);
        self.placements.insert(port.clone(), placement);
        if let Some(before) = before {
            self.sets.release(&before, now);
        }
        Ok(placement)
    }

    /// The Service port is gone.
    pub(super) fn forget_placement(&mut self, port: &PortKey, now: Nanoseconds) {
        if let Some(placement) = self.placements.remove(port) {
            self.sets.release(&placement, now);
        }
    }

    /// The map has `now_there` under `frontend`.
    pub(super) fn wrote_frontend(
        &mut self,
        frontend: FrontendKey,
        now_there: Mirrored,
        now: Nanoseconds,
    ) {
        self.sets.hold(&now_there.placement);
        self.ids.hold(now_there.service.id);
        if let Some(before) = self.frontends.insert(frontend, now_there) {
            self.sets.release(&before.placement, now);
            self.ids.release(before.service.id, grace_after(now));
        }
    }

    /// `frontend` was deleted from the map.
    pub(super) fn deleted_frontend(&mut self, frontend: &FrontendKey, now: Nanoseconds) {
        if let Some(before) = self.frontends.remove(frontend) {
            self.sets.release(&before.placement, now);
            self.ids.release(before.service.id, grace_after(now));
            self.filter.release(frontend.address, Role::Frontend, grace_after(now));
        }
    }

    /// Frees the slots whose grace period is over, and lets go of what only they needed and was
    /// not written yet.
    pub(super) fn expire(&mut self, now: Nanoseconds) {
        for run in self.sets.expire(now) {
            self.release_backends(run.family, &run.backends);
        }
        for family in Family::ALL {
            for backend in self.backends.of_mut(family).forget_unwritten() {
                self.filter.release(backend.address, Role::Backend, grace_after(now));
            }
        }
    }

    fn hold_backends(
        &mut self,
        family: Family,
        backends: &[Backend],
    ) -> Result<Vec<proxy_common::BackendId>, ReconcileError> {
        let mut ids = Vec::with_capacity(backends.len());
        for backend in backends {
            match self.backends.of_mut(family).hold(*backend) {
                Some((id, new)) => {
                    if new {
                        self.filter.hold(backend.address, Role::Backend);
                    }
                    ids.push(id);
                }
                None => {
                    self.release_backends(family, &ids);
                    return Err(ReconcileError::BackendsFull { family });
                }
            }
        }
        Ok(ids)
    }

    fn release_backends(&mut self, family: Family, ids: &[proxy_common::BackendId]) {
        for id in ids {
            self.backends.of_mut(family).release(*id);
        }
    }
}
