//! What is behind a device, judged by what it is: one pure function.
//!
//! The operator's globs come before it, see [`crate::devices::selector`]. Called by
//! [`crate::devices::inventory`].
//!
//! | device | role |
//! |---|---|
//! | loopback, bridge, dummy, VRF, ifb, nlmon | none: a bridge's ports have the role |
//! | whose packets start with neither an Ethernet nor an IP header (InfiniBand, CAN) | none |
//! | port of a bond or a team | none: the bond has it |
//! | veth, netkit, tap with a default route, or an address with a subnet | uplink: others are reached by it |
//! | veth, netkit whose other end is in another network namespace | workload |
//! | veth, netkit whose other end is here | none |
//! | tap | workload: a VM |
//! | macvlan, ipvlan with a default route, or an address with a subnet | uplink, otherwise none |
//! | everything else: physical, bond, VLAN, overlay, tunnel, WireGuard | uplink |

use proxy_common::DeviceRole;

/// Kinds of device, as far as they make a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `lo`.
    Loopback,
    /// No `IFLA_INFO_KIND`: hardware, or a hypervisor's.
    Physical,
    /// A pair of devices: veth, netkit.
    Pair,
    /// The host's end of a VM's device.
    Tap,
    /// A bridge, or something else that only stands for others.
    Aggregate,
    /// A device stacked on another one: macvlan, ipvlan.
    Stacked,
    /// Reaches other machines: bond, VLAN, overlay, tunnel, WireGuard.
    Network,
    /// Its packets start with a header that no program knows.
    Foreign,
}

/// What [`role`] goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// What kind it is.
    pub kind: Kind,
    /// A pair's other end is in another network namespace.
    pub peer_elsewhere: bool,
    /// A default route of either family leaves by it.
    pub default_route: bool,
    /// It has an address that isn't link-local, with a prefix that holds other addresses.
    pub subnet: bool,
    /// It is a port of a bond or a team.
    pub bonded: bool,
}

/// The role of a device; `None` when no program belongs on it.
#[must_use]
pub fn role(facts: &Facts) -> Option<DeviceRole> {
    let reaches_others = facts.default_route || facts.subnet;
    match facts.kind {
        Kind::Loopback | Kind::Aggregate | Kind::Foreign => None,
        _ if facts.bonded => None,
        Kind::Pair | Kind::Tap | Kind::Stacked if reaches_others => Some(DeviceRole::Uplink),
        Kind::Pair if facts.peer_elsewhere => Some(DeviceRole::Workload),
        Kind::Tap => Some(DeviceRole::Workload),
        Kind::Pair | Kind::Stacked => None,
        Kind::Physical | Kind::Network => Some(DeviceRole::Uplink),
    }
}

#[cfg(test)]
mod tests {
    use proxy_common::DeviceRole::{Uplink, Workload};

    use super::{Facts, Kind, role};

    fn device(kind: Kind) -> Facts {
        Facts { kind, peer_elsewhere: false, default_route: false, subnet: false, bonded: false }
    }

    #[test]
    fn a_veth_into_another_namespace_is_a_pod() {
        assert_eq!(role(&Facts { peer_elsewhere: true, ..device(Kind::Pair) }), Some(Workload));
    }

    #[test]
    fn a_veth_that_is_the_way_out_is_an_uplink() {
        let veth = Facts { peer_elsewhere: true, ..device(Kind::Pair) };
        assert_eq!(role(&Facts { default_route: true, ..veth }), Some(Uplink));
        assert_eq!(role(&Facts { subnet: true, ..veth }), Some(Uplink));
    }

    #[test]
    fn a_veth_with_both_ends_here_has_no_role() {
        assert_eq!(role(&device(Kind::Pair)), None);
    }

    #[test]
    fn loopback_and_bridges_have_no_role_whatever_they_carry() {
        for kind in [Kind::Loopback, Kind::Aggregate, Kind::Foreign] {
            assert_eq!(role(&Facts { default_route: true, subnet: true, ..device(kind) }), None);
        }
    }

    #[test]
    fn a_bond_is_an_uplink_and_its_ports_are_not() {
        assert_eq!(role(&device(Kind::Network)), Some(Uplink));
        assert_eq!(role(&Facts { bonded: true, ..device(Kind::Physical) }), None);
    }

    #[test]
    fn hardware_is_an_uplink_and_a_tap_is_a_vm() {
        assert_eq!(role(&device(Kind::Physical)), Some(Uplink));
        assert_eq!(role(&device(Kind::Tap)), Some(Workload));
    }

    #[test]
    fn a_macvlan_counts_only_when_the_node_uses_it() {
        assert_eq!(role(&device(Kind::Stacked)), None);
        assert_eq!(role(&Facts { subnet: true, ..device(Kind::Stacked) }), Some(Uplink));
    }
}
