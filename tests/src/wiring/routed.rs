//! Wiring by hand: a routed veth pair whose host side has no address of the pod's network.

use std::net::{Ipv4Addr, Ipv6Addr};

use anyhow::Result;

use super::POD_DEVICE;
use crate::{Addresses, Host, Node};

/// The next hop of every pod; answered by proxy ARP.
const GATEWAY_V4: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
/// The next hop of every pod; the same link-local address on every host side.
const GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

/// Joins `pod` to `node`.
pub(super) fn add(node: &Node, pod: &Host) -> Result<Addresses> {
    let host_side = format!("cali-{}", pod.name());
    let number = node.next_pod();
    let addresses = Addresses {
        v4: Ipv4Addr::new(10, 244, node.number(), number),
        v6: Ipv6Addr::new(0xfd00, 0x10, 0x244, node.number().into(), 0, 0, 0, number.into()),
    };
    let Addresses { v4, v6 } = addresses;
    let (path, mtu) = (pod.namespace().path().display(), node.pod_mtu());
    node.namespace().ip(&format!(
        "link add name {host_side} mtu {mtu} type veth peer name {POD_DEVICE} netns {path} mtu {mtu}
         address add {GATEWAY_V6}/64 dev {host_side} nodad
         link set {host_side} up
         route add {v4}/32 dev {host_side}
         route add {v6}/128 dev {host_side}"
    ))?;
    node.namespace().set_parameters(&[(&format!("ipv4/conf/{host_side}/proxy_arp"), "1")])?;
    pod.namespace().ip(&format!(
        "link set {POD_DEVICE} up
         address add {v4}/32 dev {POD_DEVICE}
         address add {v6}/128 dev {POD_DEVICE} nodad
         route add {GATEWAY_V4} dev {POD_DEVICE} scope link
         route add default via {GATEWAY_V4}
         route add default via {GATEWAY_V6} dev {POD_DEVICE}"
    ))?;
    Ok(addresses)
}
