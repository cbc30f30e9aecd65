//! Service ids and `SERVICE_NAMES`.
//!
//! An id is given once and kept as long as a frontend, or a flow, has it; a Service that comes back
//! in that time gets its old ids back. Fresh ids count upwards, so that an id is not met again soon.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use foldhash::HashMap;
use proxy_common::{Nanoseconds, ServiceId, ServiceName};

use crate::{
    model::{Family, ServicePortName},
    store::Op,
};

/// What has an id of its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct PortKey {
    pub(super) name: ServicePortName,
    pub(super) family: Family,
}

#[derive(Debug)]
struct Entry {
    /// `None` for an id that was found without a Service port it could belong to.
    port: Option<PortKey>,
    name: Option<ServiceName>,
    named: Option<ServiceName>,
    holders: u32,
    /// Set while nobody holds it: sweeps that began before don't count.
    not_before: Option<Nanoseconds>,
}

#[derive(Debug)]
pub(super) struct ServiceIds {
    entries: HashMap<ServiceId, Entry>,
    by_port: HashMap<PortKey, ServiceId>,
    next: u32,
    unheld: BTreeSet<ServiceId>,
    over: BTreeSet<ServiceId>,
    /// Ids that were let go since [`Self::take_gone`].
    gone: Vec<ServiceId>,
}

impl ServiceIds {
    /// Adopts `names`; `ports` says which Service port an id belongs to, where that is known.
    pub(super) fn adopt(
        names: &BTreeMap<ServiceId, ServiceName>,
        ports: &BTreeMap<ServiceId, Option<PortKey>>,
    ) -> Self {
        let mut ids = Self {
            entries: HashMap::default(),
            by_port: HashMap::default(),
            next: 1,
            unheld: BTreeSet::new(),
            over: BTreeSet::new(),
            gone: Vec::new(),
        };
        let all: BTreeSet<ServiceId> = names.keys().chain(ports.keys()).copied().collect();
        for id in all.into_iter().filter(|id| *id != ServiceId::NONE) {
            let named = names.get(&id).copied();
            let port = ports.get(&id).cloned().flatten();
            let port = port.filter(|port| !ids.by_port.contains_key(port));
            if let Some(port) = &port {
                ids.by_port.insert(port.clone(), id);
            }
            ids.entries
                .insert(id, Entry { port, name: named, named, holders: 0, not_before: None });
            ids.unheld.insert(id);
            ids.next = ids.next.max(id.get().wrapping_add(1));
        }
        ids
    }

    /// The id of a Service port, fresh if it has none. `None` when its name is longer than
    /// Kubernetes allows.
    pub(super) fn of(&mut self, port: &PortKey) -> Option<ServiceId> {
        if let Some(id) = self.by_port.get(port) {
            return Some(*id);
        }
        let ServicePortName { service, port: port_name, .. } = &port.name;
        let name = ServiceName::new(&service.namespace, &service.name, port_name)?;
        let id = self.fresh();
        let entry = Entry {
            port: Some(port.clone()),
            name: Some(name),
            named: None,
            holders: 0,
            not_before: None,
        };
        self.entries.insert(id, entry);
        self.by_port.insert(port.clone(), id);
        self.unheld.insert(id);
        Some(id)
    }

    /// The id that a Service port has.
    pub(super) fn known(&self, port: &PortKey) -> Option<ServiceId> {
        self.by_port.get(port).copied()
    }

    /// The family of the Service port that `id` belongs to.
    pub(super) fn family(&self, id: ServiceId) -> Option<Family> {
        self.entries.get(&id)?.port.as_ref().map(|port| port.family)
    }

    /// What `SERVICE_NAMES` still lacks for `id`.
    pub(super) fn put_name(&self, id: ServiceId) -> Option<Op> {
        let entry = self.entries.get(&id)?;
        let name = entry.name.filter(|_| entry.name != entry.named)?;
        Some(Op::PutName { id, name: Box::new(name) })
    }

