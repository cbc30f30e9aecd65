//! A question (who asks which address) and an answer, in words that both proxies share.

use std::{
    collections::BTreeSet,
    fmt,
    net::{IpAddr, SocketAddr},
};

/// A layer-4 protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Transport {
    Tcp,
    Udp,
    Sctp,
}

impl Transport {
    pub(crate) const ALL: [Self; 3] = [Self::Tcp, Self::Udp, Self::Sctp];

    /// As nftables writes it.
    pub(crate) const fn lower(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }

    /// As Kubernetes writes it.
    pub(crate) const fn upper(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        }
    }
}

/// Where a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Place {
    /// On another machine.
    Outside,
    /// A pod of the node.
    Pod,
    /// A process of the node.
    Node,
}

/// A connection that someone opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Question {
    pub(crate) place: Place,
    pub(crate) source: IpAddr,
    pub(crate) to: SocketAddr,
    pub(crate) transport: Transport,
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, source, to, transport } = self;
        write!(f, "{place:?} {source} to {} {to}", transport.upper())
    }
}

/// What may become of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Outcome {
    /// It goes to an endpoint.
    Endpoint {
        address: SocketAddr,
        /// With an address of the node as its source.
        masqueraded: bool,
    },
    Refused,
    Dropped,
    /// It is no Service's.
    Untouched,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Endpoint { address, masqueraded: false } => write!(f, "{address}"),
            Self::Endpoint { address, masqueraded: true } => write!(f, "{address} masqueraded"),
            Self::Refused => f.write_str("refused"),
            Self::Dropped => f.write_str("dropped"),
            Self::Untouched => f.write_str("untouched"),
        }
    }
}

/// All that may become of it: more than one where an endpoint is picked.
pub(crate) type Outcomes = BTreeSet<Outcome>;
