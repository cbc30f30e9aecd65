//! Tests of the conversion of Services.

use proxy_common::{Protocol, Seconds};
use serde_json::{Value, json};

use super::super::Converter;
use crate::model::{Family, IpMode, Service, TrafficPolicy, Unserved};

fn convert(spec: Value) -> (Service, Vec<String>) {
    with_metadata(json!({"name": "web"}), spec, Value::Null)
}

fn with_metadata(metadata: Value, spec: Value, status: Value) -> (Service, Vec<String>) {
    let object = json!({"metadata": metadata, "spec": spec, "status": status});
    let object = serde_json::from_value(object).unwrap();
    let (service, problems) = Converter::default().service(&object);
    (service.unwrap(), problems.iter().map(ToString::to_string).collect())
}

#[test]
fn a_dual_stack_service_is_read() {
    let (service, problems) = convert(json!({
        "clusterIP": "10.96.0.10",
        "clusterIPs": ["10.96.0.10", "fd00:96::a"],
        "ipFamilies": ["IPv4", "IPv6"],
        "ports": [{"name": "dns", "protocol": "UDP", "port": 53, "targetPort": "dns"}],
    }));
    assert_eq!(problems, Vec::<String>::new());
    assert_eq!(service.name.to_string(), "default/web");
    assert_eq!(service.families, [Family::V4, Family::V6]);
    assert_eq!(service.cluster_ips.len(), 2);
    assert_eq!(service.ports[0].protocol, Protocol::UDP);
    assert_eq!(service.unserved, None);
}

#[test]
fn the_old_field_is_enough() {
    let (service, _) = convert(json!({"clusterIP": "10.96.0.10", "ports": [{"port": 80}]}));
    assert_eq!(service.families, [Family::V4]);
    assert_eq!(service.cluster_ips.len(), 1);
    assert_eq!(service.ports[0].protocol, Protocol::TCP);
}

#[test]
fn what_is_not_ours_says_why() {
    let other = json!({"name": "web", "labels": {"service.kubernetes.io/service-proxy-name": "x"}});
    let headless = json!({"name": "web", "labels": {"service.kubernetes.io/headless": ""}});
    let spec = json!({"clusterIP": "10.96.0.10", "ports": [{"port": 80}]});
    let unserved = |metadata, spec| with_metadata(metadata, spec, Value::Null).0.unserved;
    assert_eq!(unserved(other, spec.clone()), Some(Unserved::OtherProxy { proxy: "x".into() }));
    assert_eq!(unserved(headless, spec), Some(Unserved::HeadlessLabel));
    let named = json!({"type": "ExternalName", "externalName": "example.org"});
    assert_eq!(convert(named).0.unserved, Some(Unserved::ExternalName));
    for headless in [json!("None"), json!("")] {
        let (service, problems) = convert(json!({"clusterIP": headless, "clusterIPs": [headless]}));
        assert_eq!(service.unserved, Some(Unserved::NoClusterIp));
        assert_eq!(problems, Vec::<String>::new());
    }
}

#[test]
fn a_service_without_any_cluster_ip_is_told_to_have_one() {
    let (service, problems) = convert(json!({"ports": [{"port": 80}]}));
    assert_eq!(service.unserved, Some(Unserved::NoClusterIp));
    assert!(problems[0].starts_with("Service default/web: spec.clusterIP: "), "{}", problems[0]);
}

#[test]
fn bad_addresses_are_skipped_and_the_service_stays() {
    let (service, problems) = convert(json!({
        "clusterIPs": ["10.96.0.010", "fd00:96::a"],
        "externalIPs": ["127.0.0.1", "198.51.100.1", "::ffff:198.51.100.1"],
        "ports": [{"port": 80}],
    }));
    assert_eq!(service.cluster_ips.len(), 1);
    assert_eq!(service.external_ips.len(), 1);
    assert_eq!(problems.len(), 3);
    assert_eq!(
        problems[0],
        "Service default/web: spec.clusterIPs[0] is \"10.96.0.010\": not an IP address (IPv4 without leading zeros, or IPv6 without a zone); it is skipped"
    );
}

