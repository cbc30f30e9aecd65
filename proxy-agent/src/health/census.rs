//! The health checks of all Services, kept up event by event.
//!
//! Pure. Keeps of each EndpointSlice what is on this node, and whether there is anything elsewhere;
//! of Services those that have a policy Local. The agent's writer shows it what it takes, and hands
//! changes on to [`super::service_servers`].

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use crate::{
    model::{EndpointSlice, NamespacedName, Service, Slices, TrafficPolicy},
    source::{Change, Event},
};

use super::checks::{Check, NoLocal, checks, is_here, is_usable, no_local};

/// What load balancers are told, and what metrics show of policies.
#[derive(Debug)]
pub struct Census {
    node: Arc<str>,
    services: HashMap<NamespacedName, Service>,
    /// Slices by the Service that they belong to.
    slices: HashMap<NamespacedName, Slices>,
    owners: HashMap<NamespacedName, NamespacedName>,
    checks: BTreeMap<NamespacedName, Vec<Check>>,
    no_local: BTreeMap<NamespacedName, NoLocal>,
    dirty: BTreeSet<NamespacedName>,
}

impl Census {
    /// Seen from the node `node`.
    #[must_use]
    pub fn new(node: Arc<str>) -> Self {
        Self {
            node,
            services: HashMap::new(),
            slices: HashMap::new(),
            owners: HashMap::new(),
            checks: BTreeMap::new(),
            no_local: BTreeMap::new(),
            dirty: BTreeSet::new(),
        }
    }

    /// Takes in `event`.
    pub fn see(&mut self, event: &Event) {
        match event {
            Event::Service(Change::Applied(service)) => self.service(service),
            Event::Service(Change::Deleted(name)) => {
                if self.services.remove(name).is_some() {
                    self.dirty.insert(name.clone());
                }
            }
            Event::EndpointSlice(Change::Applied(slice)) => self.slice(slice),
            Event::EndpointSlice(Change::Deleted(name)) => self.forget(name),
            Event::Node(_) | Event::ServiceCidr(_) | Event::Synced | Event::Problem(_) => {}
        }
    }

    /// Whether a check changed since the last call.
    pub fn update(&mut self) -> bool {
        let mut changed = false;
        for name in std::mem::take(&mut self.dirty) {
            let slices: Vec<&EndpointSlice> = self.slices.get(&name).into_iter().flatten().collect();
            let (new, none_here) = match self.services.get(&name) {
                Some(service) => (
                    checks(service, slices.iter().copied(), &self.node),
                    no_local(service, slices.iter().copied(), &self.node),
                ),
                None => (Vec::new(), NoLocal::default()),
            };
            if none_here == NoLocal::default() {
                self.no_local.remove(&name);
            } else {
                self.no_local.insert(name.clone(), none_here);
            }
            changed |= if new.is_empty() {
                self.checks.remove(&name).is_some()
            } else {
                self.checks.get(&name) != Some(&new) && {
                    self.checks.insert(name, new);
                    true
                }
            };
        }
        changed
    }

    /// All health checks.
    #[must_use]
    pub fn checks(&self) -> Vec<Check> {
        self.checks.values().flatten().cloned().collect()
    }

    /// How many Services' policies Local find endpoints elsewhere only: internal, external.
    #[must_use]
    pub fn no_local(&self) -> (usize, usize) {
        let internal = self.no_local.values().filter(|it| it.internal).count();
        let external = self.no_local.values().filter(|it| it.external).count();
        (internal, external)
    }

    fn service(&mut self, service: &Service) {
        let local = TrafficPolicy::Local;
        let matters = service.unserved.is_none()
            && (service.internal_traffic_policy == local
                || service.external_traffic_policy == local);
        let before = if matters {
            self.services.insert(service.name.clone(), service.clone())
        } else {
            self.services.remove(&service.name)
        };
        if matters || before.is_some() {
            self.dirty.insert(service.name.clone());
        }
    }

