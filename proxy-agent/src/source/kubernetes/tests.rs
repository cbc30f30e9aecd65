//! The source against API servers that fail in all the ways that servers do.

use std::time::Duration;

use serde_json::{Value, json};

use super::{
    Access, Cluster, Patience, Servers,
    fake::{CIDRS, Fake, NODES, SERVICES, SLICES, Streaming},
};
use crate::{
    events::Notifier,
    metrics::Metrics,
    source::{Change, Event, Inlet, channel},
};

/// A source that follows servers, and what it tells.
pub(super) struct Followed {
    events: Inlet,
    notifier: Notifier,
    pub(super) servers: Servers,
}

pub(super) fn cluster(servers: &[&Fake]) -> Cluster {
    let servers = servers.iter().map(|server| server.url()).collect();
    Cluster { access: Access::Found, servers, checkpoint: None }
}

impl Followed {
    pub(super) fn new(cluster: Cluster) -> Self {
        let patience = Patience {
            answer: Duration::from_secs(2),
            list_silence: Duration::from_millis(300),
            watch_silence: Duration::from_secs(1),
        };
        let (outlet, events) = channel(64);
        let metrics = Metrics::new();
        let (notifier, notices) = crate::events::channel(metrics.clone());
        let servers = Servers::new(cluster, outlet.clone(), metrics.clone());
        let shared = servers.clone();
        tokio::spawn(async move {
            super::serve(servers, "here".into(), outlet, metrics, notices, patience).await
        });
        Self { events, notifier, servers: shared }
    }

    /// What is told until `last` is.
    pub(super) async fn until(&mut self, last: &str) -> Vec<String> {
        let mut told: Vec<String> = Vec::new();
        let end = tokio::time::Instant::now() + Duration::from_secs(20);
        while !told.iter().any(|told| told == last) {
            let batch = tokio::time::timeout_at(end, self.events.recv()).await;
            let batch = batch.unwrap_or_else(|_| panic!("{last} was not told, but {told:?}"));
            told.extend(batch.unwrap().events.iter().map(word));
        }
        told
    }

    /// What is told within a while.
    pub(super) async fn during(&mut self, while_: Duration) -> Vec<String> {
        let mut told = Vec::new();
        let end = tokio::time::Instant::now() + while_;
        while let Ok(Some(batch)) = tokio::time::timeout_at(end, self.events.recv()).await {
            told.extend(batch.events.iter().map(word));
        }
        told
    }
}

fn word(event: &Event) -> String {
    match event {
        Event::Service(Change::Applied(service)) => format!("+{}", service.name.name),
        Event::Service(Change::Deleted(name)) => format!("-{}", name.name),
        Event::EndpointSlice(Change::Applied(slice)) => format!("+slice {}", slice.name.name),
        Event::Node(Change::Applied(node)) => format!("+node {}", node.name),
        Event::ServiceCidr(Change::Applied(cidr)) => format!("+cidr {}", cidr.name),
        Event::Synced => "synced".to_owned(),
        Event::Problem(problem) => format!("! {problem}"),
        other => format!("{other:?}"),
    }
}

pub(super) fn service(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": name, "namespace": "default", "resourceVersion": "5", "uid": "u-1"},
        "spec": {"clusterIP": "10.96.0.1", "ports": [{"port": 80}]},
    })
}

#[tokio::test]
async fn what_is_listed_is_told_and_then_that_it_is_all() {
    let server = Fake::start().await;
    server.list(SERVICES, &[service("a"), service("b")]);
    server.list(NODES, &[json!({"metadata": {"name": "here"}})]);
    let mut followed = Followed::new(cluster(&[&server]));
    let mut told = followed.until("synced").await;
    assert_eq!(told.pop().as_deref(), Some("synced"));
    told.sort();
    assert_eq!(told, ["+a", "+b", "+node here"]);
    assert!(server.requests().iter().all(|it| it.contains("watch") || it == "/readyz"));
}

#[tokio::test]
async fn only_what_is_ours_is_asked_for() {
    let server = Fake::start().await;
    let mut followed = Followed::new(cluster(&[&server]));
    followed.until("synced").await;
    let requests = server.requests();
    let of = |resource: &str| requests.iter().find(|it| it.contains(resource)).unwrap().clone();
    for resource in [SERVICES, SLICES] {
        let asked = of(&format!("/{resource}"));
        assert!(asked.contains("service-proxy-name"), "{asked}");
        assert!(asked.contains("headless"), "{asked}");
    }
    assert!(of("/nodes").contains("fieldSelector=metadata.name%3Dhere"), "{}", of("/nodes"));
}

