//! A cluster in as many words as the contract needs, and as manifests.

use std::net::IpAddr;

use proxy_agent::options::Selection;
use proxy_common::Protocol;
use serde_json::{Value, json};

/// The node that is asked about.
pub(crate) const NODE: &str = "here";
/// Its addresses.
pub(crate) const NODE_ADDRESSES: [&str; 2] = ["192.0.2.1", "2001:db8::1"];
/// Its zone.
pub(crate) const ZONE: &str = "east";
/// The cluster's ServiceCIDRs, as prefixes of text.
pub(crate) const SERVICE_CIDRS: [&str; 2] = ["10.96.", "fd00:96::"];

/// Flags of the agent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    pub(crate) masquerade_all: bool,
    pub(crate) external_ips: bool,
    pub(crate) refuse_external: bool,
    pub(crate) algorithm: Selection,
}

/// A cluster.
#[derive(Clone, Debug)]
pub(crate) struct Cluster {
    pub(crate) services: Vec<Service>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    ClusterIp,
    NodePort,
    LoadBalancer,
}

#[derive(Clone, Debug)]
pub(crate) struct Service {
    pub(crate) kind: Kind,
    /// IPv4, IPv6, or both.
    pub(crate) families: Vec<bool>,
    pub(crate) internal_local: bool,
    pub(crate) external_local: bool,
    pub(crate) external_ips: bool,
    /// An external IP that is a load balancer IP too.
    pub(crate) shared_ip: bool,
    pub(crate) ranges: Option<Vec<&'static str>>,
    pub(crate) affinity: bool,
    pub(crate) ports: Vec<Port>,
    pub(crate) endpoints: Vec<Endpoint>,
}

#[derive(Clone, Debug)]
pub(crate) struct Port {
    pub(crate) protocol: Protocol,
    pub(crate) number: u16,
    /// What endpoints listen on.
    pub(crate) target: u16,
}

#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    pub(crate) v4: bool,
    pub(crate) node: Option<&'static str>,
    pub(crate) conditions: (bool, bool, bool),
    pub(crate) for_nodes: Option<&'static str>,
    pub(crate) for_zones: Option<&'static str>,
    pub(crate) host_network: bool,
}

impl Port {
    pub(crate) fn name(&self, index: usize) -> String {
        format!("p{index}-{}", self.protocol)
    }
}

/// NodePort of the `port`th port of the `service`th Service.
pub(crate) fn node_port(service: usize, port: usize) -> u16 {
    u16::try_from(30_000 + service * 10 + port).unwrap()
}

/// An address that is made of a pattern and a number.
pub(crate) fn address(v4: bool, (four, six): (&str, &str), number: usize) -> IpAddr {
    if v4 { format!("{four}{number}") } else { format!("{six}{number:x}") }.parse().unwrap()
}

pub(crate) fn cluster_ip(v4: bool, service: usize) -> IpAddr {
    address(v4, ("10.96.0.", "fd00:96::"), 10 + service)
}

pub(crate) fn external_ip(v4: bool, service: usize) -> IpAddr {
    address(v4, ("198.51.100.", "2001:db8:e::"), 10 + service)
}

pub(crate) fn load_balancer_ip(v4: bool, service: usize) -> IpAddr {
    address(v4, ("198.51.100.", "2001:db8:e::"), 110 + service)
}

/// The address of the `index`th endpoint of the `service`th Service.
pub(crate) fn endpoint_address(endpoint: &Endpoint, service: usize, index: usize) -> IpAddr {
    if endpoint.host_network && endpoint.node == Some(NODE) && index == 0 {
        return NODE_ADDRESSES[usize::from(!endpoint.v4)].parse().unwrap();
    }
    address(endpoint.v4, ("10.244.1.", "fd00:244::"), 10 + service * 10 + index)
}

