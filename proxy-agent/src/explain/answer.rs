//! The answer, in the shape that `sluice explain -o json` prints. Fields are added, never renamed or
//! removed; `docs/explain.md` describes them.

use std::net::{IpAddr, SocketAddr};

use proxy_common::{Algorithm, FrontendKind};
use serde::Serialize;

/// What happens to the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It goes to an endpoint.
    Translate,
    /// It is refused with an answer: RST, ICMP port unreachable, or `ECONNREFUSED`.
    Reject,
    /// It is dropped; a call of a process of the node fails with `ETIMEDOUT`.
    Drop,
    /// It is no Service's: it goes on as it came.
    Pass,
}

/// A Service port as Kubernetes calls it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct ServicePortRef {
    /// The Service's namespace.
    pub namespace: String,
    /// The Service's name.
    pub name: String,
    /// The port's name; empty when it has none.
    pub port: String,
}

/// Where the packet arrives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FrontendRef {
    /// The address.
    pub address: IpAddr,
    /// The port.
    pub port: u16,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
    /// `ClusterIP`, `ExternalIP`, `LoadBalancer` or `NodePort`.
    pub kind: &'static str,
    /// The traffic policy that rules this frontend: `Cluster` or `Local`.
    pub policy: &'static str,
    /// How an endpoint is picked: `random`, `round-robin`, `least-connections` or `maglev`.
    pub algorithm: &'static str,
    /// How long a client stays with its endpoint, in seconds; null without session affinity.
    pub affinity_seconds: Option<u32>,
}

/// An endpoint that the connection may go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Candidate {
    /// Its address and port.
    pub address: SocketAddr,
    /// Whether it is on this node.
    pub local: bool,
    /// Whether it sees an address of this node in place of the sender's.
    pub masquerade: bool,
}

/// What would happen to the packet, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// What happens.
    pub verdict: Verdict,
    /// Why, as one word that programs may compare: a set of endpoints, or the reason that counters
    /// have.
    pub reason: &'static str,
    /// The Service port that the frontend belongs to; null when it is nobody's.
    pub service: Option<ServicePortRef>,
    /// The frontend; null when the destination is none.
    pub frontend: Option<FrontendRef>,
    /// Every endpoint that a new connection may go to, in order, each once.
    pub endpoints: Vec<Candidate>,
    /// How it came to that, a sentence each, in the order in which the questions are asked.
    pub steps: Vec<String>,
}

/// The name of a kind of frontend, as Kubernetes writes it.
pub(super) const fn kind_name(kind: FrontendKind) -> &'static str {
    match kind {
        FrontendKind::ClusterIp => "ClusterIP",
        FrontendKind::ExternalIp => "ExternalIP",
        FrontendKind::LoadBalancer => "LoadBalancer",
        FrontendKind::NodePort => "NodePort",
    }
}

/// The name of an algorithm by its number.
pub(super) fn algorithm_name(number: u8) -> &'static str {
    // What the datapath doesn't know it does at random.
    Algorithm::from_number(number).unwrap_or(Algorithm::Random).name()
}
