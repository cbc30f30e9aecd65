//! Services.

use k8s_openapi::api::core::v1::{Service as ApiService, ServicePort as ApiPort, ServiceSpec};
use proxy_common::Seconds;

use crate::model::{
    Family, ObjectKind, Service, ServicePort, ServiceType, TrafficPolicy, Trouble, Unserved,
    Weights,
};

use super::{
    Converted, Converter, HEADLESS_LABEL, LABEL_MAX, PROXY_LABEL, annotations, fields::Fields,
    is_usable, label, load_balancer,
};

/// `service.kubernetes.io` default of `sessionAffinityConfig.clientIP.timeoutSeconds`.
const AFFINITY_SECONDS: u32 = 10_800;
const AFFINITY_SECONDS_MAX: u32 = 86_400;

impl Converter {
    /// A Service.
    pub(in crate::source) fn service(&mut self, object: &ApiService) -> Converted<Service> {
        let metadata = &object.metadata;
        let (name, mut fields) = self.namespaced(ObjectKind::Service, metadata);
        let usable = is_usable(&name.name, "metadata.name", LABEL_MAX, &mut fields)
            && is_usable(&name.namespace, "metadata.namespace", LABEL_MAX, &mut fields);
        if !usable {
            return (None, fields.into_problems());
        }
        let unset = ServiceSpec::default();
        let spec = object.spec.as_ref().unwrap_or(&unset);
        let kind = kind(spec, &mut fields);
        let mut service = Service {
            name,
            created: metadata.creation_timestamp.as_ref().map(|time| time.0.as_second()),
            unserved: unserved(object, spec, kind, &mut fields),
            kind,
            families: Vec::new(),
            cluster_ips: Vec::new(),
            external_ips: Vec::new(),
            load_balancer: Vec::new(),
            source_ranges: None,
            ports: Vec::new(),
            internal_traffic_policy: TrafficPolicy::Cluster,
            external_traffic_policy: TrafficPolicy::Cluster,
            affinity: None,
            algorithm: None,
            weights: Weights::default(),
            health_check_node_port: None,
        };
        // Of what isn't served only the reason is kept.
        if service.unserved.is_none() {
            self.served(&mut service, object, spec, &mut fields);
        }
        (Some(service), fields.into_problems())
    }

    fn served(
        &mut self,
        service: &mut Service,
        object: &ApiService,
        spec: &ServiceSpec,
        fields: &mut Fields,
    ) {
        let indexed = cluster_ips(spec);
        service.cluster_ips = distinct(
            indexed.iter().filter_map(|(field, text)| fields.frontend_address(field, text)),
        );
        service.families = families(spec, service, fields);
        service.external_ips =
            distinct(spec.external_ips.iter().flatten().enumerate().filter_map(|(i, text)| {
                fields.frontend_address(&format!("spec.externalIPs[{i}]"), text)
            }));
        let ingress = object
            .status
            .as_ref()
            .and_then(|status| status.load_balancer.as_ref()?.ingress.as_deref())
            .unwrap_or_default();
        service.load_balancer = load_balancer::addresses(ingress, fields);
        service.source_ranges = load_balancer::source_ranges(spec, service, fields);
        service.ports = self.ports(spec, service.kind, fields);
        service.internal_traffic_policy =
            policy("spec.internalTrafficPolicy", spec.internal_traffic_policy.as_deref(), fields);
        service.external_traffic_policy =
            policy("spec.externalTrafficPolicy", spec.external_traffic_policy.as_deref(), fields);
        service.affinity = affinity(spec, fields);
        service.algorithm = annotations::algorithm(&object.metadata, fields);
        service.weights = annotations::weights(&object.metadata, fields);
        service.health_check_node_port = spec
            .health_check_node_port
            .filter(|port| *port != 0)
            .and_then(|port| fields.port("spec.healthCheckNodePort", port));
    }

    fn ports(
        &mut self,
        spec: &ServiceSpec,
        kind: ServiceType,
        fields: &mut Fields,
    ) -> Vec<ServicePort> {
        let mut ports: Vec<ServicePort> = Vec::new();
        for (i, port) in spec.ports.iter().flatten().enumerate() {
            ports.extend(self.port(&format!("spec.ports[{i}]"), port, kind, &ports, fields));
        }
        ports
    }

    fn port(
        &mut self,
        at: &str,
        port: &ApiPort,
        kind: ServiceType,
        others: &[ServicePort],
        fields: &mut Fields,
    ) -> Option<ServicePort> {
        let name = port.name.as_deref().unwrap_or_default();
        if name.len() > 15 {
            fields.problem(format!("{at}.name"), name, Trouble::PortName);
            return None;
        }
        let protocol = fields.protocol(&format!("{at}.protocol"), port.protocol.as_deref())?;
        let number = fields.port(&format!("{at}.port"), port.port)?;
        let mut same = others.iter().filter(|other| other.protocol == protocol);
        if same.clone().any(|other| *other.name == *name) {
            fields.problem(format!("{at}.name"), name, Trouble::DuplicatePortName);
            return None;
        }
        if same.any(|other| other.port == number) {
            fields.problem(format!("{at}.port"), number, Trouble::DuplicatePort);
            return None;
        }
        let has_node_port = matches!(kind, ServiceType::NodePort | ServiceType::LoadBalancer);
        let node_port = port
            .node_port
            .filter(|number| *number != 0 && has_node_port)
            .and_then(|number| fields.port(&format!("{at}.nodePort"), number));
        Some(ServicePort { name: self.intern(name), protocol, port: number, node_port })
    }
}

