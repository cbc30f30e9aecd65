//! Which of the node's addresses serve NodePorts.

use std::net::IpAddr;

use crate::model::{Cidr, Family, Node};

/// `--nodeport-addresses`: which of the node's addresses serve NodePorts.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum NodePortAddresses {
    /// All of them.
    #[default]
    All,
    /// The node's `InternalIP`s.
    Primary,
    /// Those inside one of these prefixes. Prefixes of one family leave the other at all.
    Within(Vec<Cidr>),
}

/// Those of `addresses` that `selection` admits. Addresses that are no business of other machines
/// (loopback, link-local, multicast) never are.
#[must_use]
pub fn select_node_addresses(
    selection: &NodePortAddresses,
    addresses: &[IpAddr],
    node: Option<&Node>,
) -> Vec<IpAddr> {
    let mut selected: Vec<IpAddr> = match selection {
        NodePortAddresses::All => addresses.to_vec(),
        NodePortAddresses::Primary => {
            node.map(|node| node.internal_ips.clone()).unwrap_or_default()
        }
        NodePortAddresses::Within(prefixes) => addresses
            .iter()
            .copied()
            .filter(|address| {
                let mut of_family = prefixes
                    .iter()
                    .filter(|prefix| prefix.family() == Family::of(*address))
                    .peekable();
                of_family.peek().is_none() || of_family.any(|prefix| prefix.contains(*address))
            })
            .collect(),
    };
    selected.retain(|address| !is_private_to_the_node(*address));
    selected.sort_unstable();
    selected.dedup();
    selected
}

fn is_private_to_the_node(address: IpAddr) -> bool {
    let link_local = match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    link_local || address.is_loopback() || address.is_multicast() || address.is_unspecified()
}

#[cfg(test)]
mod tests {
    use super::{NodePortAddresses, select_node_addresses};
    use crate::model::Node;

    const ADDRESSES: [&str; 5] = ["127.0.0.1", "192.0.2.1", "10.1.0.1", "fe80::1", "2001:db8::1"];

    fn selected(selection: &NodePortAddresses, node: Option<&Node>) -> Vec<String> {
        let addresses = ADDRESSES.map(|address| address.parse().unwrap());
        select_node_addresses(selection, &addresses, node).iter().map(ToString::to_string).collect()
    }

    fn within(prefixes: &[&str]) -> NodePortAddresses {
        NodePortAddresses::Within(prefixes.iter().map(|prefix| prefix.parse().unwrap()).collect())
    }

    #[test]
    fn by_default_every_address_that_others_can_reach() {
        assert_eq!(
            selected(&NodePortAddresses::All, None),
            ["10.1.0.1", "192.0.2.1", "2001:db8::1"]
        );
    }

    #[test]
    fn prefixes_of_one_family_leave_the_other_at_all() {
        assert_eq!(selected(&within(&["10.0.0.0/8"]), None), ["10.1.0.1", "2001:db8::1"]);
    }

    #[test]
    fn prefixes_that_match_nothing_mean_none() {
        assert_eq!(selected(&within(&["203.0.113.0/24", "fd00::/8"]), None), Vec::<String>::new());
    }

    #[test]
    fn primary_is_what_the_node_object_says() {
        let node = Node {
            name: "n1".into(),
            zone: None,
            internal_ips: vec!["192.0.2.1".parse().unwrap()],
            leaving: false,
        };
        assert_eq!(selected(&NodePortAddresses::Primary, Some(&node)), ["192.0.2.1"]);
        assert_eq!(selected(&NodePortAddresses::Primary, None), Vec::<String>::new());
    }
}
