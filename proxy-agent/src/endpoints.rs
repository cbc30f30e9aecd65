//! Which endpoints receive the new connections of a Service port: SEMANTICS §3 as one function.
//!
//! Pure. Nothing here knows frontends, policies or maps: [`select`] computes both sets, and
//! [`crate::desired`], its only caller, says which frontend uses which.

use std::{
    cmp::Ordering,
    net::{IpAddr, SocketAddr},
};

use proxy_common::Protocol;

use crate::model::{Conditions, Endpoint, EndpointSlice, Family};

/// What receives traffic: an endpoint's address and its port for one Service port.
///
/// Backends of this node come first in the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Backend {
    /// The endpoint's address.
    pub address: IpAddr,
    /// The number that the Service port's name resolves to in the endpoint's slice.
    pub port: u16,
    /// Whether the endpoint is on this node.
    pub local: bool,
}

impl Ord for Backend {
    fn cmp(&self, other: &Self) -> Ordering {
        let key = |backend: &Self| (!backend.local, backend.address, backend.port);
        key(self).cmp(&key(other))
    }
}

impl PartialOrd for Backend {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The endpoints of a Service port in one family. Both sets are in order, without repetition.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Sets {
    /// Where new connections may go.
    pub cluster: Vec<Backend>,
    /// Where they may go when a policy is `Local`.
    pub local: Vec<Backend>,
}

/// Whose endpoints, seen from where.
#[derive(Clone, Copy, Debug)]
pub struct Viewpoint<'a> {
    /// Name of the Service port; empty when it has none.
    pub port: &'a str,
    /// Its protocol.
    pub protocol: Protocol,
    /// The family of the frontends.
    pub family: Family,
    /// The name of this node.
    pub node: &'a str,
    /// The zone of this node, when it has one.
    pub zone: Option<&'a str>,
}

/// The cluster set and the local set of a Service port.
///
/// # Terms
/// - **candidates**: the endpoints of all slices of the family whose ports have the Service port's
///   name and protocol. The number comes from the slice: one name may resolve to several. Of
///   candidates with equal address and port one is kept: a non-terminating one wins, then a ready
///   one, then a serving one.
/// - **ready**: condition `ready`, terminating or not.
/// - **draining**: not ready, but serving and terminating. An endpoint that is neither ready nor
///   draining is never used.
/// - **local**: `nodeName` is this node.
///
/// # The sets
/// - **local set**: the candidates that are local and ready; if there is none, those that are local
///   and draining. Hints don't apply, and remote endpoints make no difference.
/// - **cluster set**: the candidates that are ready, filtered by topology; if none is ready
///   anywhere, those that are draining, unfiltered.
/// - **topology**: if *every* ready candidate has `forNodes` hints and one names this node, only
///   those that name it. Else, if *every* ready candidate has `forZones` hints, this node has a
///   zone and one names it, only those that name it. Else no filter.
#[must_use]
pub fn select<'a>(
    slices: impl IntoIterator<Item = &'a EndpointSlice>,
    from: &Viewpoint<'_>,
) -> Sets {
    let candidates = candidates(slices, from);
    let ready: Vec<_> = with(&candidates, |conditions| conditions.ready);
    let draining: Vec<_> = with(&candidates, is_draining);

    let local = |candidates: &[Candidate<'a>]| -> Vec<Backend> {
        let mut local = backends(candidates, from);
        local.retain(|backend| backend.local);
        local
    };
    let mut sets = Sets { cluster: Vec::new(), local: local(&ready) };
    if sets.local.is_empty() {
        sets.local = local(&draining);
    }
    sets.cluster = if ready.is_empty() {
        backends(&draining, from)
    } else {
        backends(&near(&ready, from), from)
    };
    sets
}

/// The candidates (see [`select`]) that serve: ready or draining, wherever they are. What is open to
/// others has lost its endpoint (SEMANTICS §7). In order.
#[must_use]
pub fn serving<'a>(
    slices: impl IntoIterator<Item = &'a EndpointSlice>,
    from: &Viewpoint<'_>,
) -> Vec<SocketAddr> {
    let serves = |conditions: Conditions| conditions.ready || is_draining(conditions);
    with(&candidates(slices, from), serves)
        .into_iter()
        .map(|(endpoint, port)| SocketAddr::new(endpoint.address, port))
        .collect()
}