    fn slice(&mut self, slice: &EndpointSlice) {
        if self.owners.get(&slice.name) != slice.service.as_ref() {
            self.forget(&slice.name);
        }
        let Some(owner) = &slice.service else { return };
        // Of what is elsewhere, one endpoint says that there is something.
        let mut elsewhere = false;
        let kept = slice.endpoints.iter().filter(|endpoint| {
            let here = is_here(endpoint, &self.node);
            here || (is_usable(endpoint) && !std::mem::replace(&mut elsewhere, true))
        });
        let slice = EndpointSlice {
            endpoints: kept.cloned().collect(),
            name: slice.name.clone(),
            service: slice.service.clone(),
            family: slice.family,
            ports: slice.ports.clone(),
        };
        self.owners.insert(slice.name.clone(), owner.clone());
        let slices = self.slices.entry(owner.clone()).or_default();
        if slices.get(&slice.name.name) != Some(&slice) {
            slices.insert(slice);
            self.touch(owner);
        }
    }

    fn forget(&mut self, name: &NamespacedName) {
        let Some(owner) = self.owners.remove(name) else { return };
        if let Some(slices) = self.slices.get_mut(&owner) {
            slices.remove(&name.name);
            if slices.is_empty() {
                self.slices.remove(&owner);
            }
        }
        self.touch(&owner);
    }

    fn touch(&mut self, service: &NamespacedName) {
        if self.services.contains_key(service) {
            self.dirty.insert(service.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Census;
    use crate::{
        health::checks::tests::example,
        model::{NamespacedName, TrafficPolicy},
        source::{Change, Event},
    };

    fn counts(census: &Census) -> Vec<usize> {
        census.checks().iter().map(|check| check.local_endpoints).collect()
    }

    #[test]
    fn a_service_and_its_slices_may_come_in_any_order() {
        let (service, slices) = example();
        let service = Event::Service(Change::Applied(service));
        let slices = Event::EndpointSlice(Change::Applied(slices[0].clone()));
        for events in [[&service, &slices], [&slices, &service]] {
            let mut census = Census::new("here".into());
            events.into_iter().for_each(|event| census.see(event));
            assert!(census.update());
            assert_eq!(counts(&census), [1]);
            events.into_iter().for_each(|event| census.see(event));
            assert!(!census.update(), "nothing new");
        }
    }

    #[test]
    fn what_goes_is_forgotten() {
        let (service, slices) = example();
        let name = service.name.clone();
        let mut census = Census::new("there".into());
        census.see(&Event::Service(Change::Applied(service.clone())));
        census.see(&Event::EndpointSlice(Change::Applied(slices[0].clone())));
        assert!(census.update());
        assert_eq!((counts(&census), census.no_local()), (vec![0], (0, 1)));
        census.see(&Event::EndpointSlice(Change::Deleted(slices[0].name.clone())));
        assert!(!census.update(), "the check says 0 as before");
        assert_eq!(census.no_local(), (0, 0), "and nothing is elsewhere");
        let cluster = TrafficPolicy::Cluster;
        let other = crate::model::Service { external_traffic_policy: cluster, ..service };
        census.see(&Event::Service(Change::Applied(other)));
        assert!(census.update());
        assert!(census.checks().is_empty() && census.slices.is_empty());
        census.see(&Event::Service(Change::Deleted(name)));
        census.see(&Event::Service(Change::Deleted(NamespacedName::new("a", "b"))));
        assert!(!census.update());
    }

    #[test]
    fn a_slice_that_changes_hands_is_no_longer_counted() {
        let (service, slices) = example();
        let mut census = Census::new("here".into());
        census.see(&Event::Service(Change::Applied(service)));
        census.see(&Event::EndpointSlice(Change::Applied(slices[0].clone())));
        census.update();
        let mut moved = slices[0].clone();
        moved.service = Some(NamespacedName::new("shop", "other"));
        census.see(&Event::EndpointSlice(Change::Applied(moved)));
        assert!(census.update());
        assert_eq!(counts(&census), [0]);
    }
}
