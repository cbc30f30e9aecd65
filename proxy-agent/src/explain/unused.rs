//! Endpoints that are in neither set of a Service port, and why: what maps can't tell and manifests
//! can.
//!
//! Which endpoints are in the sets isn't asked again here, only what the others have that they
//! haven't. Called by [`super::steps`].

use std::{collections::BTreeSet, net::SocketAddr};

use proxy_common::Protocol;

use super::answer::ServicePortRef;
use crate::{
    endpoints::{Viewpoint, candidates},
    model::{Conditions, EndpointSlice, Family},
};

/// Why an endpoint is used for no new connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Unused {
    /// Not ready, and not serving on the way out.
    NotReady,
    /// It is serving on the way out, and others are ready.
    Terminating,
    /// Its hints name other zones or nodes.
    Topology,
}

/// The endpoints of `port` in `slices` that `used` doesn't have, in order, each with its reason.
pub(super) fn unused(
    slices: &[EndpointSlice],
    port: &ServicePortRef,
    (protocol, family): (Protocol, Family),
    used: &BTreeSet<SocketAddr>,
) -> Vec<(SocketAddr, Unused)> {
    let of_service = slices.iter().filter(|slice| {
        let owner = slice.service.as_ref();
        owner.is_some_and(|it| *it.namespace == *port.namespace && *it.name == *port.name)
    });
    // Where one looks from makes no difference to which candidates there are.
    let from = Viewpoint { port: &port.port, protocol, family, node: "", zone: None };
    let known = candidates(of_service, &from).into_iter();
    let mut unused: Vec<(SocketAddr, Unused)> = known
        .map(|(endpoint, port)| {
            let Conditions { ready, serving, terminating } = endpoint.conditions;
            let why = match (ready, serving && terminating) {
                (true, _) => Unused::Topology,
                (false, true) => Unused::Terminating,
                (false, false) => Unused::NotReady,
            };
            (SocketAddr::new(endpoint.address, port), why)
        })
        .filter(|(address, _)| !used.contains(address))
        .collect();
    unused.sort();
    unused
}
