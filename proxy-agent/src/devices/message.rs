//! From netlink messages to [`Change`]s. Knows the message types of `rtnetlink`, decides nothing.
//!
//! Called by [`crate::devices::watch`].

use std::collections::BTreeSet;

use rtnetlink::packet_route::{
    RouteNetlinkMessage,
    address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope},
    link::{
        InfoKind, InfoPortKind, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage,
    },
    route::{RouteAttribute, RouteMessage, RouteType},
};

use super::{
    addresses::{Assigned, Standing},
    inventory::{Change, DefaultRoute, Link, Peer},
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
        RouteNetlinkMessage::DelAddress(message) => address(message)
            .map(|(ifindex, assigned)| Change::AddressGone(ifindex, assigned.address)),
        RouteNetlinkMessage::NewRoute(message) | RouteNetlinkMessage::DelRoute(message) => {
            (!default_routes(message).is_empty()).then_some(Change::DefaultRoute)
        }
        _ => None,
    }
}

/// A device; `None` when it has no name, and for messages of a bridge about its ports.
pub(super) fn link(message: &LinkMessage) -> Option<Link> {
    if u8::from(message.header.interface_family) != 0 {
        return None;
    }
    let layer = message.header.link_layer_type;
    let ethernet = layer == LinkLayerType::Ether;
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
    let kind = if loopback {
        Kind::Loopback
    } else if ethernet || starts_with_ip(layer) {
        kind(info, ethernet)
    } else {
        Kind::Foreign
    };
    Some(Link {
        ifindex: message.header.index,
        name: name?,
        kind,
        ethernet,
        master,
        bonded,
        peer: if elsewhere { Some(Peer::Elsewhere) } else { peer },
    })
}

/// Whether packets of such a device have no header in front of the IP header at tc's hooks.
fn starts_with_ip(layer: LinkLayerType) -> bool {
    matches!(
        layer,
        LinkLayerType::None
            | LinkLayerType::Rawip
            | LinkLayerType::Ppp
            | LinkLayerType::Tunnel
            | LinkLayerType::Tunnel6
            | LinkLayerType::Sit
            | LinkLayerType::Ipgre
            | LinkLayerType::Ip6gre
    )
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
    let prefix = message.header.prefix_len;
    Some((message.header.index, Assigned { address, prefix, standing: standing(message) }))
}

fn standing(message: &AddressMessage) -> Standing {
    // The header has room for the first eight flags only, and the attribute has all of them.
    let flags = message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            AddressAttribute::Flags(flags) => Some(*flags),
            _ => None,
        })
        .unwrap_or(AddressFlags::from_bits_retain(message.header.flags.bits().into()));
    // An optimistic address may be used while it is checked (RFC 4429).
    let checking =
        flags.contains(AddressFlags::Tentative) && !flags.contains(AddressFlags::Optimistic);
    if checking || flags.contains(AddressFlags::Dadfailed) {
        Standing::Unusable
    } else if flags.contains(AddressFlags::Deprecated) {
        Standing::Deprecated
    } else if message.header.scope != AddressScope::Universe {
        Standing::Limited
    } else if flags.contains(AddressFlags::Secondary) {
        // Of IPv6, the same bit says "temporary" (RFC 8981).
        Standing::Secondary
    } else {
        Standing::Primary
    }
}

/// The devices that a route leaves by, if it is a default route.
pub(super) fn default_routes(message: &RouteMessage) -> BTreeSet<DefaultRoute> {
    let mut routes = BTreeSet::new();
    if message.header.destination_prefix_length != 0 || message.header.kind != RouteType::Unicast {
        return routes;
    }
    let metric = message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Priority(metric) => Some(*metric),
        _ => None,
    });
    let route = |ifindex| DefaultRoute { metric: metric.unwrap_or_default(), ifindex };
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Oif(ifindex) => {
                routes.insert(route(*ifindex));
            }
            RouteAttribute::MultiPath(hops) => {
                routes.extend(hops.iter().map(|hop| route(hop.interface_index)));
            }
            _ => {}
        }
    }
    routes
}
