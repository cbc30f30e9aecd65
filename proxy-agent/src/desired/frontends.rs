//! The frontends of a Service port: SEMANTICS §2.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use proxy_common::{FrontendKind, Seconds, ServiceFlags};

use crate::model::{Family, IpMode, Service, ServicePort, TrafficPolicy};

use super::{Admitted, FrontendKey, Vantage};

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
    /// Whether the node is admitted where sources are checked.
    pub node_admitted: bool,
}

impl DesiredFrontend {
    /// As the datapath reads it.
    #[must_use]
    pub fn flags(&self, affinity: Option<Seconds>) -> ServiceFlags {
        [
            (self.local_only, ServiceFlags::LOCAL_ONLY),
            (affinity.is_some(), ServiceFlags::AFFINITY),
            (self.filtered, ServiceFlags::SOURCE_RANGES),
            (self.node_admitted, ServiceFlags::NODE_ADMITTED),
        ]
        .into_iter()
        .filter_map(|(set, flag)| set.then_some(flag))
        .fold(ServiceFlags::empty(), ServiceFlags::union)
    }
}

/// The frontends of `port` in `family`. Where an address is of several kinds, the first of
/// ClusterIP, load balancer, external IP, NodePort counts: a load balancer's is filtered.
pub(super) fn frontends(
    service: &Service,
    port: &ServicePort,
    family: Family,
    admitted: Option<&Admitted>,
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

    let mut known = BTreeSet::new();
    let mut frontends: Vec<DesiredFrontend> = Vec::new();
    for (address, kind, number) in
        cluster_ips.chain(load_balancers).chain(external_ips).chain(node_ports)
    {
        let Some(number) = number else { continue };
        if Family::of(address) != family || !vantage.kinds.contains(kind) {
            continue;
        }
        let key = FrontendKey { address, port: number, protocol: port.protocol };
        if !known.insert(key) {
            continue;
        }
        let policy = match kind {
            FrontendKind::ClusterIp => service.internal_traffic_policy,
            FrontendKind::ExternalIp | FrontendKind::LoadBalancer | FrontendKind::NodePort => {
                service.external_traffic_policy
            }
        };
        let admitted = admitted.filter(|_| kind == FrontendKind::LoadBalancer);
        frontends.push(DesiredFrontend {
            key,
            kind,
            local_only: policy == TrafficPolicy::Local,
            filtered: admitted.is_some(),
            node_admitted: admitted.is_some_and(|admitted| admitted.node),
        });
    }
    frontends
}