    pub(super) fn wrote_name(&mut self, id: ServiceId) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.named = entry.name;
        }
    }

    /// A frontend has `id`.
    pub(super) fn hold(&mut self, id: ServiceId) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.holders += 1;
            entry.not_before = None;
            self.unheld.remove(&id);
            self.over.remove(&id);
        }
    }

    /// A frontend no longer has `id`.
    pub(super) fn release(&mut self, id: ServiceId, not_before: Nanoseconds) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.holders -= 1;
            if entry.holders == 0 {
                entry.not_before = Some(not_before);
                self.unheld.insert(id);
            }
        }
    }

    /// Ids that nobody holds, and that have no time yet, get it.
    pub(super) fn settle(&mut self, not_before: Nanoseconds) {
        for id in &self.unheld {
            if let Some(entry) = self.entries.get_mut(id) {
                entry.not_before.get_or_insert(not_before);
            }
        }
    }

    /// Lets go of ids that nobody holds. A sweep that began at `since` found flows of `live`.
    pub(super) fn swept(&mut self, since: Nanoseconds, live: &HashSet<ServiceId>) {
        let over: Vec<ServiceId> = self
            .unheld
            .iter()
            .filter(|id| {
                let waited = self.entries.get(id).and_then(|entry| entry.not_before);
                waited.is_some_and(|at| at <= since) && !live.contains(id)
            })
            .copied()
            .collect();
        self.over.extend(over);
    }

    /// Whether names wait to be deleted.
    pub(super) fn is_dirty(&self) -> bool {
        !self.over.is_empty()
    }

    /// Names that can be deleted. Ids that never got one are forgotten here.
    pub(super) fn unneeded(&mut self) -> Vec<ServiceId> {
        let (named, nameless): (Vec<ServiceId>, Vec<ServiceId>) = self
            .over
            .iter()
            .partition(|id| self.entries.get(id).is_some_and(|entry| entry.named.is_some()));
        for id in nameless {
            self.deleted(id);
        }
        named
    }

    /// The name of `id` was deleted: the id is free.
    pub(super) fn deleted(&mut self, id: ServiceId) {
        self.over.remove(&id);
        self.unheld.remove(&id);
        self.gone.push(id);
        if let Some(port) = self.entries.remove(&id).and_then(|entry| entry.port) {
            self.by_port.remove(&port);
        }
    }

    /// Ids that were let go since the last call.
    pub(super) fn take_gone(&mut self) -> Vec<ServiceId> {
        std::mem::take(&mut self.gone)
    }

    fn fresh(&mut self) -> ServiceId {
        loop {
            let id = ServiceId::new(self.next);
            self.next = self.next.wrapping_add(1);
            if id != ServiceId::NONE && !self.entries.contains_key(&id) {
                return id;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashSet};

    use proxy_common::{Nanoseconds, Protocol, ServiceId, ServiceName};

    use super::{PortKey, ServiceIds};
    use crate::model::{Family, NamespacedName, ServicePortName};

    fn port(name: &str) -> PortKey {
        let service = NamespacedName::new("default", "web");
        PortKey {
            name: ServicePortName { service, port: name.into(), protocol: Protocol::TCP },
            family: Family::V4,
        }
    }

    fn empty() -> ServiceIds {
        ServiceIds::adopt(&BTreeMap::new(), &BTreeMap::new())
    }

    #[test]
    fn a_port_keeps_its_id_and_the_families_differ() {
        let mut ids = empty();
        let id = ids.of(&port("http")).unwrap();
        assert_eq!(ids.of(&port("http")), Some(id));
        assert_ne!(ids.of(&PortKey { family: Family::V6, ..port("http") }), Some(id));
        assert_ne!(id, ServiceId::NONE);
    }

    #[test]
    fn an_id_lives_as_long_as_a_flow_has_it() {
        let mut ids = empty();
        let id = ids.of(&port("http")).unwrap();
        ids.wrote_name(id);
        ids.hold(id);
        ids.release(id, Nanoseconds::new(10));
        ids.swept(Nanoseconds::new(20), &HashSet::from([id]));
        assert!(!ids.is_dirty());
        assert_eq!(ids.of(&port("http")), Some(id), "the Service came back");
        ids.swept(Nanoseconds::new(20), &HashSet::new());
        assert_eq!(ids.unneeded().len(), 1);
        ids.deleted(id);
        assert_ne!(ids.of(&port("http")), Some(id), "ids count upwards");
    }

    #[test]
    fn an_id_that_is_held_again_is_not_let_go() {
        let mut ids = empty();
        let id = ids.of(&port("http")).unwrap();
        ids.hold(id);
        ids.release(id, Nanoseconds::new(10));
        ids.swept(Nanoseconds::new(20), &HashSet::new());
        ids.hold(id);
        assert!(!ids.is_dirty());
    }

    #[test]
    fn adopted_ids_are_not_given_to_others() {
        let name = ServiceName::new("default", "web", "http").unwrap();
        let (id, orphan) = (ServiceId::new(7), ServiceId::new(9));
        let names = BTreeMap::from([(id, name), (orphan, name)]);
        let mut ids = ServiceIds::adopt(&names, &BTreeMap::from([(id, Some(port("http")))]));
        assert_eq!(ids.of(&port("http")), Some(id));
        assert_eq!(ids.put_name(id), None);
        assert_eq!(ids.of(&port("https")), Some(ServiceId::new(10)));
    }
}
