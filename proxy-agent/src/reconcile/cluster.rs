//! What is known of the cluster, and which Services a change concerns.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    model::{EndpointSlice, NamespacedName, Node, Service, ServiceCidr, Slices},
    source::Change,
};
use foldhash::HashMap;

/// A Service and its EndpointSlices, either of which may come first.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) service: Option<Service>,
    pub(super) slices: Slices,
}

#[derive(Debug, Default)]
pub(super) struct Cluster {
    services: HashMap<NamespacedName, Known>,
    slice_owners: HashMap<NamespacedName, NamespacedName>,
    node: Option<Node>,
    cidrs: BTreeMap<Arc<str>, ServiceCidr>,
}

impl Cluster {
    pub(super) fn get(&self, service: &NamespacedName) -> Option<&Known> {
        self.services.get(service)
    }

    /// The names of all Services, and of what has EndpointSlices only.
    pub(super) fn names(&self) -> impl Iterator<Item = &NamespacedName> {
        self.services.keys()
    }

    /// The names of the Services that `wanted` holds for.
    pub(super) fn those(
        &self,
        wanted: impl Fn(&Service) -> bool,
    ) -> impl Iterator<Item = &NamespacedName> {
        self.services
            .iter()
            .filter(move |(_, known)| known.service.as_ref().is_some_and(&wanted))
            .map(|(name, _)| name)
    }

    pub(super) fn node(&self) -> Option<&Node> {
        self.node.as_ref()
    }

    pub(super) fn cidrs(&self) -> impl Iterator<Item = &ServiceCidr> {
        self.cidrs.values()
    }

    /// Takes in a change of a Service; what it concerns goes into `dirty`.
    pub(super) fn service(
        &mut self,
        change: Change<Service>,
        dirty: &mut BTreeSet<NamespacedName>,
    ) {
        let (name, service) = match change {
            Change::Applied(service) => (service.name.clone(), Some(service)),
            Change::Deleted(name) => (name, None),
        };
        let known = self.services.entry(name.clone()).or_default();
        if known.service != service {
            known.service = service;
            dirty.insert(name.clone());
        }
        self.forget_if_empty(&name);
    }

    /// Takes in a change of an EndpointSlice; likewise.
    pub(super) fn slice(
        &mut self,
        change: Change<EndpointSlice>,
        dirty: &mut BTreeSet<NamespacedName>,
    ) {
        let (name, slice) = match change {
            Change::Applied(slice) => (slice.name.clone(), Some(slice)),
            Change::Deleted(name) => (name, None),
        };
        let owner = slice.as_ref().and_then(|slice| slice.service.clone());
        let previous = match &owner {
            Some(owner) => self.slice_owners.insert(name.clone(), owner.clone()),
            None => self.slice_owners.remove(&name),
        };
        if let Some(previous) = previous.filter(|previous| owner.as_ref() != Some(previous)) {
            if let Some(known) = self.services.get_mut(&previous) {
                known.slices.remove(&name.name);
            }
            self.forget_if_empty(&previous);
            dirty.insert(previous);
        }
        if let (Some(owner), Some(slice)) = (owner, slice) {
            let known = self.services.entry(owner.clone()).or_default();
            if known.slices.get(&name.name) != Some(&slice) {
                known.slices.insert(slice);
                dirty.insert(owner);
            }
        }
    }

    /// Takes in a change of the node `own`; others are ignored. Whether it matters to endpoints.
    pub(super) fn node_changed(&mut self, change: Change<Node>, own: &str) -> NodeChange {
        let node = match change {
            Change::Applied(node) if *node.name == *own => Some(node),
            Change::Deleted(name) if *name == *own => None,
            Change::Applied(_) | Change::Deleted(_) => return NodeChange::default(),
        };
        let zone = |node: &Option<Node>| node.as_ref().and_then(|node| node.zone.clone());
        let addresses = |node: &Option<Node>| node.as_ref().map(|node| node.internal_ips.clone());
        let change = NodeChange {
            zone: zone(&self.node) != zone(&node),
            addresses: addresses(&self.node) != addresses(&node),
        };
        self.node = node;
        change
    }

    /// Takes in a change of a ServiceCIDR.
    pub(super) fn cidr(&mut self, change: Change<ServiceCidr>) {
        match change {
            Change::Applied(cidr) => {
                self.cidrs.insert(cidr.name.clone(), cidr);
            }
            Change::Deleted(name) => {
                self.cidrs.remove(&name);
            }
        }
    }

    fn forget_if_empty(&mut self, name: &NamespacedName) {
        if self.services.get(name).is_some_and(|it| it.service.is_none() && it.slices.is_empty()) {
            self.services.remove(name);
        }
    }
}

/// What about the node changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct NodeChange {
    pub(super) zone: bool,
    pub(super) addresses: bool,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::Cluster;
    use crate::{
        model::{EndpointSlice, Family, NamespacedName, Node},
        source::Change,
    };

    fn slice(name: &str, service: Option<&str>) -> EndpointSlice {
        EndpointSlice {
            name: NamespacedName::new("default", name),
            service: service.map(|service| NamespacedName::new("default", service)),
            family: Family::V4,
            ports: Vec::new(),
            endpoints: Vec::new(),
        }
    }

    fn apply(cluster: &mut Cluster, change: Change<EndpointSlice>) -> Vec<String> {
        let mut dirty = BTreeSet::new();
        cluster.slice(change, &mut dirty);
        dirty.iter().map(|name| name.name.to_string()).collect()
    }

    #[test]
    fn a_slice_that_changes_hands_concerns_both_services() {
        let mut cluster = Cluster::default();
        assert_eq!(apply(&mut cluster, Change::Applied(slice("s", Some("a")))), ["a"]);
        assert_eq!(apply(&mut cluster, Change::Applied(slice("s", Some("b")))), ["a", "b"]);
        assert_eq!(apply(&mut cluster, Change::Applied(slice("s", None))), ["b"]);
        assert_eq!(cluster.names().count(), 0, "nothing is kept of what nobody has");
    }

    #[test]
    fn what_did_not_change_concerns_nobody() {
        let mut cluster = Cluster::default();
        apply(&mut cluster, Change::Applied(slice("s", Some("a"))));
        assert!(apply(&mut cluster, Change::Applied(slice("s", Some("a")))).is_empty());
        let unknown = NamespacedName::new("default", "other");
        assert!(apply(&mut cluster, Change::Deleted(unknown)).is_empty());
    }

    #[test]
    fn only_the_own_node_counts() {
        let mut cluster = Cluster::default();
        let node = |name: &str| Node {
            name: name.into(),
            zone: Some("z".into()),
            internal_ips: Vec::new(),
            leaving: false,
        };
        assert!(!cluster.node_changed(Change::Applied(node("other")), "own").zone);
        assert!(cluster.node_changed(Change::Applied(node("own")), "own").zone);
        assert!(!cluster.node_changed(Change::Deleted("other".into()), "own").zone);
        assert!(cluster.node().is_some());
    }
}
