//! Kinds of uplink: what the device towards other machines is, and how pods of other nodes are
//! reached.

use std::fmt;

use anyhow::Result;

use super::{GATEWAY, Member, Relay, UPLINK, wireguard};
use crate::{
    Addresses, NetNs,
    addresses::{FABRIC_PREFIX_LENGTHS, pod_cidrs},
};

/// The overlay's device on every node.
const OVERLAY: &str = "overlay";
/// The VLAN of [`Uplink::Vlan`].
const VLAN: u16 = 5;

/// The fabric's routing table for what outside hosts send to Services.
const CLIENTS: u8 = 100;

/// What a CNI with an overlay does about packets of pods to the rest of the world, which knows no way
/// back to a pod.
const MASQUERADE: &str = "
table inet cni-overlay {
    chain postrouting {
        type nat hook postrouting priority srcnat;
        ip saddr 10.244.0.0/16 ip daddr != 10.244.0.0/16 masquerade
        ip6 saddr fd00:10:244::/48 ip6 daddr != fd00:10:244::/48 masquerade
    }
}
";

/// A kind of uplink.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Uplink {
    /// An Ethernet device. Pods of other nodes are routed over it.
    Ethernet,
    /// A VLAN on an Ethernet device that has no address itself.
    Vlan,
    /// A bond of two Ethernet devices, one of them in use.
    Bond,
    /// An Ethernet device, and a VXLAN overlay between the nodes for pods, as Flannel makes it: what
    /// pods send elsewhere is masqueraded by netfilter.
    Vxlan,
    /// A layer-3-only device: packets start with the IP header.
    Tun,
    /// The same, and every packet is encrypted on its way.
    Wireguard,
}

impl Uplink {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Ethernet, Self::Vlan, Self::Bond, Self::Vxlan, Self::Tun, Self::Wireguard];

    /// Whether packets have no link-layer header: then there are no neighbours, and routes end at a
    /// device.
    pub(super) const fn is_bare(self) -> bool {
        matches!(self, Self::Tun | Self::Wireguard)
    }

    /// Whether this kernel has such devices.
    pub fn is_available(self) -> Result<bool> {
        let scratch = tempfile::tempdir()?;
        let namespace = NetNs::create(scratch.path().join("namespace"))?;
        Ok(match self {
            Self::Ethernet => true,
            Self::Vlan => {
                namespace.ip("link add x type veth peer name y")?;
                namespace.ip(&format!("link add link x name z type vlan id {VLAN}")).is_ok()
            }
            Self::Bond => namespace.ip("link add x type bond mode active-backup").is_ok(),
            Self::Vxlan => namespace.ip("link add x type vxlan id 1 dstport 4789").is_ok(),
            Self::Tun => crate::ioctl::make_tun(&namespace, "x").is_ok(),
            Self::Wireguard => namespace.ip("link add x type wireguard").is_ok(),
        })
    }

    /// The MTU of pods' devices.
    pub(crate) fn pod_mtu(self) -> u16 {
        match self {
            // What VXLAN's headers leave of 1500.
            Self::Vxlan => 1450,
            _ => 1500,
        }
    }

    /// Readies the namespace of the fabric.
    pub(super) fn prepare(self, fabric: &NetNs) -> Result<()> {
        let Addresses { v4: gateway_v4, v6: gateway_v6 } = GATEWAY;
        if self.is_bare() {
            fabric.set_parameters(&[
                ("ipv4/ip_forward", "1"),
                ("ipv6/conf/all/forwarding", "1"),
                ("ipv6/conf/default/forwarding", "1"),
                // Judging sources is the nodes' business.
                ("ipv4/conf/all/rp_filter", "0"),
                ("ipv4/conf/default/rp_filter", "0"),
            ])?;
            return fabric.ip(&format!(
                "address add {gateway_v4}/32 dev lo
                 address add {gateway_v6}/128 dev lo nodad
                 route add blackhole 0.0.0.0/0
                 route add blackhole ::/0"
            ));
        }
        let (v4, v6) = FABRIC_PREFIX_LENGTHS;
        fabric.ip(&format!(
            "link add name fabric type bridge mcast_snooping 0
             link set fabric up
             address add {gateway_v4}/{v4} dev fabric
             address add {gateway_v6}/{v6} dev fabric nodad
             route add blackhole ::/0"
        ))
    }

    /// Makes the device `uplink` in `host`, and its other end `name` in the fabric.
    pub(super) fn connect(self, fabric: &NetNs, host: &NetNs, name: &str) -> Result<Option<Relay>> {
        let path = host.path().display();
        let in_bridge = format!("link set dev {name} master fabric up");
        match self {
            Self::Ethernet | Self::Vxlan => fabric.ip(&format!(
                "link add name {name} type veth peer name {UPLINK} netns {path}
                 {in_bridge}"
            ))?,
            Self::Vlan => {
                fabric.ip(&format!(
                    "link add name {name}-tag type veth peer name port0 netns {path}
                     link set dev {name}-tag up
                     link add link {name}-tag name {name} type vlan id {VLAN}
                     {in_bridge}"
                ))?;
                host.ip(&format!(
                    "link set dev port0 up
                     link add link port0 name {UPLINK} type vlan id {VLAN}"
                ))?;
            }
            Self::Bond => {
                fabric.ip(&format!(
                    "link add name {name} type veth peer name port0 netns {path}
                     link add name {name}-2 type veth peer name port1 netns {path}
                     {in_bridge}
                     link set dev {name}-2 master fabric up"
                ))?;
                host.ip(&format!(
                    "link add name {UPLINK} type bond mode active-backup primary port0 miimon 100
                     link set dev port0 master {UPLINK}
                     link set dev port1 master {UPLINK}"
                ))?;
            }
            Self::Tun => {
                let relay = Relay::start(fabric, name, host, UPLINK)?;
                fabric.ip(&format!("link set dev {name} up"))?;
                return Ok(Some(relay));
            }
            Self::Wireguard => {
                wireguard::connect(fabric, name, host, UPLINK)?;
                fabric.ip(&format!("link set dev {name} up"))?;
            }
        }
        Ok(None)
    }

    /// Lines of `ip` for a member's way to everywhere else.
    pub(super) fn default_routes(self) -> String {
        match self {
            Self::Tun | Self::Wireguard => {
                format!("route add 0.0.0.0/0 dev {UPLINK}\nroute add ::/0 dev {UPLINK}\n")
            }
            _ => format!(
                "route add default via {}\nroute add default via {}\n",
                GATEWAY.v4, GATEWAY.v6
            ),
        }
    }

    /// Makes a new member and its pods known to the others, and them to it.
    pub(super) fn introduce(self, fabric: &NetNs, new: &Member, others: &[Member]) -> Result<()> {
        match self {
            Self::Ethernet | Self::Vlan | Self::Bond => {
                let mut lines = String::new();
                for other in others {
                    lines += &other.routes(other.pods().iter().map(String::as_str));
                    let to_new = new.routes(new.pods().iter().map(String::as_str));
                    other.namespace.ip(&to_new)?;
                }
                new.namespace.ip(&lines)
            }
            Self::Vxlan => introduce_to_overlay(new, others),
            Self::Tun | Self::Wireguard => {
                let own = new.addresses.both().map(|address| address.to_string());
                let prefixes = own
                    .iter()
                    .chain(&new.pods())
                    .map(|prefix| format!("route add {prefix} dev {}\n", new.name))
                    .collect::<String>();
                fabric.ip(&prefixes)
            }
        }
    }

    /// Routes `prefixes` to the member `to`, from every member that is no node.
    pub(super) fn route(
        self,
        fabric: &NetNs,
        prefixes: &[&str],
        to: &Member,
        members: &[Member],
    ) -> Result<()> {
        let clients = members.iter().filter(|member| member.node.is_none());
        if self.is_bare() {
            // A table for outside hosts alone: a packet that a node sends there doesn't come back.
            let mut lines = String::new();
            for prefix in prefixes {
                lines += &format!("route add {prefix} dev {} table {CLIENTS}\n", to.name);
            }
            fabric.ip(&lines)?;
            let rules = clients
                .map(|client| format!("rule add iif {} table {CLIENTS}\n", client.name))
                .collect::<String>();
            fabric.ip(&rules)?;
            return fabric.ip_v6(&rules);
        }
        let lines = to.routes(prefixes.iter().copied());
        for client in clients {
            client.namespace.ip(&lines)?;
        }
        Ok(())
    }
}

