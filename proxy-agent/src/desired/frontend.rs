//! Where traffic arrives, in the agent's words: one type for both families.

use std::{fmt, net::IpAddr};

use proxy_common::{Address, Frontend, Protocol};

/// Address, port and protocol of a frontend, or the marker of a ClusterIP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FrontendKey {
    /// The address that clients use.
    pub address: IpAddr,
    /// The port that clients use; 0 in a marker.
    pub port: u16,
    /// The protocol that clients use; [`Protocol::ANY`] in a marker.
    pub protocol: Protocol,
}

impl FrontendKey {
    /// What marks `address` as a ClusterIP.
    #[must_use]
    pub const fn marker(address: IpAddr) -> Self {
        Self { address, port: 0, protocol: Protocol::ANY }
    }

    /// Whether it is the marker of a ClusterIP.
    #[must_use]
    pub fn is_marker(&self) -> bool {
        *self == Self::marker(self.address)
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
        if self.is_marker() { Ok(()) } else { write!(f, ":{}/{}", self.port, self.protocol) }
    }
}