/// An endpoint, and the number of the port in its slice.
pub type Candidate<'a> = (&'a Endpoint, u16);

/// The candidates (see [`select`]), ready or not: by address and port, each once.
#[must_use]
pub fn candidates<'a>(
    slices: impl IntoIterator<Item = &'a EndpointSlice>,
    from: &Viewpoint<'_>,
) -> Vec<Candidate<'a>> {
    let mut candidates: Vec<Candidate<'a>> = Vec::new();
    for slice in slices.into_iter().filter(|slice| slice.family == from.family) {
        let named = |port: &&crate::model::EndpointPort| {
            *port.name == *from.port && port.protocol == from.protocol
        };
        if let Some(port) = slice.ports.iter().find(named) {
            candidates.extend(slice.endpoints.iter().map(|endpoint| (endpoint, port.port)));
        }
    }
    // Whatever the order of slices and endpoints, the same one of equals is kept.
    let preference = |(endpoint, port): &Candidate<'a>| {
        let Conditions { ready, serving, terminating } = endpoint.conditions;
        let here = is_here(endpoint, from);
        (endpoint.address, *port, terminating, !ready, !serving, !here)
    };
    candidates.sort_unstable_by(|a, b| {
        let hints = |candidate: &Candidate<'a>| {
            (candidate.0.for_nodes(), candidate.0.for_zones(), &candidate.0.node)
        };
        preference(a).cmp(&preference(b)).then_with(|| hints(a).cmp(&hints(b)))
    });
    candidates.dedup_by_key(|(endpoint, port)| (endpoint.address, *port));
    candidates
}

fn with<'a>(
    candidates: &[Candidate<'a>],
    admitted: impl Fn(Conditions) -> bool,
) -> Vec<Candidate<'a>> {
    candidates.iter().filter(|(endpoint, _)| admitted(endpoint.conditions)).copied().collect()
}

fn is_draining(conditions: Conditions) -> bool {
    !conditions.ready && conditions.serving && conditions.terminating
}

fn is_here(endpoint: &Endpoint, from: &Viewpoint<'_>) -> bool {
    endpoint.node.as_deref() == Some(from.node)
}

fn near<'a>(ready: &[Candidate<'a>], from: &Viewpoint<'_>) -> Vec<Candidate<'a>> {
    let for_node =
        |endpoint: &Endpoint| endpoint.for_nodes().iter().any(|name| **name == *from.node);
    let for_zone = |endpoint: &Endpoint| {
        from.zone.is_some_and(|zone| endpoint.for_zones().iter().any(|name| **name == *zone))
    };
    hinted(ready, |endpoint| !endpoint.for_nodes().is_empty(), for_node)
        .or_else(|| hinted(ready, |endpoint| !endpoint.for_zones().is_empty(), for_zone))
        .unwrap_or_else(|| ready.to_vec())
}

/// Those that `names_us` holds for, if all have hints and one names us.
fn hinted<'a>(
    ready: &[Candidate<'a>],
    has_hints: impl Fn(&Endpoint) -> bool,
    names_us: impl Fn(&Endpoint) -> bool,
) -> Option<Vec<Candidate<'a>>> {
    let near: Vec<_> = ready.iter().filter(|(endpoint, _)| names_us(endpoint)).copied().collect();
    let all_have_hints = ready.iter().all(|(endpoint, _)| has_hints(endpoint));
    (all_have_hints && !near.is_empty()).then_some(near)
}

fn backends(candidates: &[Candidate<'_>], from: &Viewpoint<'_>) -> Vec<Backend> {
    let mut backends: Vec<Backend> = candidates
        .iter()
        .map(|(endpoint, port)| Backend {
            address: endpoint.address,
            port: *port,
            local: is_here(endpoint, from),
        })
        .collect();
    backends.sort_unstable();
    backends
}