/// Gives a new node its overlay device, and both sides the way to each other. Addresses, neighbours
/// and forwarding entries are fixed, as Flannel's agent writes them.
fn introduce_to_overlay(new: &Member, others: &[Member]) -> Result<()> {
    let Some(number) = new.node else { return Ok(()) };
    let [v4, v6] = overlay_addresses(number);
    let underlay = new.addresses.v4;
    new.namespace.ip(&format!(
        "link add name {OVERLAY} address {} type vxlan id 1 local {underlay} dev {UPLINK} dstport 4789 nolearning
         link set dev {OVERLAY} up
         address add {v4}/32 dev {OVERLAY}
         address add {v6}/128 dev {OVERLAY} nodad",
        hardware_address(number)
    ))?;
    new.namespace.nft(MASQUERADE)?;
    for other in others {
        let Some(other_number) = other.node else { continue };
        show_way(&new.namespace, other_number, other.addresses)?;
        show_way(&other.namespace, number, new.addresses)?;
    }
    Ok(())
}

/// Teaches a node the way to the pods of the node `number`, which has `addresses` on the fabric.
fn show_way(node: &NetNs, number: u8, addresses: Addresses) -> Result<()> {
    let hardware = hardware_address(number);
    node.bridge(&format!("fdb add {hardware} dev {OVERLAY} dst {}", addresses.v4))?;
    let mut lines = String::new();
    for (prefix, via) in pod_cidrs(number).iter().zip(overlay_addresses(number)) {
        lines += &format!(
            "neighbour add {via} lladdr {hardware} dev {OVERLAY} nud permanent
             route add {prefix} via {via} dev {OVERLAY} onlink\n"
        );
    }
    node.ip(&lines)
}

/// The node's own addresses in the overlay: the first of its pods' prefixes.
fn overlay_addresses(number: u8) -> [String; 2] {
    pod_cidrs(number).map(|prefix| prefix.split('/').next().unwrap_or_default().to_owned())
}

fn hardware_address(number: u8) -> String {
    format!("02:00:00:00:00:{number:02x}")
}

impl fmt::Display for Uplink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ethernet => "ethernet",
            Self::Vlan => "vlan",
            Self::Bond => "bond",
            Self::Vxlan => "vxlan",
            Self::Tun => "tun",
            Self::Wireguard => "wireguard",
        })
    }
}
