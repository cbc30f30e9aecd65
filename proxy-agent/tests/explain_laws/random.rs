//! Random clusters, and questions about them.

use std::net::{IpAddr, SocketAddr};

use proptest::{
    collection::vec,
    option,
    prelude::*,
    sample::{Index, select, subsequence},
};
use proxy_agent::{
    explain::{Entry, Question},
    options::Selection,
};
use proxy_common::Protocol;

use crate::world::{
    Cluster, Endpoint, Kind, NODE, NODE_ADDRESSES, Options, Port, Service, ZONE, address,
    cluster_ip, endpoint_address, external_ip, load_balancer_ip, node_port,
};

pub(crate) fn cluster() -> impl Strategy<Value = Cluster> {
    vec(service(), 1..4).prop_map(|services| Cluster { services })
}

pub(crate) fn options() -> impl Strategy<Value = Options> {
    let algorithms =
        [Selection::Random, Selection::RoundRobin, Selection::LeastConnections, Selection::Maglev];
    (
        prop::bool::weighted(0.3),
        prop::bool::weighted(0.8),
        prop::bool::weighted(0.3),
        select(algorithms.to_vec()),
    )
        .prop_map(|(masquerade_all, external_ips, refuse_external, algorithm)| Options {
            masquerade_all,
            external_ips,
            refuse_external,
            algorithm,
        })
}

fn service() -> impl Strategy<Value = Service> {
    let kinds = vec![Kind::ClusterIp, Kind::NodePort, Kind::LoadBalancer, Kind::LoadBalancer];
    let families = vec![vec![true], vec![false], vec![true, false], vec![false, true]];
    // The clients of `questions`, the node, and nobody.
    let ranges = vec!["203.0.113.0/24", "192.0.2.0/24", "2001:db8:c::/64", "2001:db8::/64"];
    (
        select(kinds),
        select(families),
        (any::<bool>(), any::<bool>()),
        (any::<bool>(), prop::bool::weighted(0.2), prop::bool::weighted(0.2)),
        option::of(subsequence(ranges, 1..4)),
        vec(port(), 1..3),
        vec(endpoint(), 0..6),
    )
        .prop_map(|(kind, families, policies, flags, ranges, mut ports, endpoints)| {
            let (external_ips, shared_ip, affinity) = flags;
            ports.dedup_by_key(|port| (port.number, port.protocol));
            let external_ips = external_ips || (shared_ip && kind == Kind::LoadBalancer);
            let is_external = kind != Kind::ClusterIp || external_ips;
            let ranges = ranges.filter(|ranges: &Vec<&str>| {
                // Ranges of one family only are told as a problem, which is another test's.
                kind == Kind::LoadBalancer
                    && families.iter().all(|v4| ranges.iter().any(|it| it.contains('.') == *v4))
            });
            Service {
                shared_ip: shared_ip && kind == Kind::LoadBalancer,
                internal_local: policies.0,
                external_local: policies.1 && is_external,
                external_ips,
                kind,
                families,
                ranges,
                affinity,
                ports,
                endpoints,
            }
        })
}

fn port() -> impl Strategy<Value = Port> {
    let protocols = vec![Protocol::TCP, Protocol::TCP, Protocol::UDP, Protocol::SCTP];
    (select(protocols), select(vec![80, 8080]), select(vec![80, 8080]))
        .prop_map(|(protocol, number, target)| Port { protocol, number, target })
}

fn endpoint() -> impl Strategy<Value = Endpoint> {
    let conditions = prop_oneof![
        4 => Just((true, true, false)),
        2 => Just((false, true, true)),
        1 => Just((false, false, true)),
        1 => Just((false, true, false)),
        1 => Just((true, true, true)),
    ];
    (
        any::<bool>(),
        option::weighted(0.9, select(vec![NODE, "there"])),
        conditions,
        option::of(select(vec![NODE, "there"])),
        option::weighted(0.8, select(vec![ZONE, "west"])),
        prop::bool::weighted(0.1),
    )
        .prop_map(|(v4, node, conditions, for_nodes, for_zones, host_network)| Endpoint {
            v4,
            node,
            conditions,
            for_nodes,
            for_zones,
            host_network,
        })
}

/// A question that is yet to be put to a cluster.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    entry: Entry,
    /// Of a family that the Service may not have.
    any_family: Option<bool>,
    family: Index,
    service: Index,
    port: Index,
    source: usize,
    to: usize,
    twist: usize,
}

pub(crate) fn questions() -> impl Strategy<Value = Vec<Draft>> {
    let draft = (
        select(vec![Entry::Pod, Entry::Node, Entry::Outside]),
        (option::weighted(0.1, any::<bool>()), any::<Index>()),
        any::<Index>(),
        any::<Index>(),
        (0..7usize, 0..9usize, 0..15usize),
    )
        .prop_map(|(entry, (any_family, family), service, port, (source, to, twist))| Draft {
            entry,
            any_family,
            family,
            service,
            port,
            source,
            to,
            twist,
        });
    vec(draft, 20)
}

impl Draft {
    /// The question, about a Service of `cluster`.
    pub(crate) fn about(&self, cluster: &Cluster) -> Question {
        let index = self.service.index(cluster.services.len());
        let service = &cluster.services[index];
        let v4 = self.any_family.unwrap_or(*self.family.get(&service.families));
        let at = self.port.index(service.ports.len());
        let node: IpAddr = NODE_ADDRESSES[usize::from(!v4)].parse().unwrap();
        let loopback: IpAddr = if v4 { "127.0.0.1" } else { "::1" }.parse().unwrap();
        let mut endpoints = service.endpoints.iter().enumerate().filter(|(_, it)| it.v4 == v4);
        let first = endpoints.next().map(|(at, it)| endpoint_address(it, index, at));
        let number = service.ports[at].number;
        let (to, port) = match self.to {
            0 | 1 => (cluster_ip(v4, index), number),
            2 => (external_ip(v4, index), number),
            3 | 4 => (load_balancer_ip(v4, index), number),
            5 | 6 => (node, node_port(index, at)),
            7 => (loopback, node_port(index, at)),
            _ => (first.unwrap_or(node), service.ports[at].target),
        };
        let source = match self.source {
            0 => address(v4, ("203.0.113.", "2001:db8:c::"), 9),
            1 => address(v4, ("192.0.2.", "2001:db8::"), 9),
            2 => address(v4, ("172.16.0.", "2001:db8:d::"), 9),
            3 => load_balancer_ip(v4, index),
            4 => node,
            _ => first.unwrap_or_else(|| address(v4, ("10.244.1.", "fd00:244::"), 99)),
        };
        let protocol = service.ports[at].protocol;
        let (to, port, protocol) = match self.twist {
            0 => (to, port + 1, protocol),
            1 => (to, port, Protocol::UDP),
            2 => (address(v4, ("10.96.0.", "fd00:96::"), 200), port, protocol),
            3 => (address(v4, ("10.97.0.", "fd00:97::"), 1), port, protocol),
            _ => (to, port, protocol),
        };
        Question {
            entry: self.entry,
            source: SocketAddr::new(source, 40_000),
            to: SocketAddr::new(to, port),
            protocol,
        }
    }
}
