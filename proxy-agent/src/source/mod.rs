//! Where objects come from: a directory of manifests, or a Kubernetes API server.
//!
//! A source turns what it reads into [`crate::model`] values and sends them as [`Event`]s; it
//! keeps nothing that the control plane could need and decides nothing about traffic.
//! The agent's main loop receives the events and hands them to [`crate::reconcile::Reconciler`].

mod convert;
pub mod kubernetes;
pub mod manifests;
mod outlet;

pub use outlet::{Batch, Closed, Inlet, Outlet, Waiting, channel};

use crate::model::{EndpointSlice, Node, Object, Problem, Service, ServiceCidr};

/// One change, or the end of a first list.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A Service came, changed or went.
    Service(Change<Service>),
    /// An EndpointSlice came, changed or went.
    EndpointSlice(Change<EndpointSlice>),
    /// The node came, changed or went.
    Node(Change<Node>),
    /// A ServiceCIDR came, changed or went.
    ServiceCidr(Change<ServiceCidr>),
    /// Every first list is complete: from now on, what is not known does not exist.
    Synced,
    /// Something that can't be served as it stands.
    Problem(Problem),
}

/// What happened to an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change<T: Object> {
    /// It is new, or looks like this now.
    Applied(T),
    /// It is gone.
    Deleted(T::Key),
}
