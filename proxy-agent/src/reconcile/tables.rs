//! What is installed, who needs it, and what can go: the mirror of the maps, with reference counts
//! that follow from the mirrored frontends.
//!
//! A frontend holds its service id, what that id has elsewhere, its runs of slots and its filter
//! bit; a run, and a member of a Service with affinity, hold backends; a backend holds its filter
//! bit. Nothing is reused while it is held.

use std::collections::BTreeMap;

use foldhash::HashMap;
use proxy_common::{
    BackendId, FrontendKind, MemberKey, MemberSets, Nanoseconds, Service, ServiceId,
};

use crate::{
    desired::{FrontendKey, SlotOrder},
    endpoints::{Backend, Sets},
    model::Family,
    store::Capacity,
};

use super::{
    backends::BackendTable,
    belongings::{Belongings, Element},
    error::ReconcileError,
    family::PerFamily,
    filter::Filter,
    ids::{PortKey, ServiceIds},
    need::Need,
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
    pub(super) belongings: Belongings,
    /// Members whose backends are held, and the family of those.
    pub(super) held_members: HashMap<MemberKey, Family>,
    pub(super) frontends: HashMap<FrontendKey, Mirrored>,
    /// Where the sets of a Service port lie, or will as soon as they are written.
    pub(super) placements: HashMap<PortKey, Placement>,
    /// How many frontends there are of each NodePort, by its marker.
    pub(super) node_ports: HashMap<FrontendKey, u32>,
    /// How many elements more were asked for than maps have room for, since it was last told.
    pub(super) short: BTreeMap<&'static str, u32>,
}

impl Tables {
    /// Finds a place for the sets of `port`: the old one if they did not change. A fresh place has
    /// to be written before a frontend leads there.
    pub(super) fn place(
        &mut self,
        port: &PortKey,
        sets: &Sets,
        order: &SlotOrder,
        now: Nanoseconds,
    ) -> Result<Placement, ReconcileError> {
        let family = port.family;
        let mut held = self.hold_backends(family, &sets.cluster)?;
        let local = match self.hold_backends(family, &sets.local) {
            Ok(local) => local,
            Err(error) => {
                self.release_backends(family, &held);
                return Err(error);
            }
        };
        let (cluster_slots, local_slots) =
            (in_slots(&held, &order.cluster), in_slots(&local, &order.local));
        held.extend(local);
        let before = self.placements.get(port).copied();
        if let Some(before) = before
            && self.sets.holds(&before, &cluster_slots, &local_slots)
        {
            self.release_backends(family, &held);
            return Ok(before);
        }
        let placement = match self.sets.place(family, &cluster_slots, &local_slots, &held) {
            Ok(placement) => placement,
            Err(wanted) => {
                self.release_backends(family, &held);
                self.is_short("SLOTS", wanted);
                return Err(ReconcileError::SlotsFull { wanted });
            }
        };
        self.sets.hold(&placement);
        self.placements.insert(port.clone(), placement);
        if let Some(before) = before {
            self.sets.release(&before, now);
        }
        Ok(placement)
    }

    /// The endpoints at `placement`, and which of its sets each is in.
    pub(super) fn members(&self, placement: &Placement) -> BTreeMap<BackendId, MemberSets> {
        let mut members: BTreeMap<BackendId, MemberSets> = BTreeMap::new();
        for (range, set) in
            [(placement.cluster, MemberSets::CLUSTER), (placement.local, MemberSets::LOCAL)]
        {
            for backend in self.sets.at(placement, range).unwrap_or_default() {
                let sets = members.entry(*backend).or_default();
                *sets = sets.union(set);
            }
        }
        members
    }

    /// The map has this element.
    pub(super) fn wrote_element(&mut self, id: ServiceId, element: Element) {
        let new = self.belongings.wrote(id, element);
        if let Element::Member(backend, _) = element
            && new
        {
            self.hold_member(MemberKey { service: id, backend });
        }
    }

    /// A member needs its backend: whose id may not be given away while it is one. One that was
    /// found under an id that no frontend has needs nothing.
    pub(super) fn hold_member(&mut self, member: MemberKey) {
        if let Some(family) = self.ids.family(member.service)
            && self.backends.of_mut(family).hold_again(member.backend)
        {
            self.held_members.insert(member, family);
        }
    }

