//! What every program reads before it decides: the one element of `CONFIG`.

use bytemuck::{Pod, Zeroable};

use crate::{V4, V6};

/// Whose connections the socket path translates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Scope {
    /// Nobody's.
    Off = 0,
    /// Processes in the node's own network namespace.
    Host = 1,
    /// Every process under the agent's cgroup root.
    All = 2,
}

/// How many ServiceCIDRs of a family the datapath knows.
pub const SERVICE_CIDRS_MAX: usize = 8;

/// An address prefix, ready to be compared: an address is inside when `address & mask == network`.
/// An element whose mask is zero is unused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Prefix<A> {
    /// The network address.
    pub network: A,
    /// Ones where the address must agree.
    pub mask: A,
}

/// Bits of [`Config::options`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Pod, Zeroable)]
#[repr(transparent)]
pub struct ConfigOptions {
    bits: u32,
}

impl ConfigOptions {
    /// Traffic to ClusterIPs is always masqueraded.
    pub const MASQUERADE_ALL: Self = Self { bits: 1 };
    /// What comes in by an uplink and is for a ClusterIP is refused.
    pub const REFUSE_EXTERNAL_CLUSTER_IP: Self = Self { bits: 2 };
    /// A TCP packet to a frontend that continues a connection which is no flow of ours goes on
    /// untouched: another proxy may have set the connection up.
    pub const PASS_UNKNOWN_CONNECTIONS: Self = Self { bits: 4 };
    /// The main flow tables are being replaced: no flow settles. For the milliseconds that it takes.
    pub const HOLD_SETTLING: Self = Self { bits: 8 };
    /// The tables of new flows are being replaced: no flow is opened on the packet path. Likewise.
    pub const HOLD_OPENING: Self = Self { bits: 16 };
}

flag_set!(ConfigOptions);

/// The element of `CONFIG`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Config {
    /// Cookie of the node's network namespace (`SO_NETNS_COOKIE`, kernel ≥ 5.14).
    pub host_netns_cookie: u64,
    /// A [`Scope`] as its number, for TCP.
    pub socket_lb_tcp: u8,
    /// A [`Scope`] as its number, for UDP.
    pub socket_lb_udp: u8,
    /// How many elements of [`Self::service_cidrs_v4`] are used.
    pub service_cidr_count_v4: u8,
    /// How many elements of [`Self::service_cidrs_v6`] are used.
    pub service_cidr_count_v6: u8,
    /// The first port that masqueraded flows may use, host order.
    pub masquerade_port_base: u16,
    /// How many ports from there on; 0 means none.
    pub masquerade_port_count: u16,
    /// See [`ConfigOptions`].
    pub options: ConfigOptions,
    /// Zero.
    pub pad: u32,
    /// The cluster's IPv4 ServiceCIDRs: an address inside that no Service owns is dropped.
    pub service_cidrs_v4: [Prefix<V4>; SERVICE_CIDRS_MAX],
    /// The cluster's IPv6 ServiceCIDRs.
    pub service_cidrs_v6: [Prefix<V6>; SERVICE_CIDRS_MAX],
}

const _: () = assert!(size_of::<Config>() == 24 + 8 * 8 + 8 * 32);
