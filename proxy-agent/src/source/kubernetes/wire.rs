//! Objects as the API server sends them, without what nobody here reads.
//!
//! `metadata.managedFields` alone is often larger than the rest of an object, and a Node's status
//! lists every image it has: none of that is parsed into memory. What is left becomes the types
//! that [`crate::source::convert`] knows. Called by [`super::watch`].

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use k8s_openapi::{
    api::{
        core::v1::{
            Node, NodeAddress, NodeSpec, NodeStatus, Service, ServiceSpec, ServiceStatus, Taint,
        },
        discovery::v1::{Endpoint, EndpointPort, EndpointSlice},
        networking::v1::{ServiceCIDR, ServiceCIDRSpec},
    },
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
    jiff::Timestamp,
};
use serde::{Deserialize, de::DeserializeOwned};

/// Says when what led to an EndpointSlice's change happened.
const TRIGGER_ANNOTATION: &str = "endpoints.kubernetes.io/last-change-trigger-time";

/// An object on arrival.
pub(super) trait Wire: Clone + DeserializeOwned + Send + 'static {
    /// What it becomes.
    type Object;

    fn metadata(&self) -> &Metadata;

    fn into_object(self) -> Self::Object;
}

/// The parts of `metadata` that are read.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Metadata {
    name: Option<String>,
    namespace: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<BTreeMap<String, String>>,
    creation_timestamp: Option<Time>,
    deletion_timestamp: Option<Time>,
    resource_version: Option<String>,
}

impl Metadata {
    /// `resourceVersion`.
    pub(super) fn version(&self) -> Option<&str> {
        self.resource_version.as_deref().filter(|version| !version.is_empty())
    }

    /// When what led to this change happened, where the object says so.
    pub(super) fn trigger(&self) -> Option<SystemTime> {
        let text = self.annotations.as_ref()?.get(TRIGGER_ANNOTATION)?;
        let time: Timestamp = text.parse().ok()?;
        let since = u64::try_from(time.as_nanosecond()).ok()?;
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_nanos(since))
    }
}

impl From<Metadata> for ObjectMeta {
    fn from(metadata: Metadata) -> Self {
        Self {
            name: metadata.name,
            namespace: metadata.namespace,
            labels: metadata.labels,
            annotations: metadata.annotations,
            creation_timestamp: metadata.creation_timestamp,
            deletion_timestamp: metadata.deletion_timestamp,
            ..Self::default()
        }
    }
}

/// A Service.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct WireService {
    #[serde(default)]
    metadata: Metadata,
    spec: Option<ServiceSpec>,
    status: Option<ServiceStatus>,
}

impl Wire for WireService {
    type Object = Service;

    fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    fn into_object(self) -> Service {
        Service { metadata: self.metadata.into(), spec: self.spec, status: self.status }
    }
}

/// An EndpointSlice.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WireEndpointSlice {
    #[serde(default)]
    metadata: Metadata,
    #[serde(default)]
    address_type: String,
    endpoints: Option<Vec<Endpoint>>,
    ports: Option<Vec<EndpointPort>>,
}

impl Wire for WireEndpointSlice {
    type Object = EndpointSlice;

    fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    fn into_object(self) -> EndpointSlice {
        EndpointSlice {
            metadata: self.metadata.into(),
            address_type: self.address_type,
            endpoints: self.endpoints,
            ports: self.ports,
        }
    }
}

/// A Node.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct WireNode {
    #[serde(default)]
    metadata: Metadata,
    spec: Option<WireNodeSpec>,
    status: Option<WireNodeStatus>,
}

#[derive(Clone, Debug, Deserialize)]
struct WireNodeSpec {
    taints: Option<Vec<Taint>>,
}

#[derive(Clone, Debug, Deserialize)]
struct WireNodeStatus {
    addresses: Option<Vec<NodeAddress>>,
}

impl Wire for WireNode {
    type Object = Node;

    fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    fn into_object(self) -> Node {
        Node {
            metadata: self.metadata.into(),
            spec: self.spec.map(|spec| NodeSpec { taints: spec.taints, ..NodeSpec::default() }),
            status: self
                .status
                .map(|status| NodeStatus { addresses: status.addresses, ..NodeStatus::default() }),
        }
    }
}

/// A ServiceCIDR; v1beta1 looks the same.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct WireServiceCidr {
    #[serde(default)]
    metadata: Metadata,
    spec: Option<ServiceCIDRSpec>,
}

impl Wire for WireServiceCidr {
    type Object = ServiceCIDR;

    fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    fn into_object(self) -> ServiceCIDR {
        ServiceCIDR { metadata: self.metadata.into(), spec: self.spec, status: None }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use serde_json::json;

    use super::{Wire, WireEndpointSlice, WireNode, WireService};

    #[test]
    fn what_decides_how_traffic_goes_is_kept_and_the_rest_is_not() {
        let service: WireService = serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {
                "name": "web", "namespace": "shop", "resourceVersion": "7",
                "labels": {"a": "b"}, "annotations": {"c": "d"},
                "creationTimestamp": "2026-01-01T00:00:00Z",
                "managedFields": [{"manager": "kubectl", "fieldsV1": {"f:spec": {}}}],
            },
            "spec": {"clusterIP": "10.96.0.1", "ports": [{"port": 80, "targetPort": "http"}]},
            "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}},
        }))
        .unwrap();
        assert_eq!(service.metadata().version(), Some("7"));
        let service = service.into_object();
        assert!(service.metadata.managed_fields.is_none());
        assert!(service.metadata.creation_timestamp.is_some());
        assert_eq!(service.metadata.labels.unwrap()["a"], "b");
        assert_eq!(service.metadata.annotations.unwrap()["c"], "d");
        assert_eq!(service.spec.unwrap().ports.unwrap()[0].port, 80);
        assert!(service.status.unwrap().load_balancer.unwrap().ingress.is_some());
    }

    #[test]
    fn a_slice_may_have_no_lists_and_says_what_triggered_it() {
        let slice: WireEndpointSlice = serde_json::from_value(json!({
            "metadata": {"name": "a", "annotations": {
                "endpoints.kubernetes.io/last-change-trigger-time": "1970-01-01T00:00:01.5Z",
            }},
            "addressType": "IPv4", "endpoints": null, "ports": null,
        }))
        .unwrap();
        let expected = SystemTime::UNIX_EPOCH + Duration::from_millis(1500);
        assert_eq!(slice.metadata().trigger(), Some(expected));
        assert!(slice.into_object().endpoints.is_none());
        for text in ["yesterday", "1960-01-01T00:00:00Z"] {
            let slice: WireEndpointSlice = serde_json::from_value(json!({
                "metadata": {"annotations": {
                    "endpoints.kubernetes.io/last-change-trigger-time": text,
                }},
                "addressType": "IPv4",
            }))
            .unwrap();
            assert_eq!(slice.metadata().trigger(), None, "{text}");
        }
    }

    #[test]
    fn of_a_node_its_taints_and_addresses_are_kept() {
        let node: WireNode = serde_json::from_value(json!({
            "metadata": {"name": "n", "deletionTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"podCIDR": "10.1.0.0/24", "taints": [{"key": "k", "effect": "NoSchedule"}]},
            "status": {
                "images": [{"names": ["a"], "sizeBytes": 1}],
                "addresses": [{"type": "InternalIP", "address": "192.0.2.1"}],
            },
        }))
        .unwrap();
        let node = node.into_object();
        assert!(node.metadata.deletion_timestamp.is_some());
        assert_eq!(node.spec.unwrap().taints.unwrap()[0].key, "k");
        let status = node.status.unwrap();
        assert_eq!(status.addresses.unwrap().len(), 1);
        assert!(status.images.is_none());
    }
}