impl Cluster {
    /// As a list of Kubernetes' objects.
    pub(crate) fn manifests(&self) -> String {
        let mut items = vec![
            json!({
                "apiVersion": "v1", "kind": "Node",
                "metadata": {"name": NODE, "labels": {"topology.kubernetes.io/zone": ZONE}},
                "status": {"addresses": NODE_ADDRESSES
                    .map(|address| json!({"type": "InternalIP", "address": address}))},
            }),
            json!({
                "apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR",
                "metadata": {"name": "kubernetes"},
                "spec": {"cidrs": ["10.96.0.0/16", "fd00:96::/112"]},
            }),
        ];
        for (index, service) in self.services.iter().enumerate() {
            items.push(service.manifest(index));
            items.push(service.slice(index, true));
            items.push(service.slice(index, false));
        }
        json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()
    }
}

fn policy(local: bool) -> &'static str {
    if local { "Local" } else { "Cluster" }
}

impl Service {
    fn manifest(&self, index: usize) -> Value {
        let addresses = |address: fn(bool, usize) -> IpAddr| -> Vec<IpAddr> {
            [true, false].map(|v4| address(v4, index)).to_vec()
        };
        let ports: Vec<Value> = self
            .ports
            .iter()
            .enumerate()
            .map(|(at, port)| {
                let mut value = json!({
                    "name": port.name(at),
                    "protocol": port.protocol.to_string().to_uppercase(),
                    "port": port.number,
                });
                if self.kind != Kind::ClusterIp {
                    value["nodePort"] = node_port(index, at).into();
                }
                value
            })
            .collect();
        let mut external = Vec::new();
        if self.external_ips {
            external.extend(addresses(external_ip));
        }
        if self.shared_ip {
            external.extend(addresses(load_balancer_ip));
        }
        let mut spec = json!({
            "type": match self.kind {
                Kind::ClusterIp => "ClusterIP",
                Kind::NodePort => "NodePort",
                Kind::LoadBalancer => "LoadBalancer",
            },
            "clusterIPs": self.families.iter().map(|v4| cluster_ip(*v4, index)).collect::<Vec<_>>(),
            "ipFamilies": self.families.iter()
                .map(|v4| if *v4 { "IPv4" } else { "IPv6" }).collect::<Vec<_>>(),
            "internalTrafficPolicy": policy(self.internal_local),
            "externalTrafficPolicy": policy(self.external_local),
            "externalIPs": external,
            "sessionAffinity": if self.affinity { "ClientIP" } else { "None" },
            "ports": ports,
        });
        let mut status = json!({});
        if self.kind == Kind::LoadBalancer {
            let ingress = addresses(load_balancer_ip);
            let ingress: Vec<_> = ingress.iter().map(|ip| json!({"ip": ip})).collect();
            status = json!({"loadBalancer": {"ingress": ingress}});
            if let Some(ranges) = &self.ranges {
                spec["loadBalancerSourceRanges"] = json!(ranges);
            }
        }
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": format!("s{index}")}, "spec": spec, "status": status,
        })
    }

    fn slice(&self, index: usize, v4: bool) -> Value {
        let endpoints = self.endpoints.iter().enumerate().filter(|(_, it)| it.v4 == v4);
        let endpoints = endpoints.map(|(at, endpoint)| {
            let (ready, serving, terminating) = endpoint.conditions;
            let hint = |name: Option<&str>| {
                name.map(|name| vec![json!({"name": name})]).unwrap_or_default()
            };
            json!({
                "addresses": [endpoint_address(endpoint, index, at)],
                "nodeName": endpoint.node,
                "conditions": {"ready": ready, "serving": serving, "terminating": terminating},
                "hints": {
                    "forNodes": hint(endpoint.for_nodes),
                    "forZones": hint(endpoint.for_zones),
                },
            })
        });
        let ports = self.ports.iter().enumerate().map(|(at, port)| {
            json!({
                "name": port.name(at),
                "protocol": port.protocol.to_string().to_uppercase(),
                "port": port.target,
            })
        });
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {
                "name": format!("s{index}-{}", if v4 { 4 } else { 6 }),
                "labels": {"kubernetes.io/service-name": format!("s{index}")},
            },
            "addressType": if v4 { "IPv4" } else { "IPv6" },
            "ports": ports.collect::<Vec<_>>(),
            "endpoints": endpoints.collect::<Vec<_>>(),
        })
    }
}
