//! A random Service: any type, any policy, any family, anything else that a proxy looks at.
//!
//! Its ClusterIPs are its own, its families stay what they were created with. Ports differ from
//! Service to Service, so that Services may share external addresses without a conflict, in which
//! the winner would be nobody's to say.

use std::ops::RangeInclusive;

use serde_json::{Value, json};

use super::{HEADLESS, OTHER_PROXY};
use crate::{random::Random, verdict::Transport};

/// Addresses that Services share among them, of both families.
const SHARED: [&str; 4] = ["203.0.113.1", "203.0.113.2", "2001:db8:113::1", "2001:db8:113::2"];

/// Prefixes that load balancers may admit. The first two of each family have clients in them, the
/// third the node, the last the pods.
const RANGES: [&str; 10] = [
    "192.0.2.0/25",
    "192.0.2.200/32",
    "172.18.0.0/24",
    "198.18.0.0/15",
    "10.244.1.0/24",
    "2001:db8:2::/112",
    "2001:db8:2::c8/128",
    "fd00:172:18::/64",
    "2001:db8:ffff::/48",
    "fd00:10:244:1::/64",
];

/// The NodePorts that the API server has to give: enough that each is used once. Freed ones aren't
/// free at once.
pub(crate) const NODE_PORTS: RangeInclusive<u64> = 20_000..=59_999;

/// How many of them a Service may use: one for each of its ports, and the last for its health.
const NODE_PORTS_EACH: u64 = 4;

/// The number of the Service `name`.
pub(super) fn number(name: &str) -> Option<usize> {
    name.strip_prefix("service-")?.parse().ok()
}

/// A Service, in place of `old` if that is there; the one after `used` others.
pub(super) fn any(random: &mut Random, number: usize, old: Option<&Value>, used: u64) -> Value {
    let spec = old.map_or_else(|| birth(random, number), |old| inherited(&old["spec"]));
    let mut service = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": { "name": format!("service-{number}"), "namespace": "default", "labels": {} },
        "spec": spec,
        "status": {},
    });
    if random.percent(4) {
        service["metadata"]["labels"][OTHER_PROXY] = "other".into();
    }
    if random.percent(3) {
        service["metadata"]["labels"][HEADLESS] = "".into();
    }
    let spec = &mut service["spec"];
    spec["ports"] = ports(random, number);
    if spec["type"] == "ExternalName" || spec["clusterIP"] == "None" {
        return service;
    }
    expose(random, number, used, spec);
    if random.percent(25) {
        spec["internalTrafficPolicy"] = "Local".into();
    }
    if random.percent(20) {
        spec["sessionAffinity"] = "ClientIP".into();
        spec["sessionAffinityConfig"] = json!({ "clientIP": { "timeoutSeconds": 600 } });
    }
    if random.percent(20) {
        spec["trafficDistribution"] = "PreferClose".into();
    }
    if spec["type"] == "LoadBalancer" {
        service["status"] = status(random, number);
    }
    service
}

/// What a Service keeps for life: whether it has ClusterIPs, and of which families.
fn birth(random: &mut Random, number: usize) -> Value {
    let (v4, v6) = (format!("10.96.1.{number}"), format!("fd00:10:96::{:x}", 0x100 + number));
    match random.below(100) {
        0..3 => return json!({ "type": "ExternalName", "externalName": "example.com" }),
        3..6 => return json!({ "type": "ClusterIP", "clusterIP": "None" }),
        _ => {}
    }
    let (addresses, families): (Vec<String>, &[&str]) = match random.below(10) {
        0..3 => (vec![v4], &["IPv4"]),
        3..5 => (vec![v6], &["IPv6"]),
        5..7 => (vec![v6, v4], &["IPv6", "IPv4"]),
        _ => (vec![v4, v6], &["IPv4", "IPv6"]),
    };
    json!({
        "type": "ClusterIP",
        "clusterIP": addresses[0],
        "clusterIPs": addresses,
        "ipFamilies": families,
        "ipFamilyPolicy": if families.len() > 1 { "RequireDualStack" } else { "SingleStack" },
    })
}

