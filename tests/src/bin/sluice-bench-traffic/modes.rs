//! The modes that are compared, and the cases in which they are.

use std::fmt;

use clap::ValueEnum;
use serde::Serialize;

use crate::load::Work;

/// Who serves a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Mode {
    /// Nobody: clients ask the endpoint's own address
    None,
    /// Sluice as it is by default: pods' TCP is translated at connect()
    SluiceSocket,
    /// Sluice with pods translated packet by packet
    SluicePacket,
    /// The real kube-proxy
    KubeProxyNftables,
    /// The real kube-proxy, as the system's iptables are
    KubeProxyIptables,
}

impl Mode {
    /// The name of its node.
    pub(crate) const fn node(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::SluiceSocket => "socket",
            Self::SluicePacket => "packet",
            Self::KubeProxyNftables => "nftables",
            Self::KubeProxyIptables => "iptables",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::SluiceSocket => "sluice-socket",
            Self::SluicePacket => "sluice-packet",
            Self::KubeProxyNftables => "kube-proxy-nftables",
            Self::KubeProxyIptables => "kube-proxy-iptables",
        })
    }
}

/// From where to where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Way {
    /// From a pod to a ClusterIP, endpoint on the same node
    ClusterIp,
    /// From outside to a NodePort, endpoint on that node
    NodePortNear,
    /// From outside to a NodePort, endpoint on another node
    NodePortFar,
}

/// A case: what is done, on which way.
pub(crate) type Case = (Way, Work);

/// All cases, in the order of the report.
pub(crate) const CASES: [Case; 9] = [
    (Way::ClusterIp, Work::Connect),
    (Way::ClusterIp, Work::UdpNew),
    (Way::ClusterIp, Work::UdpOne),
    (Way::ClusterIp, Work::Request),
    (Way::ClusterIp, Work::Bulk),
    (Way::NodePortNear, Work::Connect),
    (Way::NodePortNear, Work::Request),
    (Way::NodePortFar, Work::Connect),
    (Way::NodePortFar, Work::Request),
];
