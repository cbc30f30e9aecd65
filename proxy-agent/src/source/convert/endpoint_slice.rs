//! EndpointSlices.

use std::sync::Arc;

use k8s_openapi::api::discovery::v1::{
    Endpoint as ApiEndpoint, EndpointConditions, EndpointSlice as ApiEndpointSlice,
};

use crate::model::{
    Conditions, Endpoint, EndpointPort, EndpointSlice, Family, Hints, NamespacedName, ObjectKind,
    Trouble,
};

use super::{
    Converted, Converter, HEADLESS_LABEL, PROXY_LABEL, SERVICE_NAME_LABEL, SUBDOMAIN_MAX,
    fields::Fields, is_usable, label,
};

impl Converter {
    /// An EndpointSlice. What counts for nobody keeps its name only.
    pub(in crate::source) fn endpoint_slice(
        &mut self,
        object: &ApiEndpointSlice,
    ) -> Converted<EndpointSlice> {
        let metadata = &object.metadata;
        let (name, mut fields) = self.namespaced(ObjectKind::EndpointSlice, metadata);
        if !is_usable(&name.name, "metadata.name", SUBDOMAIN_MAX, &mut fields) {
            return (None, fields.into_problems());
        }
        let service = label(metadata, SERVICE_NAME_LABEL)
            .filter(|service| !service.is_empty())
            .filter(|_| label(metadata, PROXY_LABEL).is_none())
            .filter(|_| label(metadata, HEADLESS_LABEL).is_none())
            .map(|service| NamespacedName::new(name.namespace.clone(), self.intern(service)));
        let family = fields.word(
            "addressType",
            Some(&object.address_type),
            &[("IPv4", Some(Family::V4)), ("IPv6", Some(Family::V6)), ("FQDN", None)],
            None,
            Trouble::UnknownValue {
                allowed: "IPv4, IPv6, FQDN",
                done: "the EndpointSlice is ignored",
            },
        );
        let mut slice = EndpointSlice {
            name,
            service: service.filter(|_| family.is_some()),
            family: family.unwrap_or(Family::V4),
            ports: Vec::new(),
            endpoints: Vec::new(),
        };
        if slice.service.is_some() {
            slice.ports = self.endpoint_ports(object, &mut fields);
            slice.endpoints = object
                .endpoints
                .iter()
                .flatten()
                .enumerate()
                .filter_map(|(i, endpoint)| self.endpoint(i, endpoint, slice.family, &mut fields))
                .collect();
        }
        (Some(slice), fields.into_problems())
    }

    fn endpoint_ports(
        &mut self,
        object: &ApiEndpointSlice,
        fields: &mut Fields,
    ) -> Vec<EndpointPort> {
        let ports = object.ports.iter().flatten().enumerate();
        ports
            .filter_map(|(i, port)| {
                // A port without a number stands for all ports, which no Service port asks for.
                let number = fields.port(&format!("ports[{i}].port"), port.port?)?;
                let protocol =
                    fields.protocol(&format!("ports[{i}].protocol"), port.protocol.as_deref())?;
                let name = self.intern(port.name.as_deref().unwrap_or_default());
                Some(EndpointPort { name, protocol, port: number })
            })
            .collect()
    }

    fn endpoint(
        &mut self,
        index: usize,
        endpoint: &ApiEndpoint,
        family: Family,
        fields: &mut Fields,
    ) -> Option<Endpoint> {
        let field = format!("endpoints[{index}].addresses[0]");
        let address = fields.endpoint_address(&field, endpoint.addresses.first()?, family)?;
        let hints = endpoint.hints.as_ref().and_then(|given| {
            let nodes = given.for_nodes.iter().flatten().map(|node| node.name.as_str());
            let zones = given.for_zones.iter().flatten().map(|zone| zone.name.as_str());
            Hints::new(self.names(nodes), self.names(zones))
        });
        Some(Endpoint {
            address,
            // Not interned: pods come and go, and each has a name of its own.
            pod: endpoint
                .target_ref
                .as_ref()
                .filter(|target| target.kind.as_deref() == Some("Pod"))
                .and_then(|target| target.name.as_deref())
                .map(Box::from),
            node: endpoint.node_name.as_deref().map(|node| self.intern(node)),
            conditions: endpoint.conditions.as_ref().map(conditions).unwrap_or_default(),
            hints,
        })
    }

    fn names<'a>(&mut self, names: impl Iterator<Item = &'a str>) -> Vec<Arc<str>> {
        names.map(|name| self.intern(name)).collect()
    }
}

fn conditions(given: &EndpointConditions) -> Conditions {
    let absent = Conditions::default();
    Conditions {
        ready: given.ready.unwrap_or(absent.ready),
        serving: given.serving.unwrap_or(absent.serving),
        terminating: given.terminating.unwrap_or(absent.terminating),
    }
}

#[cfg(test)]
#[path = "endpoint_slice_tests.rs"]
mod tests;
