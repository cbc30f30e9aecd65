//! A small world of Services and EndpointSlices, crowded enough that everything collides.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use proptest::{collection::vec, option, prelude::*, sample::select};
use proxy_agent::{
    model::{
        Cidr, Conditions, Endpoint, EndpointPort, EndpointSlice, Family, Hints, IpMode,
        LoadBalancerAddress, NamespacedName, Node, Service, ServiceCidr, ServicePort, ServiceType,
        SourceRanges, TrafficPolicy, Unserved, Weights,
    },
    source::{Change, Event},
};
use proxy_common::{Algorithm, Protocol, Seconds};

/// The node the agent runs on.
pub(crate) const NODE: &str = "here";

/// Every object there is.
#[derive(Clone, Debug, Default)]
pub(crate) struct World {
    services: BTreeMap<NamespacedName, Service>,
    slices: BTreeMap<NamespacedName, EndpointSlice>,
    node: Option<Node>,
    cidrs: BTreeMap<Arc<str>, ServiceCidr>,
    /// The addresses of the node's devices.
    pub(crate) addresses: Vec<IpAddr>,
}

impl World {
    /// Takes in what changed.
    pub(crate) fn apply(&mut self, event: &Event) {
        match event.clone() {
            Event::Service(Change::Applied(it)) => _ = self.services.insert(it.name.clone(), it),
            Event::Service(Change::Deleted(name)) => _ = self.services.remove(&name),
            Event::EndpointSlice(Change::Applied(it)) => {
                self.slices.insert(it.name.clone(), it);
            }
            Event::EndpointSlice(Change::Deleted(name)) => _ = self.slices.remove(&name),
            Event::Node(Change::Applied(node)) => self.node = Some(node),
            Event::Node(Change::Deleted(_)) => self.node = None,
            Event::ServiceCidr(Change::Applied(it)) => _ = self.cidrs.insert(it.name.clone(), it),
            Event::ServiceCidr(Change::Deleted(name)) => _ = self.cidrs.remove(&name),
            Event::Synced | Event::Problem(_) => {}
        }
    }

    /// A first list of everything.
    pub(crate) fn list(&self) -> Vec<Event> {
        let mut events: Vec<Event> = Vec::new();
        events.extend(
            self.slices.values().cloned().map(|it| Event::EndpointSlice(Change::Applied(it))),
        );
        events
            .extend(self.services.values().cloned().map(|it| Event::Service(Change::Applied(it))));
        events.extend(self.node.clone().map(|it| Event::Node(Change::Applied(it))));
        events
            .extend(self.cidrs.values().cloned().map(|it| Event::ServiceCidr(Change::Applied(it))));
        events.push(Event::Synced);
        events
    }
}

/// Something that happens to an object.
pub(crate) fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => service().prop_map(|it| Event::Service(Change::Applied(it))),
        2 => name(&["a", "b", "c"]).prop_map(|name| Event::Service(Change::Deleted(name))),
        8 => slice().prop_map(|it| Event::EndpointSlice(Change::Applied(it))),
        2 => name(SLICES).prop_map(|name| Event::EndpointSlice(Change::Deleted(name))),
        1 => (option::of(select(ZONES)), addresses(NODE_IPS, 2)).prop_map(|(zone, internal_ips)| {
            Event::Node(Change::Applied(Node {
                name: NODE.into(),
                zone: zone.map(Into::into),
                internal_ips,
                leaving: false,
            }))
        }),
        1 => vec(select(&["10.96.0.0/16", "10.97.0.0/16", "fd00:96::/112"][..]), 0..3)
            .prop_map(|cidrs| Event::ServiceCidr(Change::Applied(ServiceCidr {
                name: "kubernetes".into(),
                cidrs: cidrs.iter().map(|cidr| cidr.parse().unwrap()).collect(),
            }))),
    ]
}

const SLICES: &[&str] = &["s1", "s2", "s3", "s4", "s5"];
const ZONES: &[&str] = &["east", "west"];
const NODES: &[&str] = &[NODE, "there"];
/// Addresses that the node may have.
pub(crate) const NODE_IPS: &[&str] = &["192.0.2.1", "192.0.2.2", "2001:db8::9"];
const PODS: &[&str] = &["web-0", "web-1"];
const RANGES: &[&str] = &["192.0.2.0/24", "203.0.113.0/24", "203.0.113.0/25", "2001:db8::/64"];
const WEIGHTS: &[(&str, u8)] = &[("10.1.0.1", 3), ("web-0", 2), ("there", 4), ("fd00:1::1", 2)];
const CLUSTER_IPS: &[&str] = &["10.96.0.1", "10.96.0.2", "10.96.0.3", "fd00:96::1", "fd00:96::2"];
const OTHER_IPS: &[&str] = &["198.51.100.1", "198.51.100.2", "10.96.0.1", "2001:db8::1"];
const V4: &[&str] = &["10.1.0.1", "10.1.0.2", "10.2.0.1", "10.2.0.2", "10.2.0.3"];
const V6: &[&str] = &["fd00:1::1", "fd00:1::2", "fd00:2::1"];
const PORTS: &[(&str, Protocol, u16)] = &[
    ("http", Protocol::TCP, 80),
    ("https", Protocol::TCP, 443),
    ("dns", Protocol::UDP, 53),
    ("dns-tcp", Protocol::TCP, 53),
    ("sctp", Protocol::SCTP, 8000),
];

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Some of these addresses.
pub(crate) fn addresses(
    of: &'static [&'static str],
    most: usize,
) -> impl Strategy<Value = Vec<IpAddr>> {
    vec(select(of), 0..=most).prop_map(|texts| {
        let mut addresses: Vec<IpAddr> = texts.iter().map(|text| address(text)).collect();
        addresses.sort_unstable();
        addresses.dedup();
        addresses
    })
}