#[test]
fn bad_ports_are_skipped_and_the_others_stay() {
    let (service, problems) = convert(json!({
        "clusterIP": "10.96.0.10",
        "ports": [
            {"name": "a", "port": 0},
            {"name": "b", "port": 80, "protocol": "ICMP"},
            {"name": "c", "port": 80},
            {"name": "c", "port": 81},
            {"name": "d", "port": 80},
            {"name": "c", "port": 80, "protocol": "UDP"},
        ],
    }));
    let kept: Vec<_> = service.ports.iter().map(|port| (&*port.name, port.protocol)).collect();
    assert_eq!(kept, [("c", Protocol::TCP), ("c", Protocol::UDP)]);
    assert_eq!(problems.len(), 4);
}

#[test]
fn node_ports_count_only_for_the_types_that_have_them() {
    let spec = |kind| json!({"type": kind, "clusterIP": "10.96.0.10", "ports": [{"port": 80, "nodePort": 30080}]});
    assert_eq!(convert(spec("ClusterIP")).0.ports[0].node_port, None);
    assert_eq!(convert(spec("NodePort")).0.ports[0].node_port, Some(30080));
}

#[test]
fn affinity_has_a_default_and_bounds() {
    let spec = |config| json!({"clusterIP": "10.96.0.10", "sessionAffinity": "ClientIP", "sessionAffinityConfig": config});
    let timeout = |seconds| json!({"clientIP": {"timeoutSeconds": seconds}});
    assert_eq!(convert(spec(Value::Null)).0.affinity, Some(Seconds::new(10_800)));
    assert_eq!(convert(spec(timeout(60))).0.affinity, Some(Seconds::new(60)));
    let (service, problems) = convert(spec(timeout(86_401)));
    assert_eq!(service.affinity, Some(Seconds::new(10_800)));
    assert_eq!(problems.len(), 1);
    assert_eq!(convert(json!({"clusterIP": "10.96.0.10"})).0.affinity, None);
}

#[test]
fn load_balancer_addresses_carry_their_mode() {
    let status = json!({"loadBalancer": {"ingress": [
        {"ip": "198.51.100.1"},
        {"ip": "198.51.100.2", "ipMode": "Proxy"},
        {"hostname": "lb.example.org"},
    ]}});
    let spec = json!({"type": "LoadBalancer", "clusterIP": "10.96.0.10"});
    let (service, problems) = with_metadata(json!({"name": "web"}), spec, status);
    let modes: Vec<_> = service.load_balancer.iter().map(|address| address.mode).collect();
    assert_eq!(modes, [IpMode::Vip, IpMode::Proxy]);
    assert_eq!(problems, Vec::<String>::new());
}

#[test]
fn source_ranges_are_trimmed_and_bad_ones_skipped() {
    let spec = |ranges| json!({"type": "LoadBalancer", "clusterIP": "10.96.0.10", "loadBalancerSourceRanges": ranges});
    let (service, problems) = convert(spec(json!([" 10.0.0.0/8 ", "10.0.0.0/33"])));
    assert_eq!(service.source_ranges.unwrap().ranges.len(), 1);
    assert_eq!(problems.len(), 1);
    let (service, _) = convert(spec(json!(["nonsense"])));
    assert!(service.source_ranges.unwrap().ranges.is_empty(), "nobody is admitted");
    assert_eq!(convert(spec(json!([]))).0.source_ranges, None);
    let (_, problems) = convert(spec(json!(["fd00::/8"])));
    assert!(problems[0].ends_with("IPv4 clients are not filtered"), "{}", problems[0]);
}

#[test]
fn policies_are_read_and_unknown_ones_are_cluster() {
    let (service, problems) = convert(json!({
        "clusterIP": "10.96.0.10",
        "internalTrafficPolicy": "Local",
        "externalTrafficPolicy": "local",
    }));
    assert_eq!(service.internal_traffic_policy, TrafficPolicy::Local);
    assert_eq!(service.external_traffic_policy, TrafficPolicy::Cluster);
    assert_eq!(
        problems,
        [
            "Service default/web: spec.externalTrafficPolicy is \"local\": not one of Cluster, Local; Cluster is assumed"
        ]
    );
}

#[test]
fn a_name_that_kubernetes_does_not_allow_leaves_the_object_out() {
    let object = json!({"metadata": {"name": "n".repeat(64)}, "spec": {"clusterIP": "10.96.0.1"}});
    let object = serde_json::from_value(object).unwrap();
    let (service, problems) = Converter::default().service(&object);
    assert!(service.is_none() && problems.len() == 1);
}
