//! The health checks of all Services, kept up event by event.
//!
//! Pure. Of Services it keeps those that have a policy Local, and of EndpointSlices nothing: it is
//! told which Services a change concerned, and looks at what the control plane knows of those. The
//! agent's writer shows it what it takes, and hands changes on to [`super::service_servers`].

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use crate::{
    model::{EndpointSlice, NamespacedName, Service, Slices, TrafficPolicy},
    source::{Change, Event},
};

use super::checks::{Check, NoLocal, checks, no_local};

/// What load balancers are told, and what metrics show of policies.
#[derive(Debug)]
pub struct Census {
    node: Arc<str>,
    services: HashMap<NamespacedName, Service>,
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
            Event::EndpointSlice(_)
            | Event::Node(_)
            | Event::ServiceCidr(_)
            | Event::Synced
            | Event::Problem(_) => {}
        }
    }

    /// The endpoints of these Services may have changed.
    pub fn concerns<'a>(&mut self, services: impl IntoIterator<Item = &'a NamespacedName>) {
        for service in services {
            if self.services.contains_key(service) {
                self.dirty.insert(service.clone());
            }
        }
    }

    /// Whether a check changed since the last call; `slices` are those of a Service.
    pub fn update<'a>(&mut self, slices: impl Fn(&NamespacedName) -> Option<&'a Slices>) -> bool {
        let mut changed = false;
        for name in std::mem::take(&mut self.dirty) {
            let slices: Vec<&EndpointSlice> = slices(&name).into_iter().flatten().collect();
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
}

#[cfg(test)]
mod tests {
    use super::Census;
    use crate::{
        health::checks::tests::example,
        model::{EndpointSlice, NamespacedName, Service, Slices, TrafficPolicy},
        source::{Change, Event},
    };

    /// A census, and what is known of one Service.
    struct Told {
        census: Census,
        service: NamespacedName,
        slices: Slices,
    }

    impl Told {
        fn new(node: &str, service: &Service) -> Self {
            let service = service.name.clone();
            Self { census: Census::new(node.into()), service, slices: Slices::default() }
        }

        fn service(&mut self, service: &Service) {
            self.census.see(&Event::Service(Change::Applied(service.clone())));
        }

        fn slice(&mut self, slice: &EndpointSlice) {
            self.slices.insert(slice.clone());
            self.census.concerns([&self.service]);
        }

        fn update(&mut self) -> bool {
            let Self { census, service, slices } = self;
            census.update(|name| (name == service).then_some(&*slices))
        }

        fn counts(&self) -> Vec<usize> {
            self.census.checks().iter().map(|check| check.local_endpoints).collect()
        }
    }

    #[test]
    fn a_service_and_its_slices_may_come_in_any_order() {
        let (service, slices) = example();
        for service_first in [true, false] {
            let mut told = Told::new("here", &service);
            for step in [service_first, !service_first] {
                if step { told.service(&service) } else { told.slice(&slices[0]) }
            }
            assert!(told.update());
            assert_eq!(told.counts(), [1]);
            told.service(&service);
            told.slice(&slices[0]);
            assert!(!told.update(), "nothing new");
        }
    }

    #[test]
    fn what_goes_is_forgotten() {
        let (service, slices) = example();
        let mut told = Told::new("there", &service);
        told.service(&service);
        told.slice(&slices[0]);
        assert!(told.update());
        assert_eq!((told.counts(), told.census.no_local()), (vec![0], (0, 1)));
        told.slices.remove(&slices[0].name.name);
        told.census.concerns([&service.name]);
        assert!(!told.update(), "the check says 0 as before");
        assert_eq!(told.census.no_local(), (0, 0), "and nothing is elsewhere");
        let cluster = TrafficPolicy::Cluster;
        let other = Service { external_traffic_policy: cluster, ..service.clone() };
        told.service(&other);
        assert!(told.update());
        assert!(told.counts().is_empty());
        told.slice(&slices[0]);
        assert!(told.census.dirty.is_empty(), "a Service without such a policy is of no concern");
        told.census.see(&Event::Service(Change::Deleted(service.name)));
        told.census.see(&Event::Service(Change::Deleted(NamespacedName::new("a", "b"))));
        assert!(!told.update());
    }

    #[test]
    fn a_service_that_gets_the_policy_later_finds_what_is_known() {
        let (service, slices) = example();
        let mut told = Told::new("here", &service);
        let cluster = TrafficPolicy::Cluster;
        told.service(&Service { external_traffic_policy: cluster, ..service.clone() });
        told.slice(&slices[0]);
        assert!(!told.update());
        told.service(&service);
        assert!(told.update());
        assert_eq!(told.counts(), [1]);
    }
}
