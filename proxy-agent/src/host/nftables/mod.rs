//! The kernel's nftables: tables, chains and rules of this network namespace listed, and some of
//! them removed. iptables-nft keeps its rules there too.
//!
//! Speaks netlink, so that no `nft` has to be installed; adds nothing to a ruleset. Takes
//! `CAP_NET_ADMIN`. Called by [`crate::kube_proxy`] and [`crate::preflight`].

mod rule;

use std::{fmt, io};

use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily as Proto,
    nftables::{
        ChainAttribute, ChainMessage, NfTablesMessage, RuleAttribute, RuleMessage, TableAttribute,
        TableMessage,
    },
    none::ControlMessage,
};
use rtnetlink::packet_core::{NLM_F_ACK, NLM_F_REQUEST};

pub use self::rule::Rule;
use super::netfilter::{Netfilter, append};

/// The subsystem that a batch is for (`NFNL_SUBSYS_NFTABLES`).
const SUBSYSTEM: u16 = 10;
/// Removals in one batch: as many as fit a socket's buffers.
const BATCH: usize = 500;

/// A family of tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    Ip,
    /// IPv6.
    Ip6,
    /// Both.
    Inet,
    /// Packets that a bridge passes on.
    Bridge,
    /// Packets at a device.
    Netdev,
    /// Something else.
    Other,
}

impl Family {
    /// Its name in a ruleset.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ip => "ip",
            Self::Ip6 => "ip6",
            Self::Inet => "inet",
            Self::Bridge => "bridge",
            Self::Netdev => "netdev",
            Self::Other => "other",
        }
    }

    fn of(proto: Proto) -> Self {
        match proto {
            Proto::IPv4 => Self::Ip,
            Proto::IPv6 => Self::Ip6,
            Proto::Inet => Self::Inet,
            Proto::Bridge => Self::Bridge,
            Proto::NetDev => Self::Netdev,
            _ => Self::Other,
        }
    }

    const fn proto(self) -> Proto {
        match self {
            Self::Ip => Proto::IPv4,
            Self::Ip6 => Proto::IPv6,
            Self::Inet => Proto::Inet,
            Self::Bridge => Proto::Bridge,
            Self::Netdev => Proto::NetDev,
            Self::Other => Proto::Unspec,
        }
    }
}

/// A table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Table {
    /// Its family.
    pub family: Family,
    /// Its name.
    pub name: String,
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.family.name(), self.name)
    }
}

/// A chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Its table.
    pub table: Table,
    /// Its name.
    pub name: String,
}

