//! kube-proxy's nftables rules, evaluated: what they would do with the first packet of a connection.
//!
//! Knows the expressions that kube-proxy writes and refuses all others, so that nothing is
//! overlooked. Where rules pick at random, every pick is tried.

mod expression;
mod mutate;
mod read;
mod rules;
mod walk;

use std::{collections::BTreeSet, net::IpAddr};

use anyhow::Result;
use serde_json::Value;

use crate::verdict::{Outcomes, Question};
use rules::Rules;

/// The rules of both families.
pub(crate) struct KubeProxyRules {
    v4: Rules,
    v6: Rules,
    /// The node's own addresses, which rules ask the routing table about.
    node: BTreeSet<IpAddr>,
}

impl KubeProxyRules {
    /// From what `nft -j list table` prints for each family.
    pub(crate) fn read(v4: &Value, v6: &Value, node: BTreeSet<IpAddr>) -> Result<Self> {
        Ok(Self { v4: read::rules(v4)?, v6: read::rules(v6)?, node })
    }

    /// The same rules with one thing changed that matters, in every way that is known, and what that
    /// is.
    pub(crate) fn mutations(&self) -> Vec<(String, Self)> {
        let Self { v4, v6, node } = self;
        let of_v4 = mutate::every(v4).into_iter().map(|(what, v4)| {
            (format!("IPv4: {what}"), Self { v4, v6: v6.clone(), node: node.clone() })
        });
        let of_v6 = mutate::every(v6).into_iter().map(|(what, v6)| {
            (format!("IPv6: {what}"), Self { v4: v4.clone(), v6, node: node.clone() })
        });
        of_v4.chain(of_v6).collect()
    }

    /// What may become of `question`.
    pub(crate) fn answer(&self, question: &Question) -> Result<Outcomes> {
        let rules = if question.to.is_ipv4() { &self.v4 } else { &self.v6 };
        walk::every_way(rules, &self.node, question)
    }
}
