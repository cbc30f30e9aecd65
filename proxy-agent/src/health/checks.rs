//! What load balancers are told of one Service, and where: SEMANTICS §8, `healthCheckNodePort`.
//!
//! Pure.

use std::{collections::BTreeSet, net::IpAddr};

use crate::model::{
    Endpoint, EndpointSlice, Family, NamespacedName, Service, ServiceType, TrafficPolicy,
};

/// A health check of a Service, in one family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// The Service.
    pub service: NamespacedName,
    /// Whose addresses it is asked at.
    pub family: Family,
    /// `spec.healthCheckNodePort`.
    pub port: u16,
    /// Ready endpoints of the family on this node, each address once. Terminating ones don't count:
    /// load balancers are to go elsewhere.
    pub local_endpoints: usize,
}

/// The health checks of `service`, whose endpoints are in `slices`, on the node `node`: one for each
/// family that it has, if it is of type LoadBalancer with `externalTrafficPolicy: Local`.
#[must_use]
pub fn checks<'a>(
    service: &Service,
    slices: impl IntoIterator<Item = &'a EndpointSlice> + Clone,
    node: &str,
) -> Vec<Check> {
    let wanted = service.unserved.is_none()
        && service.kind == ServiceType::LoadBalancer
        && service.external_traffic_policy == TrafficPolicy::Local;
    let Some(port) = service.health_check_node_port.filter(|_| wanted) else { return Vec::new() };
    let of_family = |family: &Family| {
        let local: BTreeSet<IpAddr> = slices
            .clone()
            .into_iter()
            .filter(|slice| slice.family == *family && !slice.ports.is_empty())
            .flat_map(|slice| &slice.endpoints)
            .filter(|endpoint| is_here(endpoint, node) && endpoint.conditions.ready)
            .map(|endpoint| endpoint.address)
            .collect();
        let (service, family) = (service.name.clone(), *family);
        Check { service, family, port, local_endpoints: local.len() }
    };
    service.families.iter().map(of_family).collect()
}

/// Whether a Service's policy Local finds endpoints elsewhere only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NoLocal {
    /// `internalTrafficPolicy`.
    pub internal: bool,
    /// `externalTrafficPolicy`.
    pub external: bool,
}

/// Which policies of `service` find endpoints elsewhere only, seen from the node `node`.
#[must_use]
pub fn no_local<'a>(
    service: &Service,
    slices: impl IntoIterator<Item = &'a EndpointSlice>,
    node: &str,
) -> NoLocal {
    let internal = service.internal_traffic_policy == TrafficPolicy::Local;
    let external = service.external_traffic_policy == TrafficPolicy::Local;
    if service.unserved.is_some() || !(internal || external) {
        return NoLocal::default();
    }
    let (mut any, mut here) = (false, false);
    let endpoints = slices.into_iter().flat_map(|slice| &slice.endpoints);
    for endpoint in endpoints.filter(|endpoint| is_usable(endpoint)) {
        any = true;
        here |= is_here(endpoint, node);
    }
    let elsewhere = any && !here;
    NoLocal { internal: internal && elsewhere, external: external && elsewhere }
}

/// Whether an endpoint is on the node `node`.
pub(super) fn is_here(endpoint: &Endpoint, node: &str) -> bool {
    endpoint.node.as_deref() == Some(node)
}

/// Whether an endpoint may receive anything.
pub(super) fn is_usable(endpoint: &Endpoint) -> bool {
    let conditions = endpoint.conditions;
    conditions.ready || (conditions.serving && conditions.terminating)
}

#[cfg(test)]
#[path = "checks_tests.rs"]
pub(super) mod tests;
