//! EndpointSlices.

use std::{net::IpAddr, sync::Arc};

use proxy_common::Protocol;

use super::{Family, NamespacedName, Object};

/// An EndpointSlice, pruned to what decides where traffic goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSlice {
    /// Its name.
    pub name: NamespacedName,
    /// The Service whose endpoints these are. `None` when the slice counts for nobody: no label
    /// `kubernetes.io/service-name`, a label that hands it to another proxy or marks it headless,
    /// or `addressType: FQDN`.
    pub service: Option<NamespacedName>,
    /// `addressType`.
    pub family: Family,
    /// `ports`: how port names resolve to numbers in this slice.
    pub ports: Vec<EndpointPort>,
    /// `endpoints` that have an address which can be used.
    pub endpoints: Vec<Endpoint>,
}

impl Object for EndpointSlice {
    type Key = NamespacedName;

    fn key(&self) -> NamespacedName {
        self.name.clone()
    }
}

/// An entry of `ports` that has a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointPort {
    /// `name`; empty when it has none.
    pub name: Arc<str>,
    /// `protocol`.
    pub protocol: Protocol,
    /// `port`.
    pub port: u16,
}

/// An entry of `endpoints`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// `addresses[0]`: the only one that counts.
    pub address: IpAddr,
    /// `targetRef.name`, when that is a Pod.
    pub pod: Option<Box<str>>,
    /// `nodeName`.
    pub node: Option<Arc<str>>,
    /// `conditions`.
    pub conditions: Conditions,
    /// `hints`; most endpoints have none.
    pub hints: Option<Box<Hints>>,
}

impl Endpoint {
    /// `hints.forNodes[].name`.
    #[must_use]
    pub fn for_nodes(&self) -> &[Arc<str>] {
        self.hints.as_ref().map_or(&[], |hints| &hints.for_nodes)
    }

    /// `hints.forZones[].name`.
    #[must_use]
    pub fn for_zones(&self) -> &[Arc<str>] {
        self.hints.as_ref().map_or(&[], |hints| &hints.for_zones)
    }
}

/// Where an endpoint should be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hints {
    /// Nodes by their names.
    pub for_nodes: Vec<Arc<str>>,
    /// Zones by their names.
    pub for_zones: Vec<Arc<str>>,
}

impl Hints {
    /// `None` where there are neither.
    #[must_use]
    pub fn new(for_nodes: Vec<Arc<str>>, for_zones: Vec<Arc<str>>) -> Option<Box<Self>> {
        let some = !(for_nodes.is_empty() && for_zones.is_empty());
        some.then(|| Box::new(Self { for_nodes, for_zones }))
    }
}

/// An endpoint's `conditions`, absent ones filled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conditions {
    /// `ready`; true when absent.
    pub ready: bool,
    /// `serving`; true when absent.
    pub serving: bool,
    /// `terminating`; false when absent.
    pub terminating: bool,
}

impl Default for Conditions {
    fn default() -> Self {
        Self { ready: true, serving: true, terminating: false }
    }
}
