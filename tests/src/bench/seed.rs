//! The Services and EndpointSlices of a large cluster, made of two that the API server has answered
//! with, so that they are as large as real ones.
//!
//! Pure: numbers in, objects out.

use std::net::Ipv4Addr;

use serde_json::{Value, json};

/// As many Services as the range has room for beside those of the bench.
pub const MOST: u32 = 64_000;
/// Services beyond these have two endpoints: half a million endpoints would overflow the maps.
const FULL: u32 = 10_000;
/// The first ClusterIP: the API server hands out lower ones by itself.
const CLUSTER_IPS: u32 = u32::from_be_bytes([10, 96, 2, 0]);
/// The first endpoint; each Service has sixteen addresses.
const ENDPOINTS: u32 = u32::from_be_bytes([10, 128, 0, 0]);
const PER_SERVICE: u32 = 16;
const NODES: u32 = 100;
const ZONES: u32 = 3;

/// What objects are made of.
pub struct Seed {
    /// A Service as the API server tells it.
    pub service: Value,
    /// An EndpointSlice of it, likewise.
    pub slice: Value,
    /// How many endpoints a Service has.
    pub endpoints: u32,
}

impl Seed {
    /// How many endpoints the Service `number` has.
    pub fn endpoints_of(&self, number: u32) -> u32 {
        if number < FULL { self.endpoints } else { self.endpoints.min(2) }
    }

    /// The Service, its slice, and the object that says whose address it is.
    pub fn objects(&self, number: u32) -> [Value; 3] {
        let name = name(number);
        let address = Ipv4Addr::from_bits(CLUSTER_IPS + number).to_string();
        let mut service = self.service.clone();
        service["metadata"]["name"] = name.clone().into();
        service["metadata"]["uid"] = uid(1, number).into();
        service["spec"]["clusterIP"] = address.clone().into();
        service["spec"]["clusterIPs"] = json!([address]);
        let claim = json!({
            "apiVersion": "networking.k8s.io/v1",
            "kind": "IPAddress",
            "metadata": {
                "name": address,
                "uid": uid(2, number),
                "creationTimestamp": service["metadata"]["creationTimestamp"],
                "labels": {
                    "ipaddress.kubernetes.io/ip-family": "IPv4",
                    "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
                },
            },
            "spec": {
                "parentRef": { "resource": "services", "namespace": "default", "name": name },
            },
        });
        [claim, service, self.slice(number, 0)]
    }

    /// The slice of the Service `number` after so many changes of its first endpoint.
    pub fn slice(&self, number: u32, changes: u32) -> Value {
        let name = name(number);
        let mut slice = self.slice.clone();
        slice["metadata"]["name"] = format!("{name}-x7k2p").into();
        slice["metadata"]["generateName"] = format!("{name}-").into();
        slice["metadata"]["uid"] = uid(3, number).into();
        slice["metadata"]["generation"] = (changes + 1).into();
        slice["metadata"]["labels"] = json!({
            "app": name,
            "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
            "kubernetes.io/service-name": name,
        });
        let count = self.endpoints_of(number);
        slice["endpoints"] = (0..count).map(|index| endpoint(number, index, changes)).collect();
        slice
    }
}

fn endpoint(number: u32, index: u32, changes: u32) -> Value {
    // The first one moves between addresses that no other has.
    let place = if index == 0 && changes > 0 { 10 + changes % 6 } else { index };
    let address = Ipv4Addr::from_bits(ENDPOINTS + number * PER_SERVICE + place);
    let node = (number + index) % NODES;
    json!({
        "addresses": [address],
        "conditions": { "ready": true, "serving": true, "terminating": false },
        "nodeName": format!("worker-{node}"),
        "zone": format!("zone-{}", node % ZONES),
        "targetRef": {
            "kind": "Pod",
            "name": format!("{}-6d4cf56db6-{place:05}", name(number)),
            "namespace": "default",
            "uid": uid(4, number * PER_SERVICE + place),
        },
    })
}

fn name(number: u32) -> String {
    format!("service-{number:05}")
}

fn uid(kind: u32, number: u32) -> String {
    format!("{kind:08x}-5eed-4000-8000-{number:012x}")
}
