//! What the maps should say about one Service: its frontends, and the endpoint sets behind them.
//!
//! Pure, one Service at a time, and blind to what is installed: no id, no slot, and no other
//! Service (who gets a frontend that two ask for is [`crate::reconcile`]'s business). SEMANTICS §2.

mod addresses;
mod frontend;
mod kinds;

pub use addresses::{NodePortAddresses, select_node_addresses};
pub use frontend::FrontendKey;
pub use kinds::FrontendKinds;

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use proxy_common::{FrontendKind, Protocol, Seconds, ServiceFlags};

use crate::{
    endpoints::{Sets, Viewpoint, select, serving},
    model::{
        EndpointSlice, Family, IpMode, Service, ServicePort, ServicePortName, SourceRanges,
        TrafficPolicy,
    },
};

/// Where the agent is, and what it programs.
#[derive(Clone, Copy, Debug)]
pub struct Vantage<'a> {
    /// The name of this node.
    pub node: &'a str,
    /// Its zone.
    pub zone: Option<&'a str>,
    /// Its addresses that serve NodePorts, without loopback.
    pub node_port_addresses: &'a [IpAddr],
    /// Which frontends are programmed.
    pub kinds: FrontendKinds,
}

/// What the maps should say about a Service.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct DesiredService {
    /// Its ports, one for each family.
    pub ports: Vec<DesiredPort>,
    /// Its ClusterIPs: ports that nobody defined are rejected there.
    pub cluster_ips: Vec<IpAddr>,
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
    /// For UDP: every endpoint that serves, whether or not new flows go there.
    pub serving: Vec<SocketAddr>,
    /// How long a client stays with its endpoint; `None` without affinity.
    pub affinity: Option<Seconds>,
    /// Its frontends, in order, each once.
    pub frontends: Vec<DesiredFrontend>,
}

/// A frontend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DesiredFrontend {
    /// Where traffic arrives.
    pub key: FrontendKey,
    /// What kind of address it is.
    pub kind: FrontendKind,
    /// Whether only the local set is used.
    pub local_only: bool,
    /// Whether sources are checked.
    pub filtered: bool,
}

impl DesiredFrontend {
    /// As the datapath reads it.
    #[must_use]
    pub fn flags(&self, affinity: Option<Seconds>) -> ServiceFlags {
        [
            (self.local_only, ServiceFlags::LOCAL_ONLY),
            (affinity.is_some(), ServiceFlags::AFFINITY),
            (self.filtered, ServiceFlags::SOURCE_RANGES),
        ]
        .into_iter()
        .filter_map(|(set, flag)| set.then_some(flag))
        .fold(ServiceFlags::empty(), ServiceFlags::union)
    }
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
    // Kubernetes allows no two ports of one number; should it happen, the first one counts.
    let mut taken = BTreeSet::new();
    let ports = service
        .ports
        .iter()
        .flat_map(|port| Family::ALL.map(|family| (port, family)))
        .filter(|(_, family)| service.families.contains(family))
        .filter_map(|(port, family)| {
            let mut frontends = frontends(service, port, family, vantage);
            frontends.retain(|frontend| taken.insert(frontend.key));
            if frontends.is_empty() {
                return None;
            }
            let from = Viewpoint {
                port: &port.name,
                protocol: port.protocol,
                family,
                node: vantage.node,
                zone: vantage.zone,
            };
            Some(DesiredPort {
                name: ServicePortName {
                    service: service.name.clone(),
                    port: port.name.clone(),
                    protocol: port.protocol,
                },
                family,
                sets: select(slices.clone(), &from),
                serving: match port.protocol {
                    Protocol::UDP => serving(slices.clone(), &from),
                    _ => Vec::new(),
                },
                affinity: service.affinity,
                frontends,
            })
        })
        .collect();
    let mut cluster_ips = service.cluster_ips.clone();
    cluster_ips.sort_unstable();
    cluster_ips.dedup();
    cluster_ips.retain(|_| vantage.kinds.contains(FrontendKind::ClusterIp));
    DesiredService { ports, cluster_ips }
}

/// The frontends of `port` in `family`. Where an address is of several kinds, the first of
/// ClusterIP, load balancer, external IP, NodePort counts: a load balancer's is filtered.
fn frontends(
    service: &Service,
    port: &ServicePort,
    family: Family,
    vantage: &Vantage<'_>,
) -> Vec<DesiredFrontend> {
    let cluster_ips = service
        .cluster_ips
        .iter()
        .map(|address| (*address, FrontendKind::ClusterIp, Some(port.port)));
    let load_balancers = service
        .load_balancer
        .iter()
        .filter(|ingress| ingress.mode == IpMode::Vip)
        .map(|ingress| (ingress.address, FrontendKind::LoadBalancer, Some(port.port)));
    let external_ips = service
        .external_ips
        .iter()
        .map(|address| (*address, FrontendKind::ExternalIp, Some(port.port)));
    let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    let node_ports = vantage
        .node_port_addresses
        .iter()
        .copied()
        .chain(loopback)
        .map(|address| (address, FrontendKind::NodePort, port.node_port));

    let mut frontends: Vec<DesiredFrontend> = Vec::new();
    for (address, kind, number) in
        cluster_ips.chain(load_balancers).chain(external_ips).chain(node_ports)
    {
        let Some(number) = number else { continue };
        if Family::of(address) != family || !vantage.kinds.contains(kind) {
            continue;
        }
        let key = FrontendKey { address, port: number, protocol: port.protocol };
        if frontends.iter().any(|frontend| frontend.key == key) {
            continue;
        }
        let policy = match kind {
            FrontendKind::ClusterIp => service.internal_traffic_policy,
            FrontendKind::ExternalIp | FrontendKind::LoadBalancer | FrontendKind::NodePort => {
                service.external_traffic_policy
            }
        };
        frontends.push(DesiredFrontend {
            key,
            kind,
            local_only: policy == TrafficPolicy::Local,
            filtered: kind == FrontendKind::LoadBalancer
                && service.source_ranges.as_ref().is_some_and(|ranges| is_filtered(ranges, family)),
        });
    }
    frontends
}

/// Whether clients of `family` are checked: without a valid range nobody is admitted, but ranges
/// of the other family only leave this one alone.
fn is_filtered(ranges: &SourceRanges, family: Family) -> bool {
    ranges.ranges.is_empty() || ranges.ranges.iter().any(|range| range.family() == family)
}
