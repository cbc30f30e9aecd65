//! ServiceCIDRs: the ranges that ClusterIPs are taken from.

use std::sync::Arc;

use super::{Cidr, Object};

/// A ServiceCIDR.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceCidr {
    /// Its name.
    pub name: Arc<str>,
    /// `spec.cidrs`.
    pub cidrs: Vec<Cidr>,
}

impl Object for ServiceCidr {
    type Key = Arc<str>;

    fn key(&self) -> Arc<str> {
        self.name.clone()
    }
}
