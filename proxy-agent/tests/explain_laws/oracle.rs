//! What SEMANTICS says about a packet, written from its tables and from nothing else: no code of the
//! product decides anything here.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

use proxy_agent::explain::{Entry, Question, Verdict};
use proxy_common::Protocol;

use crate::world::{
    Cluster, Endpoint, Kind, NODE, Options, Port, SERVICE_CIDRS, Service, ZONE, cluster_ip,
    endpoint_address, external_ip, load_balancer_ip, node_port,
};

/// Verdict and candidates: address, whether it is on this node, whether it is masqueraded to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Expected {
    pub(crate) verdict: Verdict,
    pub(crate) endpoints: BTreeSet<(SocketAddr, bool, bool)>,
}

/// A kind of frontend.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Frontend {
    ClusterIp,
    LoadBalancer,
    /// External IP or NodePort.
    External,
}

fn nothing(verdict: Verdict) -> Expected {
    Expected { verdict, endpoints: BTreeSet::new() }
}

pub(crate) fn answer(
    cluster: &Cluster,
    options: Options,
    node: &[&str],
    question: &Question,
) -> Expected {
    let (to, v4) = (question.to.ip(), question.to.is_ipv4());
    // §2: loopback is for processes of the node; §4 of the design: they have the socket path alone,
    // which has TCP and UDP.
    let from_node = question.entry == Entry::Node;
    if (to.is_loopback() && !from_node) || (from_node && question.protocol == Protocol::SCTP) {
        return nothing(Verdict::Pass);
    }
    for (index, service) in cluster.services.iter().enumerate() {
        for (at, port) in service.ports.iter().enumerate() {
            let found = frontend(service, options, node, (index, at), port, question);
            if let Some(kind) = found {
                return of_service(service, index, port, kind, options, node, question);
            }
        }
    }
    let is_cluster_ip = |(index, service): (usize, &Service)| {
        service.families.contains(&v4) && cluster_ip(v4, index) == to
    };
    if cluster.services.iter().enumerate().any(is_cluster_ip) {
        return nothing(Verdict::Reject);
    }
    let text = to.to_string();
    if SERVICE_CIDRS.iter().any(|prefix| text.starts_with(prefix)) {
        return nothing(Verdict::Drop);
    }
    nothing(Verdict::Pass)
}

/// §2: whether the question is about a frontend of this port.
fn frontend(
    service: &Service,
    options: Options,
    node: &[&str],
    (index, at): (usize, usize),
    port: &Port,
    question: &Question,
) -> Option<Frontend> {
    let (to, v4) = (question.to.ip(), question.to.is_ipv4());
    if port.protocol != question.protocol || !service.families.contains(&v4) {
        return None;
    }
    if question.to.port() == port.number {
        if cluster_ip(v4, index) == to {
            return Some(Frontend::ClusterIp);
        }
        if service.kind == Kind::LoadBalancer && load_balancer_ip(v4, index) == to {
            return Some(Frontend::LoadBalancer);
        }
        if options.external_ips && service.external_ips && external_ip(v4, index) == to {
            return Some(Frontend::External);
        }
    }
    let is_node = to.is_loopback() || node.iter().any(|it| it.parse() == Ok(to));
    let numbered = service.kind != Kind::ClusterIp && question.to.port() == node_port(index, at);
    (is_node && numbered).then_some(Frontend::External)
}