#[tokio::test]
async fn changes_are_told_as_they_come_and_a_label_takes_a_service_away() {
    let server = Fake::start().await;
    let mut followed = Followed::new(cluster(&[&server]));
    followed.until("synced").await;
    server.tell(SERVICES, "ADDED", &service("a"));
    assert_eq!(followed.until("+a").await, ["+a"]);
    // With a selector, what no longer matches is told as deleted, as it looked before or looks now.
    let mut labelled = service("a");
    labelled["metadata"]["labels"] = json!({"service.kubernetes.io/service-proxy-name": "other"});
    server.tell(SERVICES, "DELETED", &labelled);
    assert_eq!(followed.until("-a").await, ["-a"]);
    server.tell(SERVICES, "ADDED", &service("a"));
    assert_eq!(followed.until("+a").await, ["+a"]);
}

#[tokio::test]
async fn a_server_that_does_not_stream_lists_is_asked_for_pages() {
    for streaming in [Streaming::Refused, Streaming::Ignored] {
        let server = Fake::start().await;
        for kind in [SERVICES, SLICES, NODES, CIDRS] {
            server.change(kind, |resource| resource.streaming = streaming);
        }
        let pages = vec![Ok(vec![service("a")]), Ok(vec![service("b")])];
        server.change(SERVICES, |services| services.pages = pages);
        let mut followed = Followed::new(cluster(&[&server]));
        let told = followed.until("synced").await;
        assert_eq!(told, ["+a", "+b", "synced"], "{streaming:?}");
        server.tell(SERVICES, "DELETED", &service("a"));
        assert_eq!(followed.until("-a").await, ["-a"]);
        let requests = server.requests();
        assert!(requests.iter().any(|it| it.contains("continue=page-1")), "{requests:?}");
    }
}

#[tokio::test]
async fn after_a_new_list_what_it_lacks_is_gone() {
    let server = Fake::start().await;
    server.list(SERVICES, &[service("a"), service("b")]);
    let mut followed = Followed::new(cluster(&[&server]));
    followed.until("synced").await;
    server.list(SERVICES, &[service("b")]);
    server.compact(SERVICES);
    server.cut();
    assert_eq!(followed.until("-a").await, ["+b", "-a"]);
}

#[tokio::test]
async fn a_watch_that_was_cut_goes_on_where_it_was() {
    let server = Fake::start().await;
    server.list(SERVICES, &[service("a")]);
    let mut followed = Followed::new(cluster(&[&server]));
    followed.until("synced").await;
    server.tell(SERVICES, "ADDED", &service("b"));
    followed.until("+b").await;
    server.cut();
    server.tell(SERVICES, "ADDED", &service("c"));
    assert_eq!(followed.until("+c").await, ["+c"], "nothing is listed anew");
}

#[tokio::test]
async fn a_watch_that_told_of_a_change_and_ended_is_taken_up_at_once() {
    let server = Fake::start().await;
    let mut followed = Followed::new(cluster(&[&server]));
    followed.until("synced").await;
    server.end_watches();
    let all = async {
        for name in ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"] {
            server.tell(SERVICES, "ADDED", &service(name));
            followed.until(&format!("+{name}")).await;
        }
    };
    // With waits between them, which double, it would be half a minute.
    tokio::time::timeout(Duration::from_secs(5), all).await.unwrap();
}

#[tokio::test]
async fn an_error_within_a_list_takes_nothing_away_and_is_told() {
    let server = Fake::start().await;
    let pages = vec![Ok(vec![service("a")]), Err(400), Ok(vec![service("b")])];
    server.change(SERVICES, |services| {
        (services.pages, services.streaming) = (pages, Streaming::Refused);
    });
    let mut followed = Followed::new(cluster(&[&server]));
    let told = followed.until("synced").await;
    assert!(told.iter().any(|it| it.starts_with("! \"Services\": ")), "{told:?}");
    let services: Vec<&String> = told.iter().filter(|it| it.starts_with(['+', '-'])).collect();
    assert_eq!(services, ["+a", "+b"], "in one complete list, once");
}

