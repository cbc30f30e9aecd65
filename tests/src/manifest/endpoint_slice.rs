//! EndpointSlices of a Service: one for each family, as the slice controller writes them.

use serde_json::{Value, json};

use super::{NAMESPACE, Protocol};
use crate::{Addresses, Family, Host, Node};

/// The endpoints of a Service, of both families.
#[derive(Clone, Debug)]
#[must_use]
pub struct EndpointSlice {
    service: String,
    ports: Vec<Value>,
    endpoints: Vec<Endpoint>,
}

#[derive(Clone, Debug)]
struct Endpoint {
    addresses: Addresses,
    node: String,
    conditions: Value,
}

/// No endpoints yet, for the Service `service`.
pub fn endpoint_slice(service: &str) -> EndpointSlice {
    EndpointSlice { service: service.to_owned(), ports: Vec::new(), endpoints: Vec::new() }
}

impl EndpointSlice {
    /// With a port, by the name it has in the Service.
    pub fn port(mut self, name: &str, port: u16, protocol: Protocol) -> Self {
        self.ports.push(json!({ "name": name, "port": port, "protocol": protocol.name() }));
        self
    }

    /// With a ready endpoint: `host` (a pod of `node`, or the node itself).
    pub fn endpoint(self, host: &Host, node: &Node) -> Self {
        self.endpoint_in(host, node, &json!({ "ready": true }))
    }

    /// With an endpoint in a condition of the story's choice.
    pub fn endpoint_in(self, host: &Host, node: &Node, conditions: &Value) -> Self {
        self.push(host.addresses(), node, conditions)
    }

    /// With a ready endpoint on `node` at addresses that are not its host's own.
    pub fn endpoint_at(self, addresses: Addresses, node: &Node) -> Self {
        self.push(addresses, node, &json!({ "ready": true }))
    }

    fn push(mut self, addresses: Addresses, node: &Node, conditions: &Value) -> Self {
        let (node, conditions) = (node.name().to_owned(), conditions.clone());
        self.endpoints.push(Endpoint { addresses, node, conditions });
        self
    }

    /// The objects, one for each family.
    #[must_use]
    pub fn objects(&self) -> [Value; 2] {
        Family::BOTH.map(|family| self.object(family))
    }

    /// The object of `family`.
    #[must_use]
    pub fn object(&self, family: Family) -> Value {
        let endpoints: Vec<Value> = self
            .endpoints
            .iter()
            .map(|endpoint| {
                json!({
                    "addresses": [endpoint.addresses.of(family)],
                    "conditions": endpoint.conditions,
                    "nodeName": endpoint.node,
                })
            })
            .collect();
        let suffix = match family {
            Family::V4 => "v4",
            Family::V6 => "v6",
        };
        json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": format!("{}-{suffix}", self.service),
                "namespace": NAMESPACE,
                "labels": { "kubernetes.io/service-name": self.service },
            },
            "addressType": family.to_string(),
            "ports": self.ports,
            "endpoints": endpoints,
        })
    }
}
