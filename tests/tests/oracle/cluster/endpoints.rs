//! Random EndpointSlices of a Service: in every condition, with hints and without, on this node and
//! on others, several slices that overlap and disagree about ports.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{HEADLESS, OTHER_PROXY, ZONES};
use crate::random::Random;

/// Pods of this node, pods of others, the nodes themselves, and what is no pod at all.
const ENDPOINTS: [(&str, &str, Option<&str>); 9] = [
    ("10.244.1.10", "fd00:10:244:1::a", Some("node-a")),
    ("10.244.1.11", "fd00:10:244:1::b", Some("node-a")),
    ("10.244.1.12", "fd00:10:244:1::c", Some("node-a")),
    ("10.244.2.10", "fd00:10:244:2::a", Some("node-b")),
    ("10.244.2.11", "fd00:10:244:2::b", Some("node-b")),
    ("10.244.3.10", "fd00:10:244:3::a", Some("node-c")),
    ("172.18.0.11", "fd00:172:18::b", Some("node-a")),
    ("172.18.0.99", "fd00:172:18::63", Some("node-b")),
    ("203.0.113.200", "2001:db8:113::c8", None),
];

/// Whether the endpoint at `address` is on this node.
pub(crate) fn is_local(address: &str) -> bool {
    ENDPOINTS
        .iter()
        .any(|(v4, v6, node)| *node == Some("node-a") && (*v4 == address || *v6 == address))
}

/// How the hints of a Service's endpoints are written.
#[derive(Clone, Copy)]
struct Hints {
    zones: usize,
    nodes: usize,
}

/// EndpointSlices by name, for the Service `number`.
pub(super) fn any(random: &mut Random, number: usize, service: &Value) -> BTreeMap<String, Value> {
    let hints = random.weighted(&[
        (5, Hints { zones: 0, nodes: 0 }),
        (2, Hints { zones: 100, nodes: 0 }),
        (1, Hints { zones: 80, nodes: 0 }),
        (1, Hints { zones: 0, nodes: 100 }),
        (1, Hints { zones: 100, nodes: 80 }),
    ]);
    let mut slices = BTreeMap::new();
    for (family, digit) in [("IPv4", '4'), ("IPv6", '6')] {
        let known: Vec<Value> = (0..ENDPOINTS.len())
            .map(|index| endpoint(random, ENDPOINTS[index], family == "IPv6", hints))
            .collect();
        for index in 0..random.weighted(&[(2, 0), (5, 1), (3, 2)]) {
            let name = format!("service-{number}-{digit}-{index}");
            let slice = slice(random, number, service, family, &known);
            slices.insert(name.clone(), named(slice, &name));
        }
    }
    if random.percent(3) {
        let name = format!("service-{number}-names");
        let known = json!({ "addresses": ["example.com"] });
        let slice = slice(random, number, service, "FQDN", &[known]);
        slices.insert(name.clone(), named(slice, &name));
    }
    slices
}

fn named(mut slice: Value, name: &str) -> Value {
    slice["metadata"]["name"] = name.into();
    slice
}

fn slice(
    random: &mut Random,
    number: usize,
    service: &Value,
    family: &str,
    known: &[Value],
) -> Value {
    let mut labels = json!({ "kubernetes.io/service-name": format!("service-{number}") });
    if random.percent(3) {
        labels[HEADLESS] = "".into();
    }
    // As the controller copies it.
    let other = &service["metadata"]["labels"][OTHER_PROXY];
    if !other.is_null() && random.percent(50) {
        labels[OTHER_PROXY] = other.clone();
    }
    let mut endpoints: Vec<Value> = Vec::new();
    for _ in 0..random.below(5) {
        let endpoint = random.pick(known);
        let terminating = endpoint["conditions"]["terminating"] == true;
        if !terminating && random.percent(15) {
            // A pod that had the address before is still there, and loses.
            let mut gone = endpoint.clone();
            gone["conditions"] = json!({ "ready": false, "serving": true, "terminating": true });
            endpoints.push(gone);
        }
        endpoints.push(endpoint);
    }
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": { "namespace": "default", "labels": labels },
        "addressType": family,
        "ports": ports(random, service),
        "endpoints": endpoints,
    })
}

/// The ports of the Service, as one of its slices has them: most of them, some by another number.
fn ports(random: &mut Random, service: &Value) -> Value {
    let mut ports = Vec::new();
    for (index, port) in service["spec"]["ports"].as_array().into_iter().flatten().enumerate() {
        if random.percent(8) {
            continue;
        }
        // SCTP keeps its port on the packet path, see `differences`.
        let keeps = port["protocol"] == "SCTP" && random.percent(80);
        let target = match random.below(4) {
            _ if keeps => port["port"].clone(),
            0 => (9000 + index).into(),
            _ => (8000 + index).into(),
        };
        let protocol = if random.percent(4) { "TCP".into() } else { port["protocol"].clone() };
        ports.push(json!({ "name": port["name"], "port": target, "protocol": protocol }));
    }
    ports.into()
}

/// What is known of the endpoint at an address. It is one thing for all slices of a Service: where
/// two that aren't terminating have one address, kube-proxy takes either.
fn endpoint(
    random: &mut Random,
    (v4_address, v6_address, node): (&str, &str, Option<&str>),
    v6: bool,
    hints: Hints,
) -> Value {
    let mut addresses = vec![if v6 { v6_address } else { v4_address }];
    if random.percent(4) {
        addresses.push(if v6 { "fd00:10:244:9::9" } else { "10.244.9.9" });
    }
    let conditions = random.weighted(&[
        (50, json!({ "ready": true })),
        (10, json!({ "ready": true, "serving": true, "terminating": false })),
        (12, json!({ "ready": false })),
        (3, json!({ "ready": false, "serving": true })),
        (14, json!({ "ready": false, "serving": true, "terminating": true })),
        (6, json!({ "ready": false, "serving": false, "terminating": true })),
        (2, json!({ "ready": true, "serving": true, "terminating": true })),
        (3, json!({})),
    ]);
    let mut endpoint = json!({ "addresses": addresses, "conditions": conditions });
    if let Some(node) = node {
        endpoint["nodeName"] = node.into();
    }
    let mut given = json!({});
    if random.percent(hints.zones) {
        given["forZones"] = json!([{ "name": random.pick(&ZONES) }]);
    }
    if random.percent(hints.nodes) {
        given["forNodes"] = json!([{ "name": random.pick(&["node-a", "node-b"]) }]);
    }
    if given != json!({}) {
        endpoint["hints"] = given;
    }
    endpoint
}
