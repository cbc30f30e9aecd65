//! The network between nodes and outside hosts, in a namespace of its own.
//!
//! Every member has a device `uplink` towards it, and a default route that ends at it: it forwards
//! nothing but what is for a member, so a packet that leaks out of a node ends there and can be
//! seen. What the device `uplink` is, and how pods of other nodes are reached, is the lab's
//! [`Uplink`]. Called by [`crate::lab`].

mod tun;
mod uplink;
mod wireguard;

use std::{
    path::Path,
    sync::{Arc, Mutex, MutexGuard},
};

use anyhow::{Context as _, Result};

use crate::{
    Addresses, NetNs,
    addresses::{FABRIC_PREFIX_LENGTHS, pod_cidrs},
};

use tun::Relay;
pub use uplink::Uplink;

const GATEWAY: Addresses = Addresses::on_fabric(1);

/// The device that joins a host to the fabric.
pub(crate) const UPLINK: &str = "uplink";

/// The network.
pub(crate) struct Fabric {
    namespace: NetNs,
    uplink: Uplink,
    members: Mutex<Vec<Member>>,
}

/// A host on the network.
struct Member {
    name: String,
    namespace: Arc<NetNs>,
    addresses: Addresses,
    /// The number of a node, whose pods are reached through it.
    node: Option<u8>,
    /// Carries its packets, where the kernel doesn't.
    _relay: Option<Relay>,
}

impl Fabric {
    /// A network without members.
    pub(crate) fn create(namespaces: &Path, uplink: Uplink) -> Result<Self> {
        let namespace = NetNs::create(namespaces.join("fabric"))?;
        silence_duplicate_address_detection(&namespace)?;
        uplink.prepare(&namespace)?;
        Ok(Self { namespace, uplink, members: Mutex::new(Vec::new()) })
    }

    /// The namespace, to watch what crosses the fabric.
    pub(crate) fn namespace(&self) -> &NetNs {
        &self.namespace
    }

    /// The kind of uplink.
    pub(crate) fn uplink(&self) -> Uplink {
        self.uplink
    }

    /// The members, by name.
    pub(crate) fn hosts(&self) -> Vec<(String, Arc<NetNs>)> {
        let members = self.members();
        members.iter().map(|host| (host.name.clone(), Arc::clone(&host.namespace))).collect()
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
        let relay = self.uplink.connect(&self.namespace, host, name)?;
        let (v4, v6) = FABRIC_PREFIX_LENGTHS;
        host.ip(&format!(
            "link set dev {UPLINK} up
             address add {}/{v4} dev {UPLINK}
             address add {}/{v6} dev {UPLINK} nodad\n{}",
            addresses.v4,
            addresses.v6,
            self.uplink.default_routes()
        ))?;
        let member = Member {
            name: name.to_owned(),
            namespace: Arc::clone(host),
            addresses,
            node,
            _relay: relay,
        };
        let mut members = self.members();
        self.uplink.introduce(&self.namespace, &member, &members)?;
        members.push(member);
        Ok(())
    }

    /// Routes `prefixes` to the member `name`, from every member that is no node.
    pub(crate) fn route(&self, prefixes: &[&str], name: &str) -> Result<()> {
        let members = self.members();
        self.uplink.route(&self.namespace, prefixes, find(&members, name)?, &members)
    }

    /// Gives the member `name` more addresses on the fabric, or takes them away again.
    pub(crate) fn change_addresses(
        &self,
        change: AddressChange,
        addresses: Addresses,
        name: &str,
    ) -> Result<()> {
        // Deprecated: never the kernel's own choice of a source.
        let (verb, options) = match change {
            AddressChange::Give => ("add", "nodad preferred_lft 0"),
            AddressChange::Take => ("del", ""),
        };
        let members = self.members();
        let member = find(&members, name)?;
        let (v4, v6) = FABRIC_PREFIX_LENGTHS;
        member.namespace.ip(&format!(
            "address {verb} {}/{v4} dev {UPLINK}
             address {verb} {}/{v6} dev {UPLINK} {options}",
            addresses.v4, addresses.v6
        ))?;
        if self.uplink.is_bare() {
            let lines =
                addresses.both().map(|address| format!("route {verb} {address} dev {name}"));
            self.namespace.ip(&lines.join("\n"))?;
        }
        Ok(())
    }

    fn members(&self) -> MutexGuard<'_, Vec<Member>> {
        self.members.lock().expect("no thread panics while it joins a host")
    }
}

/// What becomes of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AddressChange {
    Give,
    Take,
}

fn find<'a>(members: &'a [Member], name: &str) -> Result<&'a Member> {
    let found = members.iter().find(|member| member.name == name);
    found.with_context(|| format!("no host {name} is on the fabric"))
}

impl Member {
    /// The prefixes of the pods behind it.
    fn pods(&self) -> Vec<String> {
        self.node.map(|node| pod_cidrs(node).to_vec()).unwrap_or_default()
    }

    /// Lines of `ip` that route `prefixes` to it, from another member on the same segment.
    fn routes<'a>(&self, prefixes: impl IntoIterator<Item = &'a str>) -> String {
        let via = |prefix: &str| -> std::net::IpAddr {
            if prefix.contains(':') { self.addresses.v6.into() } else { self.addresses.v4.into() }
        };
        prefixes
            .into_iter()
            .map(|prefix| format!("route add {prefix} via {}\n", via(prefix)))
            .collect()
    }
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