fn kind(spec: &ServiceSpec, fields: &mut Fields) -> ServiceType {
    fields.word(
        "spec.type",
        spec.type_.as_deref(),
        &[
            ("ClusterIP", ServiceType::ClusterIp),
            ("NodePort", ServiceType::NodePort),
            ("LoadBalancer", ServiceType::LoadBalancer),
            ("ExternalName", ServiceType::ExternalName),
        ],
        ServiceType::ClusterIp,
        Trouble::UnknownValue {
            allowed: "ClusterIP, NodePort, LoadBalancer, ExternalName",
            done: "ClusterIP is assumed",
        },
    )
}

fn unserved(
    object: &ApiService,
    spec: &ServiceSpec,
    kind: ServiceType,
    fields: &mut Fields,
) -> Option<Unserved> {
    let metadata = &object.metadata;
    if let Some(proxy) = label(metadata, PROXY_LABEL) {
        return Some(Unserved::OtherProxy { proxy: proxy.into() });
    }
    if label(metadata, HEADLESS_LABEL).is_some() {
        return Some(Unserved::HeadlessLabel);
    }
    if kind == ServiceType::ExternalName {
        return Some(Unserved::ExternalName);
    }
    if !cluster_ips(spec).is_empty() {
        return None;
    }
    let absent = spec.cluster_ip.is_none() && spec.cluster_ips.iter().flatten().next().is_none();
    if absent {
        fields.problem("spec.clusterIP", "", Trouble::NoClusterIp);
    }
    Some(Unserved::NoClusterIp)
}

/// `clusterIPs`, or `clusterIP` where only that is written; empty for a headless Service.
fn cluster_ips(spec: &ServiceSpec) -> Vec<(String, &str)> {
    let list: Vec<(String, &str)> = match spec.cluster_ips.as_deref() {
        Some(list) if !list.is_empty() => list
            .iter()
            .enumerate()
            .map(|(i, text)| (format!("spec.clusterIPs[{i}]"), text.as_str()))
            .collect(),
        _ => spec
            .cluster_ip
            .iter()
            .map(|text| (String::from("spec.clusterIP"), text.as_str()))
            .collect(),
    };
    let headless = list.iter().any(|(_, text)| *text == "None");
    list.into_iter().filter(|(_, text)| !headless && !text.is_empty()).collect()
}

fn families(spec: &ServiceSpec, service: &Service, fields: &mut Fields) -> Vec<Family> {
    let mut families = Vec::new();
    for (i, text) in spec.ip_families.iter().flatten().enumerate() {
        match text.as_str() {
            "IPv4" => families.push(Family::V4),
            "IPv6" => families.push(Family::V6),
            other => fields.problem(
                format!("spec.ipFamilies[{i}]"),
                other,
                Trouble::UnknownValue { allowed: "IPv4, IPv6", done: "it is skipped" },
            ),
        }
    }
    // What has a ClusterIP of a family has that family, whatever it says.
    families.extend(service.cluster_ips.iter().map(|address| Family::of(*address)));
    families.sort_unstable();
    families.dedup();
    families
}

fn policy(field: &str, text: Option<&str>, fields: &mut Fields) -> TrafficPolicy {
    fields.word(
        field,
        text,
        &[("Cluster", TrafficPolicy::Cluster), ("Local", TrafficPolicy::Local)],
        TrafficPolicy::Cluster,
        Trouble::UnknownValue { allowed: "Cluster, Local", done: "Cluster is assumed" },
    )
}

fn affinity(spec: &ServiceSpec, fields: &mut Fields) -> Option<Seconds> {
    let client_ip = fields.word(
        "spec.sessionAffinity",
        spec.session_affinity.as_deref(),
        &[("None", false), ("ClientIP", true)],
        false,
        Trouble::UnknownValue { allowed: "None, ClientIP", done: "None is assumed" },
    );
    if !client_ip {
        return None;
    }
    let timeout = spec
        .session_affinity_config
        .as_ref()
        .and_then(|config| config.client_ip.as_ref()?.timeout_seconds);
    let Some(timeout) = timeout else { return Some(Seconds::new(AFFINITY_SECONDS)) };
    let seconds =
        u32::try_from(timeout).ok().filter(|seconds| (1..=AFFINITY_SECONDS_MAX).contains(seconds));
    if seconds.is_none() {
        fields.problem(
            "spec.sessionAffinityConfig.clientIP.timeoutSeconds",
            timeout,
            Trouble::AffinitySeconds { assumed: AFFINITY_SECONDS },
        );
    }
    Some(Seconds::new(seconds.unwrap_or(AFFINITY_SECONDS)))
}

fn distinct<T: PartialEq>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut distinct = Vec::new();
    for item in items {
        if !distinct.contains(&item) {
            distinct.push(item);
        }
    }
    distinct
}

#[cfg(test)]
#[path = "service_tests.rs"]
mod tests;
