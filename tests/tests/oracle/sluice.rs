//! Sluice's word: its own datapath, run over its pinned maps as `sluice explain` does it.
//!
//! In this process, because a process for each of some thousand questions would take longer than
//! everything else.

use anyhow::{Context as _, Result};
use lab::{Addresses, Node};
use proxy_agent::explain::{
    Destination, Entry, Question as Asked, Sender, Verdict, World, explain,
    live::{self, Pinned},
};

use crate::verdict::{Outcome, Outcomes, Place, Question};

/// The maps of an agent, open.
pub(crate) struct SluiceMaps {
    world: World<Pinned>,
    node: Addresses,
}

impl SluiceMaps {
    /// Those of the agent on `node`.
    pub(crate) fn open(node: &Node) -> Result<Self> {
        let config = node.map_pin("CONFIG");
        let maps = config.parent().context("maps are pinned in a directory")?;
        Ok(Self { world: live::open(maps)?, node: node.addresses() })
    }

    /// What may become of `question`.
    pub(crate) fn answer(&self, question: &Question) -> Result<Outcomes> {
        let entry = match question.place {
            Place::Outside => Entry::Outside,
            Place::Pod => Entry::Pod,
            Place::Node => Entry::Node,
        };
        let source: Sender = question.source.to_string().parse()?;
        let to: Destination = format!("{}/{}", question.to, question.transport.lower()).parse()?;
        let answer = explain(&Asked::new(entry, source, to)?, &self.world);
        if let Some(error) = self.world.source.take_error() {
            return Err(error.into());
        }
        Ok(match answer.verdict {
            Verdict::Translate => answer
                .endpoints
                .iter()
                .map(|endpoint| Outcome::Endpoint {
                    address: endpoint.address,
                    // What goes to the node itself crosses no egress hook, which would do it.
                    masqueraded: endpoint.masquerade
                        && !self.node.both().contains(&endpoint.address.ip()),
                })
                .collect(),
            Verdict::Reject => Outcomes::from([Outcome::Refused]),
            Verdict::Drop => Outcomes::from([Outcome::Dropped]),
            Verdict::Pass => Outcomes::from([Outcome::Untouched]),
        })
    }
}
