//! A table of nftables in memory: base chains by hook, chains of rules, sets and maps.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::expression::{Data, Expression, Operand};

/// Where a base chain is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Hook {
    Prerouting,
    Input,
    Forward,
    Output,
    Postrouting,
}

/// What becomes of a packet, or where its evaluation goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Accept,
    Drop,
    Reject,
    Return,
    Jump(String),
    Goto(String),
}

/// A part of a rule. One that doesn't apply ends the rule.
#[derive(Clone, Debug)]
pub(super) enum Statement {
    Match {
        left: Expression,
        equal: bool,
        right: Operand,
    },
    Verdict(Verdict),
    VerdictMap {
        key: Expression,
        data: Lookup<Verdict>,
    },
    SetMark(Expression),
    Destination(Target),
    Masquerade,
    /// It remembers something for later connections.
    Nothing,
}

/// A map by name, or in place.
#[derive(Clone, Debug)]
pub(super) enum Lookup<T> {
    Named(String),
    Here(HashMap<Data, T>),
}

/// Where a packet is sent instead: address and port.
#[derive(Clone, Debug)]
pub(super) enum Target {
    Fixed(Data),
    Picked { key: Expression, data: HashMap<Data, Data> },
}

/// A rule: statements, in order.
pub(super) type Rule = Vec<Statement>;

/// A table.
#[derive(Clone, Debug, Default)]
pub(super) struct Rules {
    /// Base chains, in the order in which a hook calls them.
    pub(super) hooks: BTreeMap<Hook, Vec<(i64, String)>>,
    pub(super) chains: HashMap<String, Vec<Rule>>,
    pub(super) sets: HashMap<String, HashSet<Data>>,
    pub(super) verdict_maps: HashMap<String, HashMap<Data, Verdict>>,
}
