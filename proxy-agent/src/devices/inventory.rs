//! The devices, addresses and default routes of this network namespace, as last heard of.
//!
//! Pure: takes in [`Change`]s, gives out a [`Snapshot`]. Kept by [`crate::devices::watch`], which
//! speaks netlink.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use proxy_common::DeviceRole;

use super::{
    Device, Snapshot,
    addresses::{Addresses, Assigned, is_global},
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

/// A device that a default route leaves by, the preferred route first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DefaultRoute {
    /// The route's metric: the lower, the better.
    pub metric: u32,
    /// The device.
    pub ifindex: u32,
}

/// What netlink told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A device came or changed.
    Link(Link),
    /// A device went.
    LinkGone(u32),
    /// A device got an address, or what is said of it changed.
    Address(u32, Assigned),
    /// A device lost an address.
    AddressGone(u32, IpAddr),
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
    addresses: BTreeMap<u32, Addresses>,
    default_routes: BTreeSet<DefaultRoute>,
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
                let routed = self.has_default_route(ifindex);
                self.default_routes.retain(|route| route.ifindex != ifindex);
                Ask { links: self.links.values().any(widowed), routes: routed }
            }
            Change::Address(ifindex, assigned) => {
                self.addresses.entry(ifindex).or_default().put(assigned);
                Ask::default()
            }
            Change::AddressGone(ifindex, address) => {
                self.addresses.entry(ifindex).or_default().remove(address);
                // The kernel drops IPv4 routes with the address they go by, and doesn't say so.
                Ask { links: false, routes: self.has_default_route(ifindex) }
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
            self.addresses.entry(ifindex).or_default().put(assigned);
        }
    }

    /// Replaces the default routes.
    pub fn set_default_routes(&mut self, routes: BTreeSet<DefaultRoute>) {
        self.default_routes = routes;
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
                    masquerade_v4: self.masquerade(link, Addresses::primary_v4),
                    masquerade_v6: self.masquerade(link, Addresses::primary_v6),
                })
            })
            .collect();
        Snapshot { devices, addresses: self.node_addresses() }
    }

    /// Every address that others can reach the node by.
    fn node_addresses(&self) -> Vec<IpAddr> {
        let of_the_node = |ifindex: &u32| {
            self.links.get(ifindex).is_none_or(|(_, link)| link.name != IPVS_DEVICE)
        };
        let mut addresses: Vec<IpAddr> = self
            .addresses
            .iter()
            .filter(|(ifindex, _)| of_the_node(ifindex))
            .flat_map(|(_, addresses)| addresses.usable())
            .filter(is_global)
            .collect();
        addresses.sort_unstable();
        addresses.dedup();
        addresses
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
            default_route: self.has_default_route(link.ifindex),
            subnet: self.addresses.get(&link.ifindex).is_some_and(Addresses::has_subnet),
            bonded: link.bonded,
        }
    }

    fn has_default_route(&self, ifindex: u32) -> bool {
        self.default_routes.iter().any(|route| route.ifindex == ifindex)
    }

    /// The device's own primary address, or that of the bridge it is a port of, or the node's: that
    /// of the device that the best default route leaves by, or of the first device towards other
    /// machines.
    fn masquerade<A>(&self, link: &Link, primary: fn(&Addresses) -> Option<A>) -> Option<A> {
        let of = |ifindex: u32| self.addresses.get(&ifindex).and_then(primary);
        let is_uplink = |link: &Link| role::role(&self.facts(link)) == Some(DeviceRole::Uplink);
        of(link.ifindex)
            .or_else(|| link.master.and_then(of))
            .or_else(|| self.default_routes.iter().find_map(|route| of(route.ifindex)))
            .or_else(|| {
                let mut links = self.links.values().map(|(_, link)| link);
                links.find_map(|link| of(link.ifindex).filter(|_| is_uplink(link)))
            })
    }
}

