//! The node that the agent runs on, as the API shows it.

use std::{net::IpAddr, sync::Arc};

use super::Object;

/// A Node, pruned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: Arc<str>,
    /// Label `topology.kubernetes.io/zone`.
    pub zone: Option<Arc<str>>,
    /// `status.addresses` of type `InternalIP`, in order.
    pub internal_ips: Vec<IpAddr>,
    /// Whether it is about to go: it has a `deletionTimestamp` or the taint
    /// `ToBeDeletedByClusterAutoscaler`.
    pub leaving: bool,
}

impl Object for Node {
    type Key = Arc<str>;

    fn key(&self) -> Arc<str> {
        self.name.clone()
    }
}
