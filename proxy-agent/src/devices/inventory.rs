//! The devices, addresses and default routes of this network namespace, as last heard of.
//!
//! Pure: takes in [`Change`]s, gives out a [`Snapshot`]. Kept by [`crate::devices::watch`], which
//! speaks netlink.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use super::{
    Device, Snapshot,
    role::{self, Facts, Kind},
    selector::Selector,
};

/// A device as netlink describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its number.
    pub ifindex: u32,
    /// Its name.
    pub name: String,
    /// What kind it is.
    pub kind: Kind,
    /// Whether packets start with an Ethernet header.
    pub ethernet: bool,
    /// The device that it is a port of.
    pub master: Option<u32>,
    /// It is a port of a bond or a team.
    pub bonded: bool,
    /// A pair's other end.
    pub peer: Option<Peer>,
}

/// Where a pair's other end is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// In this network namespace.
    Here(u32),
    /// In another one.
    Elsewhere,
}

/// An address with the length of its prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Assigned {
    /// The address.
    pub address: IpAddr,
    /// Bits of its prefix.
    pub prefix: u8,
}

/// What netlink told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A device came or changed.
    Link(Link),
    /// A device went.
    LinkGone(u32),
    /// A device got an address.
    Address(u32, Assigned),
    /// A device lost an address.
    AddressGone(u32, Assigned),
    /// A default route came or went: the routes have to be listed again.
    DefaultRoute,
}

/// What [`Inventory::apply`] can't know and has to be asked of the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ask {
    /// List the links again.
    pub links: bool,
    /// List the default routes again.
    pub routes: bool,
}

/// Everything that was heard of.
#[derive(Clone, Debug, Default)]
pub struct Inventory {
    links: BTreeMap<u32, (u64, Link)>,
    addresses: BTreeMap<u32, BTreeSet<Assigned>>,
    default_routes: BTreeSet<u32>,
    incarnations: u64,
}

impl Inventory {
    /// Takes in one change.
    pub fn apply(&mut self, change: Change) -> Ask {
        match change {
            Change::Link(link) => {
                self.put(link);
                Ask::default()
            }
            Change::LinkGone(ifindex) => {
                self.links.remove(&ifindex);
                self.addresses.remove(&ifindex);
                // A pair's end that moves to another namespace is gone here; nobody tells that the
                // other end's peer is elsewhere now.
                let widowed = |(_, link): &(u64, Link)| link.peer == Some(Peer::Here(ifindex));
                Ask {
                    links: self.links.values().any(widowed),
                    routes: self.default_routes.remove(&ifindex),
                }
            }
            Change::Address(ifindex, assigned) => {
                self.addresses.entry(ifindex).or_default().insert(assigned);
                Ask::default()
            }
            Change::AddressGone(ifindex, assigned) => {
                self.addresses.entry(ifindex).or_default().remove(&assigned);
                // The kernel drops IPv4 routes with the address they go by, and doesn't say so.
                Ask { links: false, routes: self.default_routes.contains(&ifindex) }
            }
            Change::DefaultRoute => Ask { links: false, routes: true },
        }
    }

    /// Replaces the devices by a complete list.
    pub fn set_links(&mut self, links: Vec<Link>) {
        let there: BTreeSet<u32> = links.iter().map(|link| link.ifindex).collect();
        self.links.retain(|ifindex, _| there.contains(ifindex));
        for link in links {
            self.put(link);
        }
    }

    /// Replaces the addresses by a complete list.
    pub fn set_addresses(&mut self, addresses: impl IntoIterator<Item = (u32, Assigned)>) {
        self.addresses.clear();
        for (ifindex, assigned) in addresses {
            self.addresses.entry(ifindex).or_default().insert(assigned);
        }
    }

    /// Replaces the devices that default routes leave by.
    pub fn set_default_routes(&mut self, devices: BTreeSet<u32>) {
        self.default_routes = devices;
    }

    /// The devices with a role, and the node's addresses.
    #[must_use]
    pub fn snapshot(&self, selector: &Selector) -> Snapshot {
        let devices = self
            .links
            .values()
            .filter_map(|(incarnation, link)| {
                let role = selector.role(&link.name, role::role(&self.facts(link)))?;
                Some(Device {
                    ifindex: link.ifindex,
                    incarnation: *incarnation,
                    name: link.name.clone(),
                    role,
                    ethernet: link.ethernet,
                    masquerade_v4: self.masquerade(link, v4),
                    masquerade_v6: self.masquerade(link, v6),
                })
            })
            .collect();
        let mut addresses: Vec<IpAddr> =
            self.addresses.values().flatten().map(|a| a.address).filter(is_global).collect();
        addresses.sort();
        addresses.dedup();
        Snapshot { devices, addresses }
    }

    fn put(&mut self, link: Link) {
        let incarnation = match self.links.get(&link.ifindex) {
            Some((incarnation, _)) => *incarnation,
            None => {
                self.incarnations += 1;
                self.incarnations
            }
        };
        self.links.insert(link.ifindex, (incarnation, link));
    }

    fn facts(&self, link: &Link) -> Facts {
        Facts {
            kind: link.kind,
            peer_elsewhere: link.peer == Some(Peer::Elsewhere),
            default_route: self.default_routes.contains(&link.ifindex),
            subnet: self
                .assigned(link.ifindex)
                .any(|a| is_global(&a.address) && a.has_neighbours()),
            bonded: link.bonded,
        }
    }

