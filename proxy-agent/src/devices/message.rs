//! From netlink messages to [`Change`]s. Knows the message types of `rtnetlink`, decides nothing.
//!
//! Called by [`crate::devices::watch`].

use std::collections::BTreeSet;

use rtnetlink::packet_route::{
    RouteNetlinkMessage,
    address::{AddressAttribute, AddressMessage},
    link::{
        InfoKind, InfoPortKind, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage,
    },
    route::{RouteAttribute, RouteMessage, RouteType},
};

use super::{
    inventory::{Assigned, Change, Link, Peer},
    role::Kind,
};

/// What a notification says, if it says something that matters.
pub(super) fn change(message: &RouteNetlinkMessage) -> Option<Change> {
    match message {
        RouteNetlinkMessage::NewLink(message) => link(message).map(Change::Link),
        // A bridge says goodbye to its ports in messages of its own family.
        RouteNetlinkMessage::DelLink(message) => (u8::from(message.header.interface_family) == 0)
            .then_some(Change::LinkGone(message.header.index)),
        RouteNetlinkMessage::NewAddress(message) => {
            address(message).map(|(ifindex, assigned)| Change::Address(ifindex, assigned))
        }
        RouteNetlinkMessage::DelAddress(message) => {
            address(message).map(|(ifindex, assigned)| Change::AddressGone(ifindex, assigned))
        }
        RouteNetlinkMessage::NewRoute(message) | RouteNetlinkMessage::DelRoute(message) => {
            (!default_route(message).is_empty()).then_some(Change::DefaultRoute)
        }
        _ => None,
    }
}

/// A device; `None` when it has no name, and for messages of a bridge about its ports.
pub(super) fn link(message: &LinkMessage) -> Option<Link> {
    if u8::from(message.header.interface_family) != 0 {
        return None;
    }
    let ethernet = message.header.link_layer_type == LinkLayerType::Ether;
    let mut name = None;
    let mut master = None;
    let mut peer = None;
    let mut elsewhere = false;
    let mut info = None;
    let mut bonded = false;
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(text) => name = Some(text.clone()),
            LinkAttribute::Controller(ifindex) => master = Some(*ifindex).filter(|i| *i != 0),
            LinkAttribute::Link(ifindex) => peer = Some(Peer::Here(*ifindex)),
            LinkAttribute::LinkNetNsId(_) => elsewhere = true,
            LinkAttribute::LinkInfo(parts) => {
                for part in parts {
                    match part {
                        LinkInfo::Kind(kind) => info = Some(kind),
                        LinkInfo::PortKind(InfoPortKind::Bond | InfoPortKind::Team) => {
                            bonded = true;
                        }
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    let loopback = message.header.flags.contains(LinkFlags::Loopback);
    Some(Link {
        ifindex: message.header.index,
        name: name?,
        kind: if loopback { Kind::Loopback } else { kind(info, ethernet) },
        ethernet,
        master,
        bonded,
        peer: if elsewhere { Some(Peer::Elsewhere) } else { peer },
    })
}

fn kind(info: Option<&InfoKind>, ethernet: bool) -> Kind {
    match info {
        None => Kind::Physical,
        Some(InfoKind::Veth | InfoKind::Netkit) => Kind::Pair,
        // One kind for both: a tap has Ethernet headers, a tun has not.
        Some(InfoKind::Tun) if ethernet => Kind::Tap,
        Some(
            InfoKind::Bridge
            | InfoKind::Dummy
            | InfoKind::Ifb
            | InfoKind::Nlmon
            | InfoKind::Vrf
            | InfoKind::Can
            | InfoKind::Vcan
            | InfoKind::Vxcan
            | InfoKind::Netdevsim,
        ) => Kind::Aggregate,
        Some(InfoKind::MacVlan | InfoKind::MacVtap | InfoKind::IpVlan | InfoKind::IpVtap) => {
            Kind::Stacked
        }
        Some(_) => Kind::Network,
    }
}

/// A device's number, and an address of it.
pub(super) fn address(message: &AddressMessage) -> Option<(u32, Assigned)> {
    // On a point-to-point device IFA_ADDRESS is the other end's; IFA_LOCAL is ours.
    let local = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    let address = local.or_else(|| {
        message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        })
    })?;
    Some((message.header.index, Assigned { address, prefix: message.header.prefix_len }))
}

/// The devices that a route leaves by, if it is a default route.
pub(super) fn default_route(message: &RouteMessage) -> BTreeSet<u32> {
    let mut devices = BTreeSet::new();
    if message.header.destination_prefix_length != 0 || message.header.kind != RouteType::Unicast {
        return devices;
    }
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Oif(ifindex) => {
                devices.insert(*ifindex);
            }
            RouteAttribute::MultiPath(hops) => {
                devices.extend(hops.iter().map(|hop| hop.interface_index));
            }
            _ => {}
        }
    }
    devices
}
