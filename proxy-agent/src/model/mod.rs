//! What the control plane knows about the cluster: Sluice's own types, pruned to what decides how
//! traffic goes.
//!
//! No Kubernetes type appears here and nothing is decided here: sources ([`crate::source`]) make
//! these values, [`crate::endpoints`] and [`crate::desired`] read them. Addresses and ports are
//! parsed; what did not parse was left out and told as a [`Problem`].

mod cidr;
mod endpoint_slice;
mod name;
mod node;
mod problem;
mod service;
mod service_cidr;
mod slices;
mod weights;

pub use cidr::{Cidr, CidrError};
pub use endpoint_slice::{Conditions, Endpoint, EndpointPort, EndpointSlice, Hints};
pub use name::{NamespacedName, ServicePortName};
pub use node::Node;
pub use problem::{Location, ObjectKind, ObjectRef, Problem, Trouble};
pub use service::{
    IpMode, LoadBalancerAddress, Service, ServicePort, ServiceType, SourceRanges, TrafficPolicy,
    Unserved,
};
pub use service_cidr::ServiceCidr;
pub use slices::Slices;
pub use weights::Weights;

use std::hash::Hash;

/// An object that a source watches.
pub trait Object: Clone + PartialEq {
    /// What tells it from others of its kind.
    type Key: Clone + Eq + Hash + Ord + std::fmt::Debug;

    /// Its key.
    fn key(&self) -> Self::Key;
}

/// The two address families.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both, in the order in which they are shown.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// The family of `address`.
    #[must_use]
    pub const fn of(address: std::net::IpAddr) -> Self {
        match address {
            std::net::IpAddr::V4(_) => Self::V4,
            std::net::IpAddr::V6(_) => Self::V6,
        }
    }
}

impl std::fmt::Display for Family {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}
