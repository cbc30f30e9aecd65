//! Nodes.

use k8s_openapi::api::core::v1::Node as ApiNode;

use crate::model::{Node, ObjectKind};

use super::{
    Converted, Converter, LEAVING_TAINT, SUBDOMAIN_MAX, ZONE_LABEL, cluster_wide, is_usable, label,
};

impl Converter {
    /// A Node.
    pub(in crate::source) fn node(&mut self, object: &ApiNode) -> Converted<Node> {
        let (name, mut fields) = cluster_wide(ObjectKind::Node, &object.metadata);
        if !is_usable(&name, "metadata.name", SUBDOMAIN_MAX, &mut fields) {
            return (None, fields.into_problems());
        }
        let addresses = object.status.iter().flat_map(|status| status.addresses.iter().flatten());
        let internal_ips = addresses
            .enumerate()
            .filter(|(_, address)| address.type_ == "InternalIP")
            .filter_map(|(i, address)| {
                fields.address(&format!("status.addresses[{i}].address"), &address.address)
            })
            .collect();
        let mut taints = object.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
        let leaving = object.metadata.deletion_timestamp.is_some()
            || taints.any(|taint| taint.key == LEAVING_TAINT);
        let zone = label(&object.metadata, ZONE_LABEL).filter(|zone| !zone.is_empty());
        let node = Node { name, zone: zone.map(|zone| self.intern(zone)), internal_ips, leaving };
        (Some(node), fields.into_problems())
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Node as ApiNode;
    use serde_json::json;

    use super::super::Converter;

    fn node(object: serde_json::Value) -> crate::model::Node {
        let object: ApiNode = serde_json::from_value(object).unwrap();
        Converter::default().node(&object).0.unwrap()
    }

    #[test]
    fn zone_and_internal_addresses_are_read() {
        let node = node(json!({
            "metadata": {"name": "n1", "labels": {"topology.kubernetes.io/zone": "z1"}},
            "status": {"addresses": [
                {"type": "Hostname", "address": "n1"},
                {"type": "InternalIP", "address": "192.0.2.1"},
                {"type": "ExternalIP", "address": "198.51.100.1"},
                {"type": "InternalIP", "address": "2001:db8::1"},
            ]},
        }));
        assert_eq!(node.zone.as_deref(), Some("z1"));
        assert_eq!(node.internal_ips.len(), 2);
        assert!(!node.leaving);
    }

    #[test]
    fn a_node_that_the_autoscaler_removes_is_leaving() {
        let node = node(json!({
            "metadata": {"name": "n1"},
            "spec": {"taints": [{"key": "ToBeDeletedByClusterAutoscaler", "effect": "NoSchedule"}]},
        }));
        assert!(node.leaving);
        assert_eq!(node.zone, None);
    }
}