    /// The map no longer has these elements (members: or says less of them).
    pub(super) fn trimmed_elements(&mut self, elements: &[(ServiceId, Element)], now: Nanoseconds) {
        let mut gone: BTreeMap<Family, Vec<BackendId>> = BTreeMap::new();
        for (id, element) in elements {
            self.belongings.trimmed(*id, *element);
            let Element::Member(backend, sets) = *element else { continue };
            let member = MemberKey { service: *id, backend };
            if sets == MemberSets::empty()
                && let Some(family) = self.held_members.remove(&member)
            {
                gone.entry(family).or_default().push(backend);
            }
        }
        self.belongings.tidy();
        for (family, backends) in gone {
            self.sets.linger(family, backends, now);
        }
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
        self.hold(&frontend, &now_there);
        if let Some(before) = self.frontends.insert(frontend, now_there) {
            self.release(&frontend, &before, now);
        }
    }

    /// `frontend` has this value in the map.
    pub(super) fn hold(&mut self, frontend: &FrontendKey, there: &Mirrored) {
        self.sets.hold(&there.placement);
        self.ids.hold(there.service.id);
        self.belongings.hold(&there.service);
        if let Some(marker) = node_port(frontend, &there.service) {
            *self.node_ports.entry(marker).or_default() += 1;
        }
    }

    fn release(&mut self, frontend: &FrontendKey, before: &Mirrored, now: Nanoseconds) {
        self.sets.release(&before.placement, now);
        self.ids.release(before.service.id, grace_after(now));
        self.belongings.release(&before.service);
        let need = Need::of_frontend(frontend, before.service.frontend_kind());
        self.filter.release(need, grace_after(now));
        if let Some(marker) = node_port(frontend, &before.service)
            && let Some(frontends) = self.node_ports.get_mut(&marker)
        {
            *frontends -= 1;
            if *frontends == 0 {
                self.node_ports.remove(&marker);
            }
        }
    }

    /// `frontend` was deleted from the map.
    pub(super) fn deleted_frontend(&mut self, frontend: &FrontendKey, now: Nanoseconds) {
        if let Some(before) = self.frontends.remove(frontend) {
            self.release(frontend, &before, now);
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
                let need = Need::of_backend(backend.address, backend.port);
                self.filter.release(need, grace_after(now));
            }
        }
    }

    /// The maps have this much room from now on.
    pub(super) fn grown(&mut self, capacity: Capacity) {
        let slots = capacity.slots.saturating_sub(self.capacity.slots);
        self.sets.more_slots(self.capacity.slots, slots);
        self.backends.of_mut(Family::V4).grown(capacity.backends_v4);
        self.backends.of_mut(Family::V6).grown(capacity.backends_v6);
        self.capacity = capacity;
    }

    /// A map would need `more` elements.
    pub(super) fn is_short(&mut self, map: &'static str, more: u32) {
        let short = self.short.entry(map).or_default();
        *short = short.saturating_add(more);
    }

    fn hold_backends(
        &mut self,
        family: Family,
        backends: &[Backend],
    ) -> Result<Vec<BackendId>, ReconcileError> {
        let mut ids = Vec::with_capacity(backends.len());
        for backend in backends {
            match self.backends.of_mut(family).hold(*backend) {
                Some((id, new)) => {
                    if new {
                        self.filter.hold(Need::of_backend(backend.address, backend.port));
                    }
                    ids.push(id);
                }
                None => {
                    self.release_backends(family, &ids);
                    let error = ReconcileError::BackendsFull { family };
                    let more = backends.len() - ids.len();
                    self.is_short(error.map(), u32::try_from(more).unwrap_or(u32::MAX));
                    return Err(error);
                }
            }
        }
        Ok(ids)
    }

    fn release_backends(&mut self, family: Family, ids: &[BackendId]) {
        for id in ids {
            self.backends.of_mut(family).release(*id);
        }
    }
}

/// The marker that a NodePort's frontend belongs to.
pub(super) fn node_port(frontend: &FrontendKey, service: &Service) -> Option<FrontendKey> {
    let FrontendKey { address, port, protocol } = *frontend;
    (service.frontend_kind() == Some(FrontendKind::NodePort))
        .then(|| FrontendKey::node_port_marker(Family::of(address), port, protocol))
}

fn in_slots(backends: &[BackendId], order: &[u32]) -> Vec<BackendId> {
    order.iter().filter_map(|index| backends.get(*index as usize).copied()).collect()
}