/// What is to be removed.
#[derive(Clone, Copy, Debug)]
pub enum Removal<'a> {
    /// A table with all that is in it.
    Table(&'a Table),
    /// A rule.
    Rule(&'a Rule),
    /// Every rule of a chain.
    Rules(&'a Chain),
    /// A chain, which no rule may mention any more.
    Chain(&'a Chain),
}

impl Removal<'_> {
    fn message(&self) -> (Family, NfTablesMessage) {
        let rule = |attributes| NfTablesMessage::DeleteRule(RuleMessage { attributes });
        match self {
            Self::Table(table) => {
                let attributes = vec![TableAttribute::Name(table.name.clone())];
                (table.family, NfTablesMessage::DeleteTable(TableMessage { attributes }))
            }
            Self::Rule(Rule { table, chain, handle, .. }) => {
                let attributes = vec![
                    RuleAttribute::Table(table.name.clone()),
                    RuleAttribute::Chain(chain.clone()),
                    RuleAttribute::Handle(*handle),
                ];
                (table.family, rule(attributes))
            }
            Self::Rules(Chain { table, name }) => {
                let attributes = vec![
                    RuleAttribute::Table(table.name.clone()),
                    RuleAttribute::Chain(name.clone()),
                ];
                (table.family, rule(attributes))
            }
            Self::Chain(Chain { table, name }) => {
                let attributes = vec![
                    ChainAttribute::Table(table.name.clone()),
                    ChainAttribute::Name(name.clone()),
                ];
                (table.family, NfTablesMessage::DeleteChain(ChainMessage { attributes }))
            }
        }
    }
}

/// A socket that nftables listens at.
#[derive(Debug)]
pub struct NfTables {
    netlink: Netfilter,
}

impl NfTables {
    /// Opens one.
    ///
    /// # Errors
    /// What the kernel said; `EPROTONOSUPPORT` where it has no netfilter.
    pub fn open() -> io::Result<Self> {
        Ok(Self { netlink: Netfilter::open()? })
    }

    /// Every table.
    ///
    /// # Errors
    /// What the kernel said; `EOPNOTSUPP` or `EINVAL` where it has no nftables.
    pub fn tables(&self) -> io::Result<Vec<Table>> {
        let mut tables = Vec::new();
        let request = NfTablesMessage::GetTable(TableMessage { attributes: Vec::new() });
        self.dump(Proto::Unspec, request, |family, message| {
            let NfTablesMessage::NewTable(message) = message else { return };
            let name = message.attributes.into_iter().find_map(|attribute| match attribute {
                TableAttribute::Name(name) => Some(name),
                _ => None,
            });
            tables.extend(name.map(|name| Table { family, name }));
        })?;
        Ok(tables)
    }

    /// Every chain.
    ///
    /// # Errors
    /// As [`Self::tables`].
    pub fn chains(&self) -> io::Result<Vec<Chain>> {
        let mut chains = Vec::new();
        let request = NfTablesMessage::GetChain(ChainMessage { attributes: Vec::new() });
        self.dump(Proto::Unspec, request, |family, message| {
            let NfTablesMessage::NewChain(message) = message else { return };
            let (mut table, mut chain) = (None, None);
            for attribute in message.attributes {
                match attribute {
                    ChainAttribute::Table(name) => table = Some(name),
                    ChainAttribute::Name(name) => chain = Some(name),
                    _ => {}
                }
            }
            chains.extend(
                table
                    .zip(chain)
                    .map(|(table, name)| Chain { table: Table { family, name: table }, name }),
            );
        })?;
        Ok(chains)
    }

    /// Every rule of a table.
    ///
    /// # Errors
    /// As [`Self::tables`].
    pub fn rules(&self, table: &Table) -> io::Result<Vec<Rule>> {
        let mut rules = Vec::new();
        let attributes = vec![RuleAttribute::Table(table.name.clone())];
        let request = NfTablesMessage::GetRule(RuleMessage { attributes });
        self.dump(table.family.proto(), request, |family, message| {
            let NfTablesMessage::NewRule(message) = message else { return };
            // Kernels before 6.3 may list rules of more tables than were asked for.
            let rule = Rule::read(family, &message.attributes);
            rules.extend(rule.filter(|rule| rule.table == *table));
        })?;
        Ok(rules)
    }

    /// Removes these, in this order; all of five hundred or none of them.
    ///
    /// # Errors
    /// What the kernel said of the first that it doesn't let go.
    pub fn remove(&self, removals: &[Removal<'_>]) -> io::Result<()> {
        removals.chunks(BATCH).try_for_each(|batch| self.remove_batch(batch))
    }

    fn remove_batch(&self, removals: &[Removal<'_>]) -> io::Result<()> {
        let control = |message| {
            let header = NetfilterHeader::new(Proto::Unspec, 0, SUBSYSTEM);
            (NLM_F_REQUEST, NetfilterMessage::new(header, message))
        };
        let mut messages = vec![control(ControlMessage::BatchBegin)];
        for (index, removal) in removals.iter().enumerate() {
            let (family, message) = removal.message();
            let header = NetfilterHeader::new(family.proto(), 0, 0);
            // One acknowledgement is enough: errors are told in any case.
            let last = index + 1 == removals.len();
            let flags = if last { NLM_F_REQUEST | NLM_F_ACK } else { NLM_F_REQUEST };
            messages.push((flags, NetfilterMessage::new(header, message)));
        }
        messages.push(control(ControlMessage::BatchEnd));
        let mut bytes = Vec::new();
        for (number, (flags, message)) in (1..).zip(messages) {
            append(&mut bytes, number, flags, message);
        }
        self.netlink.send(&bytes)?;
        self.netlink.receive(|_, _| ())
    }

    fn dump(
        &self,
        family: Proto,
        request: NfTablesMessage,
        mut visit: impl FnMut(Family, NfTablesMessage),
    ) -> io::Result<()> {
        self.netlink.dump(family, request, |family, message| {
            if let NetfilterMessageInner::NfTables(message) = message {
                visit(Family::of(family), message);
            }
        })
    }
}