/// The device on which kube-proxy's IPVS mode keeps every frontend's address; they are not the
/// node's, also when it has left them behind.
const IPVS_DEVICE: &str = "kube-ipvs0";

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proxy_common::DeviceRole::{Uplink, Workload};

    use super::{Ask, Assigned, Change, DefaultRoute, Inventory, Link, Peer};
    use crate::devices::{addresses::Standing, role::Kind, selector::Selector};

    fn link(ifindex: u32, name: &str, kind: Kind, peer: Option<Peer>) -> Link {
        let name = name.to_owned();
        Link { ifindex, name, kind, ethernet: true, master: None, bonded: false, peer }
    }

    fn assigned(text: &str, prefix: u8) -> Assigned {
        Assigned { address: text.parse().unwrap(), prefix, standing: Standing::Primary }
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
        inventory.set_default_routes(BTreeSet::from([DefaultRoute { metric: 0, ifindex: 3 }]));
        let snapshot = inventory.snapshot(&Selector::default());
        let by_name = |name| snapshot.devices.iter().find(|d| d.name == name).unwrap();
        assert_eq!(by_name("veth5").masquerade_v4, Some([10, 1, 0, 1].into()));
        assert_eq!(by_name("veth6").masquerade_v4, Some([192, 0, 2, 7].into()));
        assert_eq!(by_name("eth0").masquerade_v6, None);
        assert_eq!(snapshot.addresses.len(), 2);
    }

    #[test]
    fn the_best_default_route_says_which_address_is_the_nodes() {
        let mut inventory = Inventory::default();
        inventory.apply(Change::Link(link(2, "wg0", Kind::Network, None)));
        inventory.apply(Change::Link(link(3, "wlan0", Kind::Physical, None)));
        inventory.apply(Change::Link(link(4, "eth0", Kind::Physical, None)));
        inventory.apply(Change::Address(3, assigned("192.0.2.3", 24)));
        inventory.apply(Change::Address(4, assigned("192.0.2.4", 24)));
        let route = |metric, ifindex| DefaultRoute { metric, ifindex };
        inventory.set_default_routes(BTreeSet::from([route(600, 3), route(100, 4)]));
        let snapshot = inventory.snapshot(&Selector::default());
        assert_eq!(snapshot.devices[0].masquerade_v4, Some([192, 0, 2, 4].into()));
        assert_eq!(snapshot.devices[1].masquerade_v4, Some([192, 0, 2, 3].into()));
    }

    #[test]
    fn without_a_default_route_the_first_uplink_speaks_for_the_node() {
        let mut inventory = Inventory::default();
        inventory.apply(Change::Link(link(2, "veth2", Kind::Pair, Some(Peer::Elsewhere))));
        inventory.apply(Change::Link(link(3, "docker0", Kind::Aggregate, None)));
        inventory.apply(Change::Link(link(4, "eth0", Kind::Physical, None)));
        inventory.apply(Change::Address(3, assigned("172.17.0.1", 16)));
        inventory.apply(Change::Address(4, assigned("192.0.2.4", 24)));
        let snapshot = inventory.snapshot(&Selector::default());
        assert_eq!(snapshot.devices[0].masquerade_v4, Some([192, 0, 2, 4].into()));
    }

    #[test]
    fn a_node_has_the_addresses_that_others_can_reach_it_by() {
        let mut inventory = Inventory::default();
        inventory.apply(Change::Link(link(1, "lo", Kind::Loopback, None)));
        inventory.apply(Change::Link(link(3, "eth0", Kind::Physical, None)));
        inventory.apply(Change::Link(link(4, "kube-ipvs0", Kind::Aggregate, None)));
        for (ifindex, text) in [
            (1, "127.0.0.1"),
            (1, "203.0.113.1"),
            (3, "192.0.2.7"),
            (3, "fe80::7"),
            (4, "10.96.0.1"),
        ] {
            inventory.apply(Change::Address(ifindex, assigned(text, 32)));
        }
        let addresses = |inventory: &Inventory| inventory.snapshot(&Selector::default()).addresses;
        let expected = ["192.0.2.7", "203.0.113.1"].map(|text| text.parse().unwrap());
        assert_eq!(addresses(&inventory), expected);
        inventory.apply(Change::AddressGone(3, expected[0]));
        assert_eq!(addresses(&inventory), expected[1..]);
    }
}