fn inherited(old: &Value) -> Value {
    let mut spec = json!({});
    for field in [
        "clusterIP",
        "clusterIPs",
        "ipFamilies",
        "ipFamilyPolicy",
        "externalName",
        "healthCheckNodePort",
    ] {
        if !old[field].is_null() {
            spec[field] = old[field].clone();
        }
    }
    let external_name = old["type"] == "ExternalName";
    spec["type"] = if external_name { "ExternalName" } else { "ClusterIP" }.into();
    spec
}

/// Type, external addresses and policy.
fn expose(random: &mut Random, number: usize, used: u64, spec: &mut Value) {
    let kind = random.weighted(&[(3, "ClusterIP"), (3, "NodePort"), (4, "LoadBalancer")]);
    spec["type"] = kind.into();
    if random.percent(30) {
        let own = [format!("198.51.100.{number}"), format!("2001:db8:51::{number:x}")];
        let mut addresses = vec![random.pick(&own)];
        if random.percent(50) {
            let other = random.pick(&SHARED);
            addresses.push(other.to_owned());
        }
        spec["externalIPs"] = addresses.into();
    }
    let external = kind != "ClusterIP" || !spec["externalIPs"].is_null();
    if external && random.percent(40) {
        spec["externalTrafficPolicy"] = "Local".into();
    }
    let without = kind == "LoadBalancer" && random.percent(20);
    if without {
        spec["allocateLoadBalancerNodePorts"] = false.into();
    }
    let base = NODE_PORTS_EACH * used + NODE_PORTS.start();
    let checked = kind == "LoadBalancer" && spec["externalTrafficPolicy"] == "Local";
    if !checked {
        spec.as_object_mut().map(|spec| spec.remove("healthCheckNodePort"));
    } else if spec["healthCheckNodePort"].is_null() {
        // The server would take one that a Service is to ask for later.
        spec["healthCheckNodePort"] = (base + NODE_PORTS_EACH - 1).into();
    }
    if kind != "ClusterIP" && !without {
        // The server's own choice runs into duplicates where two protocols share a number.
        for port in spec["ports"].as_array_mut().into_iter().flatten() {
            port["nodePort"] = (base + port["port"].as_u64().unwrap_or(0) % 10).into();
        }
    }
    if kind == "LoadBalancer" && random.percent(45) {
        let ranges: Vec<&str> = (0..=random.below(3)).map(|_| random.pick(&RANGES)).collect();
        spec["loadBalancerSourceRanges"] = ranges.into();
    }
}

fn ports(random: &mut Random, number: usize) -> Value {
    let count = random.weighted(&[(5, 1), (3, 2), (2, 3)]);
    let mut ports = Vec::new();
    for index in 0..count {
        let transport =
            random.weighted(&[(5, Transport::Tcp), (4, Transport::Udp), (1, Transport::Sctp)]);
        // The same number twice where that is for two protocols.
        let port = port(number, if random.percent(30) { 0 } else { index });
        let taken = |other: &Value| other["port"] == port && other["protocol"] == transport.upper();
        if ports.iter().any(taken) {
            continue;
        }
        let name =
            if count == 1 && random.percent(50) { String::new() } else { format!("p{index}") };
        ports.push(json!({ "name": name, "port": port, "protocol": transport.upper() }));
    }
    ports.into()
}

/// Port `index` of the Service `number`; its last digit is the index.
pub(super) fn port(number: usize, index: usize) -> usize {
    1000 + 10 * number + index
}

/// What a load balancer says of itself.
fn status(random: &mut Random, number: usize) -> Value {
    let mut ingress = Vec::new();
    for address in [format!("198.51.100.{}", 100 + number), format!("2001:db8:51::1:{number:x}")] {
        if random.percent(75) {
            ingress.push(address);
        }
    }
    // One that may be the Service's external address too, and one that Services share.
    if random.percent(20) {
        ingress.push(format!("198.51.100.{number}"));
    }
    if random.percent(20) {
        ingress.push(random.pick(&SHARED).to_owned());
    }
    let ingress: Vec<Value> = ingress
        .into_iter()
        .map(|address| match random.below(10) {
            0 => json!({ "ip": address, "ipMode": "Proxy" }),
            1 => json!({ "ip": address }),
            _ => json!({ "ip": address, "ipMode": "VIP" }),
        })
        .collect();
    json!({ "loadBalancer": { "ingress": ingress } })
}
