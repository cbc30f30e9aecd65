//! Values and expressions of nftables, as far as kube-proxy uses them.

use std::{collections::HashSet, net::IpAddr};

/// A value. Concatenations are lists.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Data {
    Address(IpAddr),
    Number(u64),
    Word(String),
    List(Vec<Data>),
}

/// What is computed from a packet.
#[derive(Clone, Debug)]
pub(super) enum Expression {
    Source,
    Destination,
    Protocol,
    DestinationPort,
    Mark,
    /// Whose address it is, says the routing table.
    SourceType,
    DestinationType,
    ConnectionState,
    ConnectionStatus,
    Constant(u64),
    And(Box<Expression>, Box<Expression>),
    Or(Box<Expression>, Box<Expression>),
    Xor(Box<Expression>, Box<Expression>),
    List(Vec<Expression>),
    /// Any number below this one.
    Random(u64),
}

/// What a value is compared with.
#[derive(Clone, Debug)]
pub(super) enum Operand {
    NamedSet(String),
    /// Any of these.
    Either(HashSet<Data>, Vec<Prefix>),
}

/// Addresses that begin alike.
#[derive(Clone, Copy, Debug)]
pub(super) struct Prefix {
    pub(super) address: IpAddr,
    pub(super) length: u32,
}

impl Prefix {
    pub(super) fn contains(self, address: IpAddr) -> bool {
        let differ = match (self.address, address) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                (own.to_bits() ^ other.to_bits()).leading_zeros()
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                (own.to_bits() ^ other.to_bits()).leading_zeros()
            }
            _ => return false,
        };
        differ >= self.length
    }
}
