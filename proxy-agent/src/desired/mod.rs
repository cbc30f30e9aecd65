//! What the maps should say about one Service: its frontends, and the endpoint sets behind them.
//!
//! Pure, one Service at a time, and blind to what is installed: no id, no slot, and no other
//! Service (who gets a frontend that two ask for is [`crate::reconcile`]'s business). SEMANTICS §2.

mod addresses;
mod frontend;
mod frontends;
mod kinds;
mod maglev;
mod slots;
mod sources;
mod troubles;

pub use addresses::{NodePortAddresses, select_node_addresses};
pub use frontend::FrontendKey;
pub use frontends::DesiredFrontend;
pub use kinds::FrontendKinds;
pub use sources::Admitted;

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

use proxy_common::{Algorithm, FrontendKind, Protocol, Seconds};

use crate::{
    endpoints::{Sets, Viewpoint, candidates, select, serving},
    model::{EndpointSlice, Family, Problem, Service, ServicePort, ServicePortName},
};

use slots::WeightOf;

/// Where the agent is, and what it programs.
#[derive(Clone, Copy, Debug)]
pub struct Vantage<'a> {
    /// The name of this node.
    pub node: &'a str,
    /// Its zone.
    pub zone: Option<&'a str>,
    /// Its `InternalIP`s.
    pub internal_ips: &'a [IpAddr],
    /// The addresses that its devices have.
    pub node_addresses: &'a [IpAddr],
    /// Its addresses that serve NodePorts, without loopback.
    pub node_port_addresses: &'a [IpAddr],
    /// Which frontends are programmed.
    pub kinds: FrontendKinds,
    /// How an endpoint is picked unless the Service says otherwise.
    pub algorithm: Algorithm,
    /// Slots of a Maglev table.
    pub maglev_table_size: u32,
}

/// What the maps should say about a Service.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct DesiredService {
    /// Its ports, one for each family.
    pub ports: Vec<DesiredPort>,
    /// Its ClusterIPs, where ports that nobody defined are rejected, and its NodePorts, which no
    /// process of the node should bind. In order, each once.
    pub markers: BTreeSet<(FrontendKey, FrontendKind)>,
    /// What its owner should know.
    pub problems: Vec<Problem>,
}

/// A Service port in one family. Its frontends share a service id and the sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredPort {
    /// Its name.
    pub name: ServicePortName,
    /// The family.
    pub family: Family,
    /// The endpoints.
    pub sets: Sets,
    /// The slots of both sets.
    pub slots: SlotOrder,
    /// How a slot is picked.
    pub algorithm: Algorithm,
    /// For UDP: every endpoint that serves, whether or not new flows go there.
    pub serving: Vec<SocketAddr>,
    /// How long a client stays with its endpoint; `None` without affinity.
    pub affinity: Option<Seconds>,
    /// Who may use its load balancer frontends; `None` when anyone may, or when there is none.
    pub admitted: Option<Admitted>,
    /// Its frontends, each once.
    pub frontends: Vec<DesiredFrontend>,
}

/// Which endpoint each slot of a set leads to, as an index into the set.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct SlotOrder {
    /// The slots of the cluster set.
    pub cluster: Vec<u32>,
    /// The slots of the local set.
    pub local: Vec<u32>,
}

