//! How Services, endpoints and addresses look in JSON and in tables: the types that several commands
//! share.
//!
//! Fields are added, never renamed or removed. Filled by [`super::view`].

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

use proxy_common::{Address, Be16};
use serde::Serialize;

/// A Service port as Kubernetes calls it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct Name {
    /// The Service's namespace.
    pub(super) namespace: String,
    /// The Service's name.
    pub(super) name: String,
    /// The port's name; empty when it has none.
    pub(super) port: String,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)?;
        if self.port.is_empty() { Ok(()) } else { write!(f, ":{}", self.port) }
    }
}

/// A Service port's name, or its number where the maps have no name.
pub(super) fn name_or_id(name: Option<&Name>, id: u32) -> String {
    name.map_or_else(|| format!("#{id}"), ToString::to_string)
}

/// An address and a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct End {
    /// The address.
    pub(super) address: IpAddr,
    /// The port.
    pub(super) port: u16,
}

impl End {
    pub(super) fn new<A: Address>(address: A, port: Be16) -> Self {
        Self { address: address.to_ip(), port: port.get() }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        SocketAddr::new(self.address, self.port).fmt(f)
    }
}

/// A backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct Endpoint {
    /// Where it is.
    #[serde(flatten)]
    pub(super) end: End,
    /// Whether it is on this node.
    pub(super) local: bool,
    /// Its index in `BACKENDS_*`.
    pub(super) backend: u32,
}

/// A backend in an endpoint set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct Member {
    /// The backend.
    #[serde(flatten)]
    pub(super) endpoint: Endpoint,
    /// Slots of the set that name it: its share.
    pub(super) slots: u32,
}

/// A frontend and what is behind it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Shown {
    /// The Service port; null when its name is not in the maps.
    pub(super) service: Option<Name>,
    /// Its number, the same for all frontends of the Service port in a family.
    pub(super) id: u32,
    /// Where traffic arrives.
    pub(super) frontend: End,
    /// `tcp`, `udp`, `sctp`.
    pub(super) protocol: String,
    /// `cluster-ip`, `external-ip`, `load-balancer`, `node-port`.
    pub(super) kind: &'static str,
    /// New flows use endpoints of this node only. For the kinds that clients outside use, pods and
    /// processes of this node are exempt.
    pub(super) local_only: bool,
    /// `random`, `round-robin`, `least-connections`, `maglev`; null when the map says something
    /// else.
    pub(super) algorithm: Option<&'static str>,
    /// How long a client stays with its endpoint; null without session affinity.
    pub(super) affinity_seconds: Option<u32>,
    /// Prefixes that clients must come from; null when anyone may come.
    pub(super) source_ranges: Option<Vec<String>>,
    /// Whether processes of the node may come.
    pub(super) node_admitted: bool,
    /// The cluster set.
    pub(super) endpoints: Vec<Member>,
    /// The local set.
    pub(super) local_endpoints: Vec<Member>,
}
