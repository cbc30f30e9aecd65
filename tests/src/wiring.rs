//! How a pod's namespace is joined to its node: by a CNI plugin, or by hand in a shape that no
//! plugin of Debian's set makes.

mod cni;
mod routed;

use std::fmt;

use anyhow::Result;

use crate::{Addresses, Host, Node};

/// The pod's device.
pub(crate) const POD_DEVICE: &str = "eth0";

/// A CNI shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wiring {
    /// The plugin `ptp`: a veth pair for each pod, the gateway's address on every host side.
    Ptp,
    /// The plugin `bridge`: host sides are ports of a bridge that has the gateway's address.
    Bridge,
    /// By hand, as Calico does it: routed veths whose host side has no address of its own
    /// (169.254.1.1 by proxy ARP, a fixed link-local address for IPv6).
    Routed,
}

impl Wiring {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Ptp, Self::Bridge, Self::Routed];
}

impl fmt::Display for Wiring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ptp => "ptp",
            Self::Bridge => "bridge",
            Self::Routed => "routed",
        })
    }
}

/// Joins `pod` to `node` and says which addresses it got.
pub(crate) fn attach(node: &Node, pod: &Host) -> Result<Addresses> {
    match node.wiring() {
        Wiring::Ptp => cni::add(node, pod, "ptp"),
        Wiring::Bridge => cni::add(node, pod, "bridge"),
        Wiring::Routed => routed::add(node, pod),
    }
}
