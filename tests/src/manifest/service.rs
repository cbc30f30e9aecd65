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
    spec: serde_json::Map<String, Value>,
}

/// A Service `name` with both `addresses` as its ClusterIPs.
pub fn service(name: &str, addresses: Addresses) -> Service {
    Service {
        name: name.to_owned(),
        cluster_ips: addresses.both().map(|address| address.to_string()).to_vec(),
        families: vec!["IPv4", "IPv6"],
        ports: Vec::new(),
        spec: serde_json::Map::new(),
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
            "metadata": { "name": self.name, "namespace": NAMESPACE },
            "spec": {
                "type": "ClusterIP",
                "clusterIP": self.cluster_ips[0],
                "clusterIPs": self.cluster_ips,
                "ipFamilies": self.families,
                "ports": self.ports,
            },
        });
        for (field, value) in &self.spec {
            object["spec"][field] = value.clone();
        }
        object
    }
}
