//! What load balancers, the kubelet, Prometheus and owners of Services are told: SEMANTICS §8.

use std::{
    net::TcpListener,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use lab::{
    Addresses, AgentFlags, Family, Lab, Node, Wiring,
    control_plane::{ControlPlane, Settings},
    manifest::{self, Protocol},
    page::{metric, page, page_when},
};
use serde_json::{Value, json};

const HEALTH: &str = "127.0.0.1:10256";

/// A slice of `web` with an endpoint, its conditions, and when that came to be.
fn slices(pod: &lab::Host, node: &Node, conditions: &Value) -> [Value; 2] {
    let slices = manifest::endpoint_slice("web").port("http", 8080, Protocol::Tcp);
    slices.endpoint_in(pod, node, conditions).objects().map(|mut slice| {
        let now = now();
        slice["metadata"]["annotations"] =
            json!({ "endpoints.kubernetes.io/last-change-trigger-time": now });
        slice
    })
}

/// Now, as RFC 3339 has it.
fn now() -> String {
    let output = std::process::Command::new("date").args(["-u", "+%Y-%m-%dT%H:%M:%S.%NZ"]).output();
    String::from_utf8(output.expect("date runs").stdout).expect("it prints text").trim().to_owned()
}

#[test]
fn load_balancers_and_the_kubelet_are_told_how_it_is() -> Result<()> {
    let lab = Lab::new()?;
    let a = lab.node("node-a", Wiring::Ptp)?;
    let outside = lab.outside("balancer")?;
    let pod = a.pod("pod")?;
    let plane = ControlPlane::start(&lab, Settings::default())?;
    let node = manifest::node("node-a", &[]);
    plane.api().apply(std::slice::from_ref(&node))?;
    let flags = AgentFlags::new().kubeconfig(plane.agent()?);
    let _agent = a.start_agent(&flags)?;

    for path in ["/healthz", "/livez", "/readyz"] {
        let page = page_when(&a, HEALTH, path, |page| page.status == 200)?;
        ensure!(!page.body.is_empty(), "{path}");
    }
    ensure!(page(&a, "[::1]:10256", "/healthz")?.status == 200, "both families");
    ensure!(page(&a, "127.0.0.1:10249", "/proxyMode")?.body == "ebpf");

    let service = manifest::service("web", Addresses::cluster_ips(9))
        .load_balancer(Addresses::load_balancer_ips(9))
        .with("ipFamilyPolicy", "RequireDualStack")
        .port("http", 80, Protocol::Tcp)
        .with("externalTrafficPolicy", "Local")
        .object();
    plane.api().create(&[service])?;
    plane.api().create(&slices(&pod, &a, &json!({ "ready": true })))?;
    let port = plane.api().get("Service", "web")?["spec"]["healthCheckNodePort"]
        .as_u64()
        .context("no healthCheckNodePort")?;
    let checks = [
        format!("{}:{port}", a.address(Family::V4)),
        format!("[{}]:{port}", a.address(Family::V6)),
    ];
    for check in &checks {
        let page = page_when(&outside, check, "/", |page| page.status == 200)?;
        let body: Value = serde_json::from_str(&page.body)?;
        let expected = json!({
            "service": { "namespace": "default", "name": "web" },
            "localEndpoints": 1,
            "serviceProxyHealthy": true,
        });
        ensure!(body == expected, "{body}");
        ensure!(page.headers.contains("x-load-balancing-endpoint-weight: 1"), "{}", page.headers);
    }

    let draining = json!({ "ready": false, "serving": true, "terminating": true });
    plane.api().replace(&slices(&pod, &a, &draining))?;
    for check in &checks {
        let page = page_when(&outside, check, "/", |page| page.status == 503)?;
        ensure!(page.headers.contains("endpoint-weight: 0"), "{}", page.headers);
    }
    plane.api().replace(&slices(&pod, &a, &json!({ "ready": true })))?;

    // A node that the autoscaler is about to remove.
    let mut leaving = node.clone();
    leaving["spec"]["taints"] =
        json!([{ "key": "ToBeDeletedByClusterAutoscaler", "effect": "NoSchedule" }]);
    plane.api().apply(&[leaving])?;
    let told = page_when(&a, HEALTH, "/healthz", |page| page.status == 503)?;
    ensure!(told.body.contains("\"nodeEligible\":false"), "{}", told.body);
    ensure!(page(&a, HEALTH, "/livez")?.status == 200, "to restart the agent wouldn't help");
    page_when(&outside, &checks[0], "/", |page| page.status == 200)?;
    let mut staying = node;
    staying["spec"]["taints"] = json!([]);
    plane.api().apply(&[staying])?;
    page_when(&a, HEALTH, "/healthz", |page| page.status == 200)?;

    for (series, least) in [
        ("kubeproxy_sync_proxy_rules_service_changes_total", 2.0),
        ("kubeproxy_sync_proxy_rules_endpoint_changes_total", 4.0),
        ("kubeproxy_network_programming_duration_seconds_count", 2.0),
        ("kubeproxy_network_programming_duration_seconds_bucket{le=\"5\"}", 2.0),
        ("kubeproxy_proxy_healthz_total{code=\"503\"}", 1.0),
        ("sluice_programming_duration_seconds_count", 1.0),
        ("sluice_map_capacity{map=\"SERVICES_V4\"}", 1.0),
        ("sluice_lists_total{kind=\"Services\",way=\"stream\"}", 1.0),
        ("sluice_health_check_servers{state=\"listening\"}", 2.0),
        ("sluice_devices_attached", 1.0),
        ("process_resident_memory_bytes", 1e6),
    ] {
        let value = metric(&a, series)?;
        ensure!(value >= least, "{series} is {value}");
    }
    ensure!(metric(&a, "sluice_lag_seconds")? < 1.0);
    Ok(())
}

#[test]
fn an_owner_is_told_by_an_event_that_another_service_has_a_frontend() -> Result<()> {
    let lab = Lab::new()?;
    let a = lab.node("node-a", Wiring::Ptp)?;
    let plane = ControlPlane::start(&lab, Settings::default())?;
    plane.api().apply(&[manifest::node("node-a", &[])])?;
    let _agent = a.start_agent(&AgentFlags::new().kubeconfig(plane.agent()?))?;
    for (name, number) in [("first", 11), ("second", 12)] {
        let service = manifest::service(name, Addresses::cluster_ips(number))
            .external_ips(Addresses::external_ips(11))
            .with("ipFamilyPolicy", "RequireDualStack")
            .port("http", 80, Protocol::Tcp);
        plane.api().create(&[service.object()])?;
        // Who was first is known by the second.
        thread::sleep(Duration::from_millis(1100));
    }
    let start = Instant::now();
    let event = loop {
        let events = plane.api().list("Event")?;
        let ours = |event: &&Value| event["reportingComponent"] == "sluice";
        if let Some(event) = events.iter().find(ours) {
            break event.clone();
        }
        ensure!(start.elapsed() < Duration::from_secs(15), "no Event but {events:?}");
        thread::sleep(Duration::from_millis(100));
    };
    ensure!(event["reason"] == "FrontendTaken", "{event}");
    ensure!(event["involvedObject"]["name"] == "second", "{event}");
    let uid = &plane.api().get("Service", "second")?["metadata"]["uid"];
    ensure!(event["involvedObject"]["uid"] == *uid, "kubectl describe asks by uid: {event}");
    let message = event["message"].as_str().context("no message")?;
    ensure!(message.contains("default/first"), "{message}");
    Ok(())
}

#[test]
fn two_troubles_of_a_service_are_two_events() -> Result<()> {
    let lab = Lab::new()?;
    let a = lab.node("node-a", Wiring::Ptp)?;
    let plane = ControlPlane::start(&lab, Settings::default())?;
    plane.api().apply(&[manifest::node("node-a", &[])])?;
    let _agent = a.start_agent(&AgentFlags::new().kubeconfig(plane.agent()?))?;
    let service = manifest::service("web", Addresses::cluster_ips(11))
        .with("ipFamilyPolicy", "RequireDualStack")
        .annotation("sluice.dev/algorithm", "fastest")
        .annotation("sluice.dev/weights", "web-0=heavy")
        .port("http", 80, Protocol::Tcp);
    plane.api().create(&[service.object()])?;
    let start = Instant::now();
    loop {
        let mut events = plane.api().list("Event")?;
        events.retain(|event| event["reportingComponent"] == "sluice");
        let told = |field: &str| {
            events
                .iter()
                .any(|event| event["message"].as_str().is_some_and(|it| it.contains(field)))
        };
        if told("fastest") && told("heavy") {
            ensure!(events.iter().all(|it| it["reason"] == "InvalidField"), "{events:?}");
            return Ok(());
        }
        ensure!(start.elapsed() < Duration::from_secs(15), "no two Events but {events:?}");
        thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_port_in_use_is_told_with_its_holder_and_traffic_goes_on() -> Result<()> {
    let lab = Lab::new()?;
    let a = lab.node("node-a", Wiring::Ptp)?;
    let taken = a.namespace().run(|| Ok(TcpListener::bind("0.0.0.0:10256")?))?;
    let mut agent = a.start_agent(&AgentFlags::new())?;
    let line = agent.wait_for_log(Duration::from_secs(5), |line| line.contains("10256"))?;
    ensure!(line.contains("--healthz-bind-address"), "{line}");
    ensure!(line.contains(&format!("process {}", std::process::id())), "{line}");
    drop(taken);
    page_when(&a, HEALTH, "/livez", |page| page.status == 200)?;
    Ok(())
}
