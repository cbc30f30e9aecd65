//! The source against API servers that fail in all the ways that servers do.

use std::{fs, time::Duration};

use serde_json::{Value, json};

use super::{
    Access, Cluster, Patience, Servers,
    fake::{CIDRS, Fake, NODES, SERVICES, SLICES, Streaming},
};
use crate::{
    checkpoint::Checkpoint,
    events::Notifier,
    metrics::Metrics,
    model::NamespacedName,
    source::{Change, Event, Inlet, channel, convert::Converter},
};

/// A source that follows servers, and what it tells.
struct Followed {
    events: Inlet,
    notifier: Notifier,
    servers: Servers,
}

fn cluster(servers: &[&Fake]) -> Cluster {
    let servers = servers.iter().map(|server| server.url()).collect();
    Cluster { access: Access::Found, servers, checkpoint: None }
}

impl Followed {
    fn new(cluster: Cluster) -> Self {
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
    async fn until(&mut self, last: &str) -> Vec<String> {
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
    async fn during(&mut self, while_: Duration) -> Vec<String> {
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

fn service(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": name, "namespace": "default", "resourceVersion": "5", "uid": "u-1"},
        "spec": {"clusterIP": "10.96.0.1", "ports": [{"port": 80}]},
    })
}

/// The slice of `default/kubernetes`; converted, its loopback addresses would be left out.
fn kubernetes(server: &Fake) -> Event {
    let service = NamespacedName::new("default", "kubernetes");
    let endpoint = json!({
        "metadata": {
            "name": "kubernetes", "namespace": "default",
            "labels": {"kubernetes.io/service-name": "kubernetes"},
        },
        "addressType": "IPv4", "endpoints": [{"addresses": ["192.0.2.1"]}],
        "ports": [{"name": "https", "port": server.address.port(), "protocol": "TCP"}],
    });
    let object = serde_json::from_value(endpoint).unwrap();
    let mut slice = Converter::default().endpoint_slice(&object).0.unwrap();
    assert_eq!(slice.service, Some(service));
    slice.endpoints[0].address = server.address.ip();
    Event::EndpointSlice(Change::Applied(slice))
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
async fn a_server_that_hangs_is_left_for_one_that_answers() {
    let (first, second) = (Fake::start().await, Fake::start().await);
    first.list(SERVICES, &[service("a"), service("b")]);
    second.list(SERVICES, &[service("b")]);
    let mut followed = Followed::new(cluster(&[&first, &second]));
    followed.until("synced").await;
    first.silence(true);
    second.compact(SERVICES);
    first.cut();
    let told = followed.until("-a").await;
    assert!(!told.iter().any(|it| it.starts_with('!')), "{told:?}");
    assert!(second.requests().len() > 4);
}

#[tokio::test]
async fn a_server_that_is_not_ready_is_asked_only_if_no_other_is() {
    let (first, second) = (Fake::start().await, Fake::start().await);
    first.fail(Some(500));
    let mut followed = Followed::new(cluster(&[&first, &second]));
    followed.until("synced").await;
    assert_eq!(first.requests(), ["/readyz"]);
}

#[tokio::test]
async fn servers_of_the_cluster_are_asked_when_those_that_were_named_are_gone() {
    let (named, other) = (Fake::start().await, Fake::start().await);
    let directory = tempfile::tempdir().unwrap();
    let checkpoint = Checkpoint::new(directory.path().join("servers.json"));
    other.list(SERVICES, &[service("from-the-other")]);
    let found = Cluster { checkpoint: Some(checkpoint.clone()), ..cluster(&[&named]) };
    let mut followed = Followed::new(found.clone());
    followed.until("synced").await;
    followed.servers.see(&[kubernetes(&other)]);
    named.kill();
    other.compact(SERVICES);
    followed.until("+from-the-other").await;
    drop(followed);

    // A later start, with nothing but the file.
    for _ in 0..100 {
        if !checkpoint.read().unwrap().is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(checkpoint.read().unwrap(), [other.address]);
    let mut followed = Followed::new(found);
    let told = followed.until("synced").await;
    assert!(told.contains(&"+from-the-other".to_owned()), "{told:?}");
}

#[tokio::test]
async fn that_no_server_answers_is_told_once_with_all_of_them() {
    let (first, second) = (Fake::start().await, Fake::start().await);
    first.kill();
    second.kill();
    let mut followed = Followed::new(cluster(&[&first, &second]));
    let told = followed.during(Duration::from_secs(2)).await;
    assert_eq!(told.len(), 1, "{told:?}");
    let ports = [&first, &second].map(|server| server.address.port().to_string());
    assert!(ports.iter().all(|port| told[0].contains(port)), "{told:?}");
    assert!(told[0].contains("refused"), "{told:?}");
}

#[tokio::test]
async fn a_token_that_was_renewed_is_read_anew() {
    let server = Fake::start().await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("kubeconfig");
    let kubeconfig = |token: &str| {
        json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": server.url().to_string()}}],
            "users": [{"name": "u", "user": {"token": token}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        })
        .to_string()
    };
    fs::write(&path, kubeconfig("old")).unwrap();
    server.demand_token("old");
    let access = Access::Kubeconfig(path.clone());
    let mut followed = Followed::new(Cluster { access, servers: Vec::new(), checkpoint: None });
    followed.until("synced").await;
    server.demand_token("new");
    server.cut();
    server.tell(SERVICES, "ADDED", &service("a"));
    tokio::time::sleep(Duration::from_millis(300)).await;
    fs::write(&path, kubeconfig("new")).unwrap();
    followed.until("+a").await;
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
