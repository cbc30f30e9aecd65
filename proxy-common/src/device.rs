//! Devices that programs are attached to.

use bytemuck::{Pod, Zeroable};

use crate::{V4, V6};

/// What is behind a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum DeviceRole {
    /// The host side of a pod (or of a VM).
    Workload = 1,
    /// Other machines: physical, bond, VLAN, overlay, WireGuard.
    Uplink = 2,
}

impl DeviceRole {
    /// From its number.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Workload),
            2 => Some(Self::Uplink),
            _ => None,
        }
    }
}

/// A device that programs are attached to: the value of `DEVICES`, keyed by ifindex (`u32`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Device {
    /// A [`DeviceRole`] as its number.
    pub role: u8,
    /// 1 when packets start with an Ethernet header, 0 on a layer-3-only device.
    pub ethernet: u8,
    /// Zero.
    pub pad: [u8; 2],
    /// The IPv4 address that packets leaving by this device are masqueraded to; zero when there is
    /// none. A bridge port has its bridge's; a device without an address has the node's.
    pub masquerade_v4: V4,
    /// The IPv6 address, likewise.
    pub masquerade_v6: V6,
    /// The device's name, NUL-padded (`IFNAMSIZ`).
    pub name: [u8; 16],
}

const _: () = assert!(size_of::<Device>() == 40);
