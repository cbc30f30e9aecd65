//! Services.

use std::{net::IpAddr, sync::Arc};

use proxy_common::{Algorithm, Protocol, Seconds};

use super::{Cidr, Family, NamespacedName, Object, Weights};

/// A Service, pruned to what the datapath needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its name.
    pub name: NamespacedName,
    /// `metadata.creationTimestamp` in seconds since 1970; decides which of two Services has a
    /// frontend that both ask for.
    pub created: Option<i64>,
    /// Why nothing is programmed for it; `None` when it is served.
    pub unserved: Option<Unserved>,
    /// `spec.type`.
    pub kind: ServiceType,
    /// The families it has: those of `spec.ipFamilies`, or else of its ClusterIPs.
    pub families: Vec<Family>,
    /// `spec.clusterIPs`.
    pub cluster_ips: Vec<IpAddr>,
    /// `spec.externalIPs`.
    pub external_ips: Vec<IpAddr>,
    /// `status.loadBalancer.ingress[]` that have an address.
    pub load_balancer: Vec<LoadBalancerAddress>,
    /// `spec.loadBalancerSourceRanges`; `None` when not set.
    pub source_ranges: Option<SourceRanges>,
    /// `spec.ports`.
    pub ports: Vec<ServicePort>,
    /// `spec.internalTrafficPolicy`.
    pub internal_traffic_policy: TrafficPolicy,
    /// `spec.externalTrafficPolicy`.
    pub external_traffic_policy: TrafficPolicy,
    /// How long a client stays with its endpoint; `None` without `sessionAffinity: ClientIP`.
    pub affinity: Option<Seconds>,
    /// Annotation `sluice.dev/algorithm`; `None` leaves it to the agent.
    pub algorithm: Option<Algorithm>,
    /// Annotation `sluice.dev/weights`.
    pub weights: Weights,
    /// `spec.healthCheckNodePort`.
    pub health_check_node_port: Option<u16>,
}

impl Object for Service {
    type Key = NamespacedName;

    fn key(&self) -> NamespacedName {
        self.name.clone()
    }
}

/// Why nothing is programmed for a Service (SEMANTICS §1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unserved {
    /// It has the label `service.kubernetes.io/service-proxy-name`.
    OtherProxy {
        /// The label's value.
        proxy: Arc<str>,
    },
    /// It has the label `service.kubernetes.io/headless`.
    HeadlessLabel,
    /// `spec.type: ExternalName`.
    ExternalName,
    /// `spec.clusterIP` is `None`, empty or absent.
    NoClusterIp,
}

/// `spec.type` of a Service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceType {
    /// `ClusterIP`.
    ClusterIp,
    /// `NodePort`.
    NodePort,
    /// `LoadBalancer`.
    LoadBalancer,
    /// `ExternalName`.
    ExternalName,
}

/// An entry of `spec.ports`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// Its name; empty when it has none.
    pub name: Arc<str>,
    /// Its protocol.
    pub protocol: Protocol,
    /// The port of ClusterIPs, external IPs and load balancers.
    pub port: u16,
    /// The port of the node's addresses.
    pub node_port: Option<u16>,
}

/// Which set of endpoints a policy admits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum TrafficPolicy {
    /// The cluster set.
    #[default]
    Cluster,
    /// The local set.
    Local,
}

/// An entry of `status.loadBalancer.ingress` that has an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadBalancerAddress {
    /// `ip`.
    pub address: IpAddr,
    /// `ipMode`.
    pub mode: IpMode,
}

/// `status.loadBalancer.ingress[].ipMode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum IpMode {
    /// Traffic arrives with the load balancer's address: it is a frontend.
    #[default]
    Vip,
    /// Traffic arrives with another address: it is none.
    Proxy,
}

/// `spec.loadBalancerSourceRanges`, where it is set. Without a valid range nobody is admitted.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct SourceRanges {
    /// The valid ones.
    pub ranges: Vec<Cidr>,
}
