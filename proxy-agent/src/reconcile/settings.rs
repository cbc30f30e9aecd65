//! What the operator decides about Services, as the control plane needs it.

use std::sync::Arc;

use proxy_common::{Config, FrontendKind};

use crate::model::Cidr;

/// Settings of the control plane.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The node's name: endpoints with this `nodeName` are local.
    pub node_name: Arc<str>,
    /// Which frontends are programmed.
    pub frontend_kinds: FrontendKinds,
    /// Which of the node's addresses serve NodePorts.
    pub node_port_addresses: NodePortAddresses,
    /// What goes into `CONFIG`; the ServiceCIDRs are filled in by the reconciler.
    pub config: Config,
}

/// A set of [`FrontendKind`]s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrontendKinds {
    bits: u8,
}

impl FrontendKinds {
    /// ClusterIPs only.
    pub const CLUSTER_IP: Self = Self { bits: 1 << FrontendKind::ClusterIp as u8 };
    /// Every kind.
    pub const ALL: Self = Self {
        bits: 1 << FrontendKind::ClusterIp as u8
            | 1 << FrontendKind::ExternalIp as u8
            | 1 << FrontendKind::LoadBalancer as u8
            | 1 << FrontendKind::NodePort as u8,
    };

    /// Whether `kind` is in the set.
    #[must_use]
    pub const fn contains(self, kind: FrontendKind) -> bool {
        self.bits & (1 << kind as u8) != 0
    }

    /// The set without `kind`.
    #[must_use]
    pub const fn without(self, kind: FrontendKind) -> Self {
        Self { bits: self.bits & !(1 << kind as u8) }
    }
}

/// `--nodeport-addresses`: which of the node's addresses serve NodePorts.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum NodePortAddresses {
    /// All of them.
    #[default]
    All,
    /// The node's `InternalIP`s.
    Primary,
    /// Those inside one of these prefixes. Prefixes of one family leave the other at all.
    Within(Vec<Cidr>),
}