fn of_service(
    service: &Service,
    index: usize,
    port: &Port,
    kind: Frontend,
    options: Options,
    node: &[&str],
    question: &Question,
) -> Expected {
    let v4 = question.to.is_ipv4();
    // §4: source ranges come first.
    if kind == Frontend::LoadBalancer
        && let Some(ranges) = &service.ranges
    {
        let ranges: Vec<_> = ranges.iter().filter(|range| range.contains('.') == v4).collect();
        let inside = |address: &str| ranges.iter().any(|range| is_inside(address, range));
        let node_admitted = node.iter().any(|address| inside(address));
        let admitted = match question.entry {
            Entry::Node => node_admitted,
            _ => {
                inside(&question.source.ip().to_string())
                    || (node_admitted && question.source.ip() == question.to.ip())
            }
        };
        if !admitted {
            return nothing(Verdict::Drop);
        }
    }
    let outside = question.entry == Entry::Outside;
    if kind == Frontend::ClusterIp && outside && options.refuse_external {
        return nothing(Verdict::Reject);
    }
    // §3: which set.
    let (cluster, local) = sets(service, v4);
    let local_only = match kind {
        Frontend::ClusterIp => service.internal_local,
        _ => service.external_local && outside,
    };
    let set = if local_only { &local } else { &cluster };
    if set.is_empty() {
        return nothing(if cluster.is_empty() { Verdict::Reject } else { Verdict::Drop });
    }
    // SCTP keeps its port.
    if question.protocol == Protocol::SCTP && port.target != question.to.port() {
        return nothing(Verdict::Drop);
    }
    let endpoints = set.iter().map(|(at, endpoint)| {
        let address = endpoint_address(endpoint, index, *at);
        let here = endpoint.node == Some(NODE);
        let masquerade = masquerades(service, kind, options, question, address, here);
        (SocketAddr::new(address, port.target), here, masquerade)
    });
    Expected { verdict: Verdict::Translate, endpoints: endpoints.collect() }
}

/// §5.
fn masquerades(
    service: &Service,
    kind: Frontend,
    options: Options,
    question: &Question,
    endpoint: IpAddr,
    here: bool,
) -> bool {
    if question.entry == Entry::Node {
        return false;
    }
    let hairpin = endpoint == question.source.ip();
    let everything = kind == Frontend::ClusterIp && options.masquerade_all;
    let keeps_client = kind != Frontend::ClusterIp && service.external_local;
    hairpin || everything || (question.entry == Entry::Outside && !here && !keeps_client)
}

type Numbered<'a> = (usize, &'a Endpoint);

/// §3, rules 1 to 4.
fn sets(service: &Service, v4: bool) -> (Vec<Numbered<'_>>, Vec<Numbered<'_>>) {
    let endpoints = || service.endpoints.iter().enumerate().filter(|(_, it)| it.v4 == v4);
    let ready: Vec<_> = endpoints().filter(|(_, it)| it.conditions.0).collect();
    let draining = endpoints().filter(|(_, it)| {
        let (ready, serving, terminating) = it.conditions;
        !ready && serving && terminating
    });
    let draining: Vec<_> = draining.collect();
    let here = |set: &[Numbered<'_>]| set.iter().any(|(_, it)| it.node == Some(NODE));
    let mut local = if here(&ready) { ready.clone() } else { draining.clone() };
    local.retain(|(_, it)| it.node == Some(NODE));
    if ready.is_empty() {
        return (draining, local);
    }
    let near = |hint: fn(&Endpoint) -> Option<&'static str>, us: &str| {
        let all = ready.iter().all(|(_, it)| hint(it).is_some());
        let named: Vec<_> = ready.iter().filter(|(_, it)| hint(it) == Some(us)).copied().collect();
        (all && !named.is_empty()).then_some(named)
    };
    let cluster = near(|it| it.for_nodes, NODE).or_else(|| near(|it| it.for_zones, ZONE));
    (cluster.unwrap_or(ready), local)
}

/// Whether an address is inside a range that ends at a dot or a colon.
fn is_inside(address: &str, range: &str) -> bool {
    let (network, bits) = range.split_once('/').unwrap();
    let (address, network): (IpAddr, IpAddr) = (address.parse().unwrap(), network.parse().unwrap());
    let bits: u32 = bits.parse().unwrap();
    match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (a.to_bits() ^ b.to_bits()) >> (32 - bits) == 0,
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits() ^ b.to_bits()) >> (128 - bits) == 0,
        _ => false,
    }
}
