//! Weights of a Service's endpoints: who gets how large a share of the new connections.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use super::Endpoint;

/// Weights by endpoint address, and by name of a pod or a node. Who isn't named has weight 1.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Weights {
    addresses: BTreeMap<IpAddr, u8>,
    names: BTreeMap<Arc<str>, u8>,
}

impl Weights {
    /// The largest weight; the smallest is 1.
    pub const MAX: u8 = 100;

    /// Whether nobody is named.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.addresses.is_empty() && self.names.is_empty()
    }

    /// Gives `named` (an endpoint's address, or the name of a pod or a node) `weight`. False when
    /// it has one already, which it keeps.
    pub fn insert(&mut self, named: &str, weight: u8) -> bool {
        if let Ok(address) = named.parse() {
            let free = !self.addresses.contains_key(&address);
            self.addresses.entry(address).or_insert(weight);
            return free;
        }
        let free = !self.names.contains_key(named);
        self.names.entry(named.into()).or_insert(weight);
        free
    }

    /// The weight of `endpoint`: that of its address, or else of its pod, or else of its node.
    #[must_use]
    pub fn of(&self, endpoint: &Endpoint) -> u8 {
        let named = |name: Option<&str>| self.names.get(name?).copied();
        self.addresses
            .get(&endpoint.address)
            .copied()
            .or_else(|| named(endpoint.pod.as_deref()))
            .or_else(|| named(endpoint.node.as_deref()))
            .unwrap_or(1)
    }
}

#[cfg(test)]
mod tests {
    use super::Weights;
    use crate::model::{Conditions, Endpoint};

    fn endpoint(address: &str, pod: &str, node: &str) -> Endpoint {
        Endpoint {
            address: address.parse().unwrap(),
            pod: Some(pod.into()),
            node: Some(node.into()),
            conditions: Conditions::default(),
            hints: None,
        }
    }

    #[test]
    fn an_address_goes_before_a_pod_and_a_pod_before_a_node() {
        let mut weights = Weights::default();
        for (named, weight) in [("10.1.0.1", 2), ("web-0", 3), ("east-1", 4)] {
            assert!(weights.insert(named, weight));
        }
        assert_eq!(weights.of(&endpoint("10.1.0.1", "web-0", "east-1")), 2);
        assert_eq!(weights.of(&endpoint("10.1.0.2", "web-0", "east-1")), 3);
        assert_eq!(weights.of(&endpoint("10.1.0.2", "web-1", "east-1")), 4);
        assert_eq!(weights.of(&endpoint("10.1.0.2", "web-1", "east-2")), 1);
    }

    #[test]
    fn the_first_weight_of_a_name_counts() {
        let mut weights = Weights::default();
        assert!(weights.insert("2001:db8::1", 5));
        assert!(!weights.insert("2001:db8:0::1", 6), "the same address in other words");
        assert_eq!(weights.of(&endpoint("2001:db8::1", "", "")), 5);
    }
}
