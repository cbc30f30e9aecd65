//! Health checks of Services, from manifests as people write them.

use std::path::Path;

use super::{NoLocal, checks, no_local};
use crate::{
    model::{EndpointSlice, Family, Service},
    source::{
        Change, Event,
        manifests::{Catalog, Writer},
    },
};

const LOAD_BALANCER: &str = "
apiVersion: v1
kind: Service
metadata: {namespace: shop, name: web}
spec:
  type: LoadBalancer
  clusterIPs: [10.96.0.1]
  externalTrafficPolicy: Local
  healthCheckNodePort: 32000
  ports: [{name: a, port: 80}, {name: b, port: 81}]
";

fn read(service: &str, slices: &[String]) -> (Service, Vec<EndpointSlice>) {
    let text = [service.to_owned()].iter().chain(slices).cloned().collect::<Vec<_>>().join("---\n");
    let events = Catalog::default().read(Path::new("test.yaml"), &text, Writer::Gone);
    let (mut service, mut slices) = (None, Vec::new());
    for event in events {
        match event {
            Event::Service(Change::Applied(it)) => service = Some(it),
            Event::EndpointSlice(Change::Applied(it)) => slices.push(it),
            other => panic!("{other:?}"),
        }
    }
    (service.unwrap(), slices)
}

fn slice(family: Family, endpoints: &[(&str, &str, &str)]) -> String {
    let endpoints: Vec<String> = endpoints
        .iter()
        .map(|(address, node, conditions)| {
            format!(
                "{{addresses: [\"{address}\"], nodeName: {node}, conditions: {{{conditions}}}}}"
            )
        })
        .collect();
    format!(
        "
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{namespace: shop, name: web-{family}, labels: {{kubernetes.io/service-name: web}}}}
addressType: {family}
ports: [{{name: a, port: 8080}}, {{name: b, port: 8081}}]
endpoints: [{}]
",
        endpoints.join(", ")
    )
}

const READY: &str = "ready: true";
const DRAINING: &str = "ready: false, serving: true, terminating: true";

/// A Service with a health check and one endpoint, on the node `here`.
pub(in crate::health) fn example() -> (Service, Vec<EndpointSlice>) {
    read(LOAD_BALANCER, &[slice(Family::V4, &[("10.1.0.1", "here", READY)])])
}

fn counts(service: &Service, slices: &[EndpointSlice]) -> Vec<(Family, u16, usize)> {
    let checks = checks(service, slices, "here");
    checks.into_iter().map(|check| (check.family, check.port, check.local_endpoints)).collect()
}

#[test]
fn ready_endpoints_of_this_node_count_each_address_once() {
    let endpoints = [
        ("10.1.0.1", "here", READY),
        ("10.1.0.2", "here", READY),
        ("10.1.0.2", "here", READY),
        ("10.2.0.1", "there", READY),
        ("10.1.0.3", "here", "ready: false"),
    ];
    let (service, slices) = read(LOAD_BALANCER, &[slice(Family::V4, &endpoints)]);
    assert_eq!(counts(&service, &slices), [(Family::V4, 32000, 2)]);
}

#[test]
fn terminating_endpoints_do_not_count() {
    let (service, slices) =
        read(LOAD_BALANCER, &[slice(Family::V4, &[("10.1.0.1", "here", DRAINING)])]);
    assert_eq!(counts(&service, &slices), [(Family::V4, 32000, 0)]);
}

#[test]
fn each_family_of_a_service_is_told_its_own() {
    let dual = LOAD_BALANCER.replace("[10.96.0.1]", "[10.96.0.1, \"fd00::1\"]");
    let v4 = slice(Family::V4, &[("10.1.0.1", "here", READY), ("10.1.0.2", "here", READY)]);
    let v6 = slice(Family::V6, &[("fd01::1", "here", READY)]);
    let (service, slices) = read(&dual, &[v4.clone(), v6.clone()]);
    assert_eq!(counts(&service, &slices), [(Family::V4, 32000, 2), (Family::V6, 32000, 1)]);
    let (service, slices) = read(LOAD_BALANCER, &[v4, v6]);
    assert_eq!(counts(&service, &slices), [(Family::V4, 32000, 2)]);
}

#[test]
fn other_types_and_policies_have_no_check() {
    for (from, to) in [
        ("type: LoadBalancer", "type: NodePort"),
        ("externalTrafficPolicy: Local", "externalTrafficPolicy: Cluster"),
        ("healthCheckNodePort: 32000", "healthCheckNodePort: 0"),
        ("clusterIPs: [10.96.0.1]", "clusterIPs: [None]"),
    ] {
        let (service, slices) = read(&LOAD_BALANCER.replace(from, to), &[]);
        assert_eq!(counts(&service, &slices), [], "{to}");
    }
}

#[test]
fn a_policy_local_whose_endpoints_are_elsewhere_is_told_apart() {
    let there = [slice(Family::V4, &[("10.2.0.1", "there", READY)])];
    let (service, slices) = read(LOAD_BALANCER, &there);
    let elsewhere = NoLocal { internal: false, external: true };
    assert_eq!(no_local(&service, &slices, "here"), elsewhere);
    assert_eq!(no_local(&service, &slices, "there"), NoLocal::default());
    assert_eq!(no_local(&service, &[], "here"), NoLocal::default(), "no endpoint at all");
    let internal = LOAD_BALANCER.replace("externalT", "internalT");
    let (service, slices) = read(&internal, &there);
    let elsewhere = NoLocal { internal: true, external: false };
    assert_eq!(no_local(&service, &slices, "here"), elsewhere);
    let here = [slice(Family::V4, &[("10.1.0.1", "here", DRAINING), ("10.2.0.1", "there", READY)])];
    let (service, slices) = read(LOAD_BALANCER, &here);
    assert_eq!(no_local(&service, &slices, "here"), NoLocal::default(), "a draining one serves");
}
