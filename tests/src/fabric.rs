//! The network between nodes: one layer-2 segment, in a namespace of its own.
//!
//! Every member has a device `uplink` on it, and a default route to the fabric's own address, which
//! forwards nothing: a packet that leaks out of a node ends there and can be seen.
//! Called by [`crate::lab`].

use std::{
    path::Path,
    sync::{Arc, Mutex},
};

use anyhow::Result;

use crate::{
    Addresses, NetNs,
    addresses::{FABRIC_PREFIX_LENGTHS, pod_cidrs},
};

const GATEWAY: Addresses = Addresses::on_fabric(1);

/// The device that joins a host to the fabric.
pub(crate) const UPLINK: &str = "uplink";

/// The segment.
pub(crate) struct Fabric {
    namespace: NetNs,
    members: Mutex<Vec<Member>>,
}

/// A host on the segment.
struct Member {
    namespace: Arc<NetNs>,
    addresses: Addresses,
    /// The number of a node, whose pods are reached through it.
    node: Option<u8>,
}

impl Fabric {
    /// A segment without members.
    pub(crate) fn create(namespaces: &Path) -> Result<Self> {
        let namespace = NetNs::create(namespaces.join("fabric"))?;
        silence_duplicate_address_detection(&namespace)?;
        let (v4, v6) = FABRIC_PREFIX_LENGTHS;
        let Addresses { v4: gateway_v4, v6: gateway_v6 } = GATEWAY;
        namespace.ip(&format!(
            "link add name fabric type bridge mcast_snooping 0
             link set fabric up
             address add {gateway_v4}/{v4} dev fabric
             address add {gateway_v6}/{v6} dev fabric nodad"
        ))?;
        Ok(Self { namespace, members: Mutex::new(Vec::new()) })
    }

    /// The namespace, to watch what crosses the fabric.
    pub(crate) fn namespace(&self) -> &NetNs {
        &self.namespace
    }

    /// Joins a host; `node` is its number if pods are reached through it. Routes to pods are added
    /// here and at every other member.
    pub(crate) fn join(
        &self,
        host: &Arc<NetNs>,
        name: &str,
        addresses: Addresses,
        node: Option<u8>,
    ) -> Result<()> {
        let mut members = self.members.lock().expect("no thread panics while it joins a host");
        let (v4, v6) = FABRIC_PREFIX_LENGTHS;
        let path = host.path().display();
        self.namespace.ip(&format!(
            "link add name {name} type veth peer name {UPLINK} netns {path}
             link set dev {name} master fabric up"
        ))?;
        let mut lines = format!(
            "link set {UPLINK} up
             address add {}/{v4} dev {UPLINK}
             address add {}/{v6} dev {UPLINK} nodad
             route add default via {}
             route add default via {}\n",
            addresses.v4, addresses.v6, GATEWAY.v4, GATEWAY.v6
        );
        for other in members.iter() {
            lines += &routes(other);
        }
        host.ip(&lines)?;
        let member = Member { namespace: Arc::clone(host), addresses, node };
        if member.node.is_some() {
            for other in members.iter() {
                other.namespace.ip(&routes(&member))?;
            }
        }
        members.push(member);
        Ok(())
    }
}

/// Lines of `ip` that route to the pods behind `member`.
fn routes(member: &Member) -> String {
    let Some(node) = member.node else { return String::new() };
    let [v4, v6] = pod_cidrs(node);
    let Addresses { v4: via_v4, v6: via_v6 } = member.addresses;
    format!("route add {v4} via {via_v4}\nroute add {v6} via {via_v6}\n")
}

/// Makes IPv6 addresses usable at once.
pub(crate) fn silence_duplicate_address_detection(namespace: &NetNs) -> Result<()> {
    namespace.set_parameters(&[
        ("ipv6/conf/all/accept_dad", "0"),
        ("ipv6/conf/default/accept_dad", "0"),
        ("ipv6/conf/all/dad_transmits", "0"),
        ("ipv6/conf/default/dad_transmits", "0"),
    ])
}
