//! Where traffic arrives, in the agent's words: one type for both families.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use proxy_common::{Address, Frontend, Protocol};

use crate::model::Family;

/// Address, port and protocol of a frontend, or the marker of a ClusterIP or of a NodePort.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FrontendKey {
    /// The address that clients use; unspecified in the marker of a NodePort.
    pub address: IpAddr,
    /// The port that clients use; 0 in the marker of a ClusterIP.
    pub port: u16,
    /// The protocol that clients use; [`Protocol::ANY`] in the marker of a ClusterIP.
    pub protocol: Protocol,
}

impl FrontendKey {
    /// What marks `address` as a ClusterIP.
    #[must_use]
    pub const fn cluster_ip_marker(address: IpAddr) -> Self {
        Self { address, port: 0, protocol: Protocol::ANY }
    }

    /// What marks `port` as a NodePort of `family`.
    #[must_use]
    pub const fn node_port_marker(family: Family, port: u16, protocol: Protocol) -> Self {
        let address = match family {
            Family::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            Family::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        Self { address, port, protocol }
    }

    /// Whether it is a marker and not a frontend.
    #[must_use]
    pub const fn is_marker(&self) -> bool {
        self.port == 0 || self.address.is_unspecified()
    }

    /// Whether it is the marker of a NodePort.
    #[must_use]
    pub const fn is_node_port_marker(&self) -> bool {
        self.address.is_unspecified()
    }
}

impl<A: Address> From<Frontend<A>> for FrontendKey {
    fn from(frontend: Frontend<A>) -> Self {
        Self {
            address: frontend.address.to_ip(),
            port: frontend.port.get(),
            protocol: frontend.protocol,
        }
    }
}

impl fmt::Display for FrontendKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            IpAddr::V4(address) => write!(f, "{address}")?,
            IpAddr::V6(address) => write!(f, "[{address}]")?,
        }
        if self.port == 0 { Ok(()) } else { write!(f, ":{}/{}", self.port, self.protocol) }
    }
}