fn name(names: &'static [&'static str]) -> impl Strategy<Value = NamespacedName> {
    select(names).prop_map(|name| NamespacedName::new("default", name))
}

fn policy() -> impl Strategy<Value = TrafficPolicy> {
    select(&[TrafficPolicy::Cluster, TrafficPolicy::Local][..])
}

fn ports() -> impl Strategy<Value = Vec<ServicePort>> {
    vec((select(PORTS), option::of(30_001..30_003u16)), 0..4).prop_map(|picked| {
        let mut ports: Vec<ServicePort> = Vec::new();
        for ((name, protocol, port), node_port) in picked {
            if ports.iter().all(|port| *port.name != *name) {
                ports.push(ServicePort { name: name.into(), protocol, port, node_port });
            }
        }
        ports
    })
}

fn service() -> impl Strategy<Value = Service> {
    (
        name(&["a", "b", "c"]),
        option::of(0..3i64),
        prop_oneof![9 => Just(None), 1 => Just(Some(Unserved::HeadlessLabel))],
        addresses(CLUSTER_IPS, 2),
        (addresses(OTHER_IPS, 2), addresses(OTHER_IPS, 1)),
        ports(),
        (policy(), policy()),
        option::weighted(0.3, 1..3u32),
        option::weighted(0.4, vec(select(RANGES), 0..3)),
        (option::weighted(0.5, select(&Algorithm::ALL[..])), vec(select(WEIGHTS), 0..3)),
    )
        .prop_map(
            |(
                name,
                created,
                unserved,
                cluster_ips,
                other,
                ports,
                policies,
                affinity,
                ranges,
                picking,
            )| Service {
                name,
                created,
                unserved,
                kind: ServiceType::LoadBalancer,
                families: Family::ALL.to_vec(),
                cluster_ips,
                external_ips: other.0,
                load_balancer: other
                    .1
                    .into_iter()
                    .map(|address| LoadBalancerAddress { address, mode: IpMode::Vip })
                    .collect(),
                source_ranges: ranges.map(|ranges| SourceRanges { ranges: distinct(&ranges) }),
                ports,
                internal_traffic_policy: policies.0,
                external_traffic_policy: policies.1,
                affinity: affinity.map(Seconds::new),
                algorithm: picking.0,
                weights: picking.1.iter().fold(
                    Weights::default(),
                    |mut weights, (name, weight)| {
                        weights.insert(name, *weight);
                        weights
                    },
                ),
                health_check_node_port: None,
            },
        )
}

fn distinct(ranges: &[&str]) -> Vec<Cidr> {
    let mut ranges: Vec<Cidr> = ranges.iter().map(|range| range.parse().unwrap()).collect();
    ranges.sort_unstable();
    ranges.dedup();
    ranges
}

fn names(of: &'static [&'static str]) -> impl Strategy<Value = Vec<Arc<str>>> {
    vec(select(of), 0..2).prop_map(|names| names.into_iter().map(Into::into).collect())
}

/// An endpoint of `family`.
pub(crate) fn endpoint(family: Family) -> impl Strategy<Value = Endpoint> {
    let addresses = match family {
        Family::V4 => V4,
        Family::V6 => V6,
    };
    let conditions = prop_oneof![
        4 => Just(Conditions::default()),
        3 => (any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
            |(ready, serving, terminating)| Conditions { ready, serving, terminating }
        ),
    ];
    let placed = (option::of(select(PODS)), option::of(select(NODES)));
    (select(addresses), placed, conditions, names(NODES), names(ZONES)).prop_map(
        |(address, (pod, node), conditions, for_nodes, for_zones)| Endpoint {
            address: address.parse().unwrap(),
            pod: pod.map(Into::into),
            node: node.map(Into::into),
            conditions,
            hints: Hints::new(for_nodes, for_zones),
        },
    )
}

/// An EndpointSlice.
pub(crate) fn slice() -> impl Strategy<Value = EndpointSlice> {
    let ports = vec((select(PORTS), 8000..8002u16), 0..3);
    let owner = option::weighted(0.9, name(&["a", "b", "c"]));
    (name(SLICES), owner, select(&Family::ALL[..]), ports)
        .prop_flat_map(|(name, service, family, ports)| {
            (Just((name, service, family, ports)), vec(endpoint(family), 0..5))
        })
        .prop_map(|((name, service, family, ports), endpoints)| EndpointSlice {
            name,
            service,
            family,
            ports: ports
                .into_iter()
                .map(|((name, protocol, _), port)| EndpointPort {
                    name: name.into(),
                    protocol,
                    port,
                })
                .collect(),
            endpoints,
        })
}
