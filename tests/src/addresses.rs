//! The address plan, the same in every lab: namespaces keep labs apart.
//!
//! | | IPv4 | IPv6 |
//! |---|---|---|
//! | fabric (nodes, outside hosts) | 172.18.0.0/24 | fd00:172:18::/64 |
//! | pods of node `n` | 10.244.n.0/24 | fd00:10:244:n::/64 |
//! | Services | 10.96.0.0/16 | fd00:10:96::/112 |
//! | load balancers | 198.51.100.0/24 | fd00:198:51:100::/64 |
//! | `externalIPs` | 203.0.113.0/24 | fd00:203:0:113::/64 |

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];

    /// The family of `address`.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

/// The two addresses of a host, or of a Service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// Its IPv4 address.
    pub v4: Ipv4Addr,
    /// Its IPv6 address.
    pub v6: Ipv6Addr,
}

impl Addresses {
    /// ClusterIPs for the Service `number` of a story.
    #[must_use]
    pub const fn cluster_ips(number: u8) -> Self {
        Self {
            v4: Ipv4Addr::new(10, 96, 0, number),
            v6: Ipv6Addr::new(0xfd00, 0x10, 0x96, 0, 0, 0, 0, number as u16),
        }
    }

    /// Load balancer IPs for the Service `number` of a story.
    #[must_use]
    pub const fn load_balancer_ips(number: u8) -> Self {
        Self {
            v4: Ipv4Addr::new(198, 51, 100, number),
            v6: Ipv6Addr::new(0xfd00, 0x198, 0x51, 0x100, 0, 0, 0, number as u16),
        }
    }

    /// `externalIPs` for the Service `number` of a story.
    #[must_use]
    pub const fn external_ips(number: u8) -> Self {
        Self {
            v4: Ipv4Addr::new(203, 0, 113, number),
            v6: Ipv6Addr::new(0xfd00, 0x203, 0, 0x113, 0, 0, 0, number as u16),
        }
    }

    /// On the fabric.
    pub(crate) const fn on_fabric(number: u8) -> Self {
        Self {
            v4: Ipv4Addr::new(172, 18, 0, number),
            v6: Ipv6Addr::new(0xfd00, 0x172, 0x18, 0, 0, 0, 0, number as u16),
        }
    }

    /// The one of `family`.
    #[must_use]
    pub const fn of(&self, family: Family) -> IpAddr {
        match family {
            Family::V4 => IpAddr::V4(self.v4),
            Family::V6 => IpAddr::V6(self.v6),
        }
    }

    /// Both, IPv4 first.
    #[must_use]
    pub const fn both(&self) -> [IpAddr; 2] {
        [IpAddr::V4(self.v4), IpAddr::V6(self.v6)]
    }
}

/// Prefixes of the fabric.
pub(crate) const FABRIC_PREFIX_LENGTHS: (u8, u8) = (24, 64);

/// Prefixes that outside hosts route to a node, if a story wants it: ClusterIPs, load balancers,
/// `externalIPs`.
pub const SERVICE_PREFIXES: [&str; 6] = [
    "10.96.0.0/16",
    "fd00:10:96::/112",
    "198.51.100.0/24",
    "fd00:198:51:100::/64",
    "203.0.113.0/24",
    "fd00:203:0:113::/64",
];

/// The cluster's ServiceCIDRs.
pub(crate) const SERVICE_CIDRS: [&str; 2] = ["10.96.0.0/16", "fd00:10:96::/112"];

/// The pod CIDRs of the node `number`.
pub(crate) fn pod_cidrs(number: u8) -> [String; 2] {
    [format!("10.244.{number}.0/24"), format!("fd00:10:244:{number:x}::/64")]
}