/// What the maps should say about `service`, whose endpoints are in `slices`.
#[must_use]
pub fn desired<'a>(
    service: &Service,
    slices: impl IntoIterator<Item = &'a EndpointSlice> + Clone,
    vantage: &Vantage<'_>,
) -> DesiredService {
    if service.unserved.is_some() {
        return DesiredService::default();
    }
    let mut wanted = DesiredService::default();
    let admitted = Family::ALL.map(|family| sources::admitted(service, family, vantage));
    // Kubernetes allows no two ports of one number; should it happen, the first one counts.
    let mut taken = BTreeSet::new();
    for port in &service.ports {
        for (family, admitted) in Family::ALL.into_iter().zip(&admitted) {
            if !service.families.contains(&family) {
                continue;
            }
            let mut frontends =
                frontends::frontends(service, port, family, admitted.as_ref(), vantage);
            frontends.retain(|frontend| taken.insert(frontend.key));
            if frontends.is_empty() {
                continue;
            }
            let filtered = frontends.iter().any(|frontend| frontend.filtered);
            let (sets, slots) =
                endpoints_of(service, port, family, &slices, vantage, &mut wanted.problems);
            wanted.problems.extend(troubles::of_sctp(service, port, &frontends, &sets));
            let from = viewpoint(port, family, vantage);
            wanted.ports.push(DesiredPort {
                name: ServicePortName {
                    service: service.name.clone(),
                    port: port.name.clone(),
                    protocol: port.protocol,
                },
                family,
                sets,
                slots,
                algorithm: service.algorithm.unwrap_or(vantage.algorithm),
                serving: match port.protocol {
                    Protocol::UDP => serving(slices.clone(), &from),
                    _ => Vec::new(),
                },
                affinity: service.affinity,
                admitted: admitted.clone().filter(|_| filtered),
                frontends,
            });
        }
    }
    wanted.markers = markers(service, &wanted.ports, vantage);
    wanted
}

fn viewpoint<'a>(port: &'a ServicePort, family: Family, vantage: &Vantage<'a>) -> Viewpoint<'a> {
    Viewpoint {
        port: &port.name,
        protocol: port.protocol,
        family,
        node: vantage.node,
        zone: vantage.zone,
    }
}

/// The endpoints of a Service port, and the slots that they take.
fn endpoints_of<'a>(
    service: &Service,
    port: &ServicePort,
    family: Family,
    slices: &(impl IntoIterator<Item = &'a EndpointSlice> + Clone),
    vantage: &Vantage<'_>,
    problems: &mut Vec<Problem>,
) -> (Sets, SlotOrder) {
    let from = viewpoint(port, family, vantage);
    let sets = select(slices.clone(), &from);
    let weights: WeightOf = if service.weights.is_empty() {
        WeightOf::new()
    } else {
        candidates(slices.clone(), &from)
            .into_iter()
            .map(|(endpoint, port)| ((endpoint.address, port), service.weights.of(endpoint)))
            .collect()
    };
    let algorithm = service.algorithm.unwrap_or(vantage.algorithm);
    let slots = |set: &[_]| slots::slots(set, &weights, algorithm, vantage.maglev_table_size);
    let (cluster, local) = (slots(&sets.cluster), slots(&sets.local));
    if let Some(shortfall) = cluster.shortfall {
        let (endpoints, given) = (sets.cluster.len(), cluster.order.len());
        problems.push(troubles::of_slots(service, shortfall, endpoints, given));
    }
    (sets, SlotOrder { cluster: cluster.order, local: local.order })
}

/// What marks the ClusterIPs of `service`, and the NodePorts of those of its ports that have one.
fn markers(
    service: &Service,
    ports: &[DesiredPort],
    vantage: &Vantage<'_>,
) -> BTreeSet<(FrontendKey, FrontendKind)> {
    let cluster_ips = service
        .cluster_ips
        .iter()
        .filter(|_| vantage.kinds.contains(FrontendKind::ClusterIp))
        .map(|address| (FrontendKey::cluster_ip_marker(*address), FrontendKind::ClusterIp));
    let node_ports = ports.iter().flat_map(|port| {
        let of_kind = |frontend: &&DesiredFrontend| frontend.kind == FrontendKind::NodePort;
        port.frontends.iter().filter(of_kind).map(|frontend| {
            let FrontendKey { port: number, protocol, .. } = frontend.key;
            (FrontendKey::node_port_marker(port.family, number, protocol), FrontendKind::NodePort)
        })
    });
    cluster_ips.chain(node_ports).collect()
}
