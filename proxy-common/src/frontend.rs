//! Frontends: where traffic for a Service arrives.

use crate::{Address, Be16, Protocol};

/// Address, port and protocol that traffic for a Service port arrives at: the key of
/// `SERVICES_V4` and `SERVICES_V6`.
///
/// The key with port 0 and protocol [`Protocol::ANY`] marks the address itself as a ClusterIP, so
/// that a port nobody defined is rejected and not routed away. The key with the unspecified address
/// marks a port number as a NodePort, so that no process of the node binds it by accident.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(C)]
pub struct Frontend<A> {
    /// The address that clients use.
    pub address: A,
    /// The port that clients use.
    pub port: Be16,
    /// The protocol that clients use.
    pub protocol: Protocol,
    /// Zero.
    pub pad: u8,
}

impl<A: Address> Frontend<A> {
    /// A frontend from its parts.
    #[inline(always)]
    #[must_use]
    pub fn new(address: A, port: Be16, protocol: Protocol) -> Self {
        Self { address, port, protocol, pad: 0 }
    }

    /// The key that marks `address` as a ClusterIP.
    #[inline(always)]
    #[must_use]
    pub fn cluster_ip_marker(address: A) -> Self {
        Self::new(address, Be16::ZERO, Protocol::ANY)
    }

    /// The key that marks `port` as some Service's NodePort.
    #[inline(always)]
    #[must_use]
    pub fn node_port_marker(port: Be16, protocol: Protocol) -> Self {
        Self::new(A::zeroed(), port, protocol)
    }

    /// Whether this key is a marker and not a frontend.
    #[must_use]
    pub fn is_marker(&self) -> bool {
        self.port == Be16::ZERO || self.address == A::zeroed()
    }
}

/// What kind of address a frontend has: which policy and which filters apply to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum FrontendKind {
    /// One of the Service's `clusterIPs`.
    ClusterIp = 1,
    /// One of the Service's `externalIPs`.
    ExternalIp = 2,
    /// An IP of `status.loadBalancer.ingress`.
    LoadBalancer = 3,
    /// An address of the node, at the Service's `nodePort`.
    NodePort = 4,
}

impl FrontendKind {
    /// From the number in [`crate::Service::kind`]; `None` for a marker (0).
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::ClusterIp),
            2 => Some(Self::ExternalIp),
            3 => Some(Self::LoadBalancer),
            4 => Some(Self::NodePort),
            _ => None,
        }
    }
}
