//! Devices: which there are, what is behind each, and the programs that belong on them.
//!
//! [`watch`] follows the kernel and keeps an [`inventory`] with [`addresses`]; [`role`] decides, [`selector`] lets the
//! operator decide instead; [`attach`] makes the datapath follow. Nothing here changes a device.
//! Called by [`crate::agent`].

pub mod addresses;
pub mod attach;
pub mod inventory;
mod message;
pub mod role;
pub mod selector;
pub mod watch;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proxy_common::DeviceRole;

/// A device with a role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its number.
    pub ifindex: u32,
    /// Tells it from an earlier device of the same number.
    pub incarnation: u64,
    /// Its name.
    pub name: String,
    /// What is behind it.
    pub role: DeviceRole,
    /// Whether packets start with an Ethernet header.
    pub ethernet: bool,
    /// The address that IPv4 packets leaving by it are masqueraded to.
    pub masquerade_v4: Option<Ipv4Addr>,
    /// The address that IPv6 packets leaving by it are masqueraded to.
    pub masquerade_v6: Option<Ipv6Addr>,
}

impl Device {
    /// Whether it has to be treated as another device than `before`, which had its number.
    fn is_another(&self, before: &Self) -> bool {
        self.incarnation != before.incarnation || self.ethernet != before.ethernet
    }
}

/// What the agent has to know of the devices of the node, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Those with a role, by number.
    pub devices: Vec<Device>,
    /// The node's addresses, loopback and link-local ones left out, sorted.
    pub addresses: Vec<IpAddr>,
}