    fn assigned(&self, ifindex: u32) -> impl Iterator<Item = &Assigned> {
        self.addresses.get(&ifindex).into_iter().flatten()
    }

    /// The device's own address, or that of the bridge it is a port of, or that of a device with a
    /// default route.
    fn masquerade<A>(&self, link: &Link, family: fn(&Assigned) -> Option<A>) -> Option<A> {
        let of = |ifindex: u32| self.assigned(ifindex).find_map(family);
        of(link.ifindex)
            .or_else(|| link.master.and_then(of))
            .or_else(|| self.default_routes.iter().copied().find_map(of))
    }
}

impl Assigned {
    /// Its prefix holds other addresses.
    fn has_neighbours(&self) -> bool {
        self.prefix < if self.address.is_ipv4() { 32 } else { 128 }
    }
}

fn is_global(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !v4.is_loopback() && !v4.is_link_local(),
        IpAddr::V6(v6) => !v6.is_loopback() && !v6.is_unicast_link_local(),
    }
}

fn v4(assigned: &Assigned) -> Option<Ipv4Addr> {
    match assigned.address {
        IpAddr::V4(v4) if is_global(&assigned.address) => Some(v4),
        _ => None,
    }
}

fn v6(assigned: &Assigned) -> Option<Ipv6Addr> {
    match assigned.address {
        IpAddr::V6(v6) if is_global(&assigned.address) => Some(v6),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proxy_common::DeviceRole::{Uplink, Workload};

    use super::{Ask, Assigned, Change, Inventory, Link, Peer};
    use crate::devices::{role::Kind, selector::Selector};

    fn link(ifindex: u32, name: &str, kind: Kind, peer: Option<Peer>) -> Link {
        let name = name.to_owned();
        Link { ifindex, name, kind, ethernet: true, master: None, bonded: false, peer }
    }

    fn assigned(text: &str, prefix: u8) -> Assigned {
        Assigned { address: text.parse().unwrap(), prefix }
    }

    #[test]
    fn a_pod_is_known_once_its_end_has_moved_away() {
        let mut inventory = Inventory::default();
        inventory.apply(Change::Link(link(5, "veth5", Kind::Pair, Some(Peer::Here(6)))));
        inventory.apply(Change::Link(link(6, "eth0", Kind::Pair, Some(Peer::Here(5)))));
        assert!(inventory.snapshot(&Selector::default()).devices.is_empty());
        let ask = inventory.apply(Change::LinkGone(6));
        assert_eq!(ask, Ask { links: true, routes: false });
        inventory.set_links(vec![link(5, "veth5", Kind::Pair, Some(Peer::Elsewhere))]);
        let devices = inventory.snapshot(&Selector::default()).devices;
        assert_eq!((devices[0].ifindex, devices[0].role), (5, Workload));
    }

    #[test]
    fn a_device_that_comes_back_under_its_old_number_is_another_one() {
        let mut inventory = Inventory::default();
        let veth = link(5, "veth5", Kind::Pair, Some(Peer::Elsewhere));
        inventory.apply(Change::Link(veth.clone()));
        let first = inventory.snapshot(&Selector::default());
        inventory.apply(Change::Link(veth.clone()));
        assert_eq!(inventory.snapshot(&Selector::default()), first);
        inventory.apply(Change::LinkGone(5));
        inventory.apply(Change::Link(veth));
        assert_ne!(inventory.snapshot(&Selector::default()), first);
    }

    #[test]
    fn an_address_of_its_own_makes_no_uplink_of_a_pod_but_a_subnet_does() {
        let mut inventory = Inventory::default();
        inventory.apply(Change::Link(link(5, "veth5", Kind::Pair, Some(Peer::Elsewhere))));
        inventory.apply(Change::Address(5, assigned("10.1.0.1", 32)));
        inventory.apply(Change::Address(5, assigned("fe80::1", 64)));
        assert_eq!(inventory.snapshot(&Selector::default()).devices[0].role, Workload);
        inventory.apply(Change::Address(5, assigned("192.0.2.1", 24)));
        assert_eq!(inventory.snapshot(&Selector::default()).devices[0].role, Uplink);
    }

    #[test]
    fn a_bridge_port_is_masqueraded_to_the_bridge_and_others_to_the_node() {
        let mut inventory = Inventory::default();
        let port = Link { master: Some(2), ..link(5, "veth5", Kind::Pair, Some(Peer::Elsewhere)) };
        inventory.apply(Change::Link(port));
        inventory.apply(Change::Link(link(6, "veth6", Kind::Pair, Some(Peer::Elsewhere))));
        inventory.apply(Change::Link(link(3, "eth0", Kind::Physical, None)));
        inventory.apply(Change::Address(2, assigned("10.1.0.1", 24)));
        inventory.apply(Change::Address(3, assigned("192.0.2.7", 24)));
        inventory.set_default_routes(BTreeSet::from([3]));
        let snapshot = inventory.snapshot(&Selector::default());
        let by_name = |name| snapshot.devices.iter().find(|d| d.name == name).unwrap();
        assert_eq!(by_name("veth5").masquerade_v4, Some([10, 1, 0, 1].into()));
        assert_eq!(by_name("veth6").masquerade_v4, Some([192, 0, 2, 7].into()));
        assert_eq!(by_name("eth0").masquerade_v6, None);
        assert_eq!(snapshot.addresses.len(), 2);
    }
}
