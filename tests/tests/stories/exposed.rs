//! A Service with every kind of frontend, and where each of them is.

use std::net::SocketAddr;

use lab::{Addresses, Family, Node, manifest::Protocol};

use crate::cluster::{DNS, HTTP};

/// A kind of frontend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    ClusterIp,
    NodePort,
    LoadBalancer,
    ExternalIp,
}

impl Kind {
    pub(crate) const ALL: [Self; 4] =
        [Self::ClusterIp, Self::NodePort, Self::LoadBalancer, Self::ExternalIp];
    /// The kinds that `externalTrafficPolicy` is about.
    pub(crate) const EXTERNAL: [Self; 3] = [Self::NodePort, Self::LoadBalancer, Self::ExternalIp];
}

/// A Service with every kind of frontend.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exposed {
    pub(crate) number: u8,
    /// The addresses that its NodePorts are asked at.
    node: Addresses,
}

impl Exposed {
    /// The Service of that number, NodePorts at the address of `node`.
    pub(crate) fn new(number: u8, node: &Node) -> Self {
        Self { number, node: node.addresses() }
    }

    /// Its NodePort, of TCP and of UDP.
    pub(crate) fn node_port(self) -> u16 {
        30_000 + u16::from(self.number)
    }

    /// Its addresses of a kind.
    pub(crate) fn addresses(self, kind: Kind) -> Addresses {
        match kind {
            Kind::ClusterIp => Addresses::cluster_ips(self.number),
            Kind::NodePort => self.node,
            Kind::LoadBalancer => Addresses::load_balancer_ips(self.number),
            Kind::ExternalIp => Addresses::external_ips(self.number),
        }
    }

    /// Its frontend of a kind: `http` over TCP, `dns` over UDP.
    pub(crate) fn at(self, kind: Kind, family: Family, protocol: Protocol) -> SocketAddr {
        let port = match (kind, protocol) {
            (Kind::NodePort, _) => self.node_port(),
            (_, Protocol::Tcp) => HTTP.0,
            _ => DNS.0,
        };
        SocketAddr::new(self.addresses(kind).of(family), port)
    }
}
