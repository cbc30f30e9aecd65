//! Tests of the conversion of EndpointSlices.

use serde_json::{Value, json};

use super::super::Converter;
use crate::model::{Conditions, EndpointSlice};

fn convert(change: Value) -> (EndpointSlice, Vec<String>) {
    let mut object = json!({
        "metadata": {"name": "web-1", "namespace": "shop", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": [{"addresses": ["10.1.0.1"]}],
    });
    for (field, value) in change.as_object().unwrap() {
        object[field] = value.clone();
    }
    let object = serde_json::from_value(object).unwrap();
    let (slice, problems) = Converter::default().endpoint_slice(&object);
    (slice.unwrap(), problems.iter().map(ToString::to_string).collect())
}

#[test]
fn a_slice_belongs_to_the_service_its_label_names() {
    let (slice, problems) = convert(json!({}));
    assert_eq!(slice.service.unwrap().to_string(), "shop/web");
    assert_eq!(slice.endpoints[0].conditions, Conditions::default());
    assert_eq!(problems, Vec::<String>::new());
}

#[test]
fn a_slice_that_counts_for_nobody_keeps_its_name_only() {
    let label = |label: &str| json!({"metadata": {"name": "web-1", "labels": {"kubernetes.io/service-name": "web", label: "x"}}});
    let changes = [
        label("service.kubernetes.io/headless"),
        label("service.kubernetes.io/service-proxy-name"),
        json!({"metadata": {"name": "web-1"}}),
        json!({"addressType": "FQDN", "endpoints": [{"addresses": ["example.org"]}]}),
    ];
    for change in changes {
        let (slice, problems) = convert(change);
        assert_eq!(slice.service, None);
        assert!(slice.endpoints.is_empty());
        assert_eq!(problems, Vec::<String>::new());
    }
}

#[test]
fn only_the_first_address_counts() {
    let endpoints = json!({"endpoints": [
        {"addresses": ["10.1.0.1", "nonsense"]},
        {"addresses": ["nonsense", "10.1.0.2"]},
        {"addresses": []},
    ]});
    let (slice, problems) = convert(endpoints);
    assert_eq!(slice.endpoints.len(), 1);
    assert_eq!(problems.len(), 1);
    assert!(problems[0].starts_with("EndpointSlice shop/web-1: endpoints[1].addresses[0] is"));
}

#[test]
fn addresses_that_no_endpoint_can_have_are_skipped() {
    let v4 = ["127.0.0.1", "169.254.1.1", "224.0.0.1", "0.0.0.0", "010.1.0.1", "fd00::1"];
    let v6 = ["::1", "fe80::1", "ff02::1", "::", "::ffff:10.1.0.1", "fd00::1%eth0", "10.1.0.1"];
    for (family, addresses) in [("IPv4", v4.as_slice()), ("IPv6", v6.as_slice())] {
        for address in addresses {
            let endpoints = json!([{"addresses": [address]}]);
            let (slice, problems) = convert(json!({"addressType": family, "endpoints": endpoints}));
            assert!(slice.endpoints.is_empty(), "{address}");
            assert!(problems[0].contains(address), "{}", problems[0]);
        }
    }
}

#[test]
fn a_port_without_a_number_or_with_a_bad_one_is_skipped() {
    let ports = json!([{"name": "all"}, {"name": "bad", "port": 70000}, {"port": 80}]);
    let (slice, problems) = convert(json!({"ports": ports}));
    assert_eq!(slice.ports.len(), 1);
    assert_eq!(&*slice.ports[0].name, "");
    assert_eq!(problems.len(), 1);
}

#[test]
fn conditions_and_hints_are_read() {
    let endpoint = json!({
        "addresses": ["10.1.0.1"],
        "nodeName": "n1",
        "conditions": {"ready": false, "terminating": true},
        "hints": {"forZones": [{"name": "z1"}], "forNodes": [{"name": "n1"}]},
    });
    let (slice, _) = convert(json!({"endpoints": [endpoint]}));
    let endpoint = &slice.endpoints[0];
    assert_eq!(endpoint.conditions, Conditions { ready: false, serving: true, terminating: true });
    assert_eq!(endpoint.node.as_deref(), Some("n1"));
    assert_eq!((endpoint.for_nodes().len(), endpoint.for_zones().len()), (1, 1));
}
