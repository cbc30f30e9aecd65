//! A Service, port by port.

use serde_json::{Value, json};

use super::{NAMESPACE, Protocol};
use crate::{Addresses, Family};

/// A dual-stack Service of type ClusterIP.
#[derive(Clone, Debug)]
#[must_use]
pub struct Service {
    name: String,
    cluster_ips: Vec<String>,
    families: Vec<&'static str>,
    ports: Vec<Value>,
    kind: &'static str,
    ingress: Vec<Value>,
    spec: serde_json::Map<String, Value>,
    annotations: serde_json::Map<String, Value>,
}

/// A Service `name` with both `addresses` as its ClusterIPs.
pub fn service(name: &str, addresses: Addresses) -> Service {
    Service {
        name: name.to_owned(),
        cluster_ips: addresses.both().map(|address| address.to_string()).to_vec(),
        families: vec!["IPv4", "IPv6"],
        ports: Vec::new(),
        kind: "ClusterIP",
        ingress: Vec::new(),
        spec: serde_json::Map::new(),
        annotations: serde_json::Map::new(),
    }
}

impl Service {
    /// Of one family only.
    pub fn single_stack(mut self, family: Family) -> Self {
        let kept = usize::from(family == Family::V6);
        self.cluster_ips = vec![self.cluster_ips.swap_remove(kept)];
        self.families = vec![self.families.swap_remove(kept)];
        self
    }

    /// With a port; endpoints are matched by its name.
    pub fn port(mut self, name: &str, port: u16, protocol: Protocol) -> Self {
        self.ports.push(json!({ "name": name, "port": port, "protocol": protocol.name() }));
        self
    }

    /// With this NodePort for the port that was added last.
    ///
    /// # Panics
    /// When there is no port yet.
    pub fn node_port(mut self, number: u16) -> Self {
        let port = self.ports.last_mut().expect("a port was added");
        port["nodePort"] = number.into();
        if self.kind == "ClusterIP" {
            self.kind = "NodePort";
        }
        self
    }

    /// With load balancer IPs.
    pub fn load_balancer(self, addresses: Addresses) -> Self {
        self.ingress(addresses, &json!({}))
    }

    /// With load balancer IPs of a load balancer that is a proxy: traffic has to go there.
    pub fn proxying_load_balancer(self, addresses: Addresses) -> Self {
        self.ingress(addresses, &json!({ "ipMode": "Proxy" }))
    }

    fn ingress(mut self, addresses: Addresses, fields: &Value) -> Self {
        self.kind = "LoadBalancer";
        for address in addresses.both() {
            let mut point = fields.clone();
            point["ip"] = address.to_string().into();
            self.ingress.push(point);
        }
        self
    }

    /// With `externalIPs`.
    pub fn external_ips(self, addresses: Addresses) -> Self {
        let both = addresses.both().map(|address| address.to_string());
        self.with("externalIPs", both.to_vec())
    }

    /// With session affinity of this many seconds.
    pub fn affinity(self, seconds: u32) -> Self {
        self.with("sessionAffinity", "ClientIP")
            .with("sessionAffinityConfig", json!({ "clientIP": { "timeoutSeconds": seconds } }))
    }

    /// With an annotation.
    pub fn annotation(mut self, name: &str, value: &str) -> Self {
        self.annotations.insert(name.to_owned(), value.into());
        self
    }

    /// With another field of `spec`.
    pub fn with(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.spec.insert(field.to_owned(), value.into());
        self
    }

    /// The object.
    #[must_use]
    pub fn object(&self) -> Value {
        let mut object = json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {
                "name": self.name,
                "namespace": NAMESPACE,
                "annotations": self.annotations,
            },
            "spec": {
                "type": self.kind,
                "clusterIP": self.cluster_ips[0],
                "clusterIPs": self.cluster_ips,
                "ipFamilies": self.families,
                "ports": self.ports,
            },
            "status": { "loadBalancer": { "ingress": self.ingress } },
        });
        for (field, value) in &self.spec {
            object["spec"][field] = value.clone();
        }
        object
    }
}