#[tokio::test]
async fn servers_that_fail_cost_no_service_whatever_they_say() {
    let server = Fake::start().await;
    server.list(SERVICES, &[service("a")]);
    let mut followed = Followed::new(cluster(&[&server]));
    followed.until("synced").await;
    for status in [500, 503, 429, 401, 403, 404] {
        server.fail(Some(status));
        server.compact(SERVICES);
        server.cut();
        let told = followed.during(Duration::from_millis(600)).await;
        assert!(!told.contains(&"-a".to_owned()), "{status}: {told:?}");
        server.fail(None);
    }
    server.tell(SERVICES, "ADDED", &service("b"));
    server.list(SERVICES, &[service("a"), service("b")]);
    let told = followed.until("+b").await;
    assert!(!told.contains(&"-a".to_owned()), "{told:?}");
}

#[tokio::test]
async fn a_watch_that_goes_silent_is_taken_up_again() {
    let server = Fake::start().await;
    let mut followed = Followed::new(cluster(&[&server]));
    followed.until("synced").await;
    let watches = || server.requests().iter().filter(|it| it.contains("/services")).count();
    let before = watches();
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert!(watches() > before, "{:?}", server.requests());
    assert!(followed.during(Duration::from_millis(1)).await.is_empty());
}

#[tokio::test]
async fn a_cluster_without_service_cidrs_is_served_and_one_with_an_older_version_too() {
    let server = Fake::start().await;
    server.list(
        CIDRS,
        &[json!({"metadata": {"name": "kubernetes"}, "spec": {"cidrs": ["10.96.0.0/16"]}})],
    );
    server.without("/v1/servicecidrs");
    let mut followed = Followed::new(cluster(&[&server]));
    assert_eq!(followed.until("synced").await, ["+cidr kubernetes", "synced"]);
    let server = Fake::start().await;
    server.without("/servicecidrs");
    let mut followed = Followed::new(cluster(&[&server]));
    assert_eq!(followed.until("synced").await, ["synced"]);
}

#[tokio::test]
async fn a_cluster_that_refuses_is_not_taken_for_empty() {
    let server = Fake::start().await;
    server.change(SLICES, |slices| slices.pages = vec![Err(403)]);
    let mut followed = Followed::new(cluster(&[&server]));
    let told = followed.during(Duration::from_secs(2)).await;
    assert!(!told.contains(&"synced".to_owned()), "{told:?}");
    assert!(told.iter().any(|it| it.starts_with("! \"EndpointSlices\": ")), "{told:?}");
}

#[tokio::test]
async fn an_object_that_can_not_be_read_takes_nothing_away_and_stops_nothing() {
    let server = Fake::start().await;
    let bad = json!({"metadata": {"name": "bad"}, "spec": {"ports": "none"}});
    server.list(SERVICES, &[service("a"), bad.clone()]);
    let mut followed = Followed::new(cluster(&[&server]));
    let told = followed.until("synced").await;
    assert!(told.contains(&"+a".to_owned()), "{told:?}");
    assert!(told.iter().any(|it| it.contains("can't be read")), "{told:?}");
    server.tell(SERVICES, "MODIFIED", &bad);
    server.tell_raw(SERVICES, "{\"type\": \"MODIFIED\", \"object\": []}");
    server.tell(SERVICES, "ADDED", &service("b"));
    followed.until("+b").await;
    server.change(SERVICES, |services| {
        services.streaming = Streaming::Refused;
        services.pages = vec![Ok(vec![service("b"), bad])];
    });
    server.compact(SERVICES);
    server.cut();
    let mut told = followed.until("+b").await;
    told.extend(followed.during(Duration::from_millis(100)).await);
    assert!(!told.contains(&"-a".to_owned()), "{told:?}");
}

#[tokio::test]
async fn owners_of_services_are_told_by_events() {
    let server = Fake::start().await;
    server.list(SERVICES, &[service("web")]);
    let mut followed = Followed::new(cluster(&[&server]));
    followed.until("synced").await;
    let problem = crate::model::Problem {
        location: None,
        object: Some(crate::model::ObjectRef {
            kind: crate::model::ObjectKind::Service,
            name: "default/web".into(),
        }),
        field: "spec.externalIPs[0]".into(),
        value: "x".into(),
        trouble: crate::model::Trouble::Address,
    };
    for _ in 0..3 {
        followed.notifier.problem(&problem, std::time::Instant::now());
    }
    for _ in 0..200 {
        if !server.posted().is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let posted = server.posted();
    assert_eq!(posted.len(), 1, "once");
    let event = &posted[0];
    assert_eq!(event["regarding"]["uid"], "u-1");
    assert_eq!(event["regarding"]["name"], "web");
    assert_eq!(event["reason"], "InvalidAddress");
    assert_eq!(event["type"], "Warning");
    assert_eq!(event["reportingController"], "sluice");
}
