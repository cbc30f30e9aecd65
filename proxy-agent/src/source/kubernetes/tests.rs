//! Tests against a small HTTP server that answers like an API server, in this process.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use kube::Config;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
};

use crate::source::{Change, Event};

/// What the server says about one kind.
#[derive(Clone, Debug, Default)]
struct Resource {
    /// Pages of the list, in order; a number is the status of an error instead.
    pages: Vec<Result<Vec<Value>, u16>>,
    /// Everything that watches tell, from the first on.
    told: Vec<String>,
}

#[derive(Debug, Default)]
struct State {
    resources: HashMap<&'static str, Resource>,
    requests: Vec<String>,
}

const SERVICES: &str = "services";
const SLICES: &str = "endpointslices";
const NODES: &str = "nodes";
const CIDRS: &str = "servicecidrs";

/// An API server, and an agent's source that follows it.
struct Cluster {
    state: Arc<Mutex<State>>,
    changed: watch::Sender<()>,
    events: mpsc::Receiver<Vec<Event>>,
}

impl Cluster {
    async fn start(prepare: impl FnOnce(&mut HashMap<&'static str, Resource>)) -> Self {
        let mut state = State::default();
        for resource in [SERVICES, SLICES, NODES, CIDRS] {
            let empty = Resource { pages: vec![Ok(Vec::new())], told: Vec::new() };
            state.resources.insert(resource, empty);
        }
        prepare(&mut state.resources);
        let state = Arc::new(Mutex::new(state));
        let (changed, changes) = watch::channel(());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = state.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, serving.clone(), changes.clone()));
            }
        });
        let client =
            kube::Client::try_from(Config::new(format!("http://{address}").parse().unwrap()));
        let (sender, events) = mpsc::channel(64);
        tokio::spawn(super::run(client.unwrap(), "here".into(), sender));
        Self { state, changed, events }
    }

    fn change(&self, resource: &'static str, change: impl FnOnce(&mut Resource)) {
        change(self.state.lock().unwrap().resources.get_mut(resource).unwrap());
        self.changed.send(()).unwrap();
    }

    fn tell(&self, resource: &'static str, kind: &str, object: &Value) {
        let line = json!({"type": kind, "object": object}).to_string();
        self.change(resource, |resource| resource.told.push(line));
    }

    /// What is told until `last` is.
    async fn until(&mut self, last: &str) -> Vec<String> {
        let mut told: Vec<String> = Vec::new();
        while !told.iter().any(|told| told == last) {
            let batch = tokio::time::timeout(Duration::from_secs(20), self.events.recv()).await;
            let batch = batch.unwrap_or_else(|_| panic!("{last} was not told, but {told:?}"));
            told.extend(batch.unwrap().iter().map(word));
        }
        told
    }
}

fn word(event: &Event) -> String {
    match event {
        Event::Service(Change::Applied(service)) => format!("+{}", service.name.name),
        Event::Service(Change::Deleted(name)) => format!("-{}", name.name),
        Event::Node(Change::Applied(node)) => format!("+node {}", node.name),
        Event::Synced => "synced".to_owned(),
        Event::Problem(problem) => format!("! {problem}"),
        other => format!("{other:?}"),
    }
}

fn service(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": name, "namespace": "default", "resourceVersion": "5"},
        "spec": {"clusterIP": "10.96.0.1", "ports": [{"port": 80}]},
    })
}

async fn serve(stream: TcpStream, state: Arc<Mutex<State>>, mut changes: watch::Receiver<()>) {
    let mut stream = BufReader::new(stream);
    loop {
        let mut request = String::new();
        if stream.read_line(&mut request).await.unwrap_or(0) == 0 {
            return;
        }
        let mut header = String::new();
        while stream.read_line(&mut header).await.unwrap_or(0) > 2 {
            header.clear();
        }
        let target = request.split(' ').nth(1).unwrap().to_owned();
        state.lock().unwrap().requests.push(target.clone());
        let path = target.split('?').next().unwrap();
        let resource =
            [SERVICES, SLICES, NODES, CIDRS].into_iter().find(|it| path.ends_with(it)).unwrap();
        if target.contains("watch=true") {
            let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
            stream.write_all(head.as_bytes()).await.unwrap();
            tell(&mut stream, resource, &state, &mut changes).await;
            return;
        }
        let (status, body) = list(&state, resource, &target);
        let head = format!(
            "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        if stream.write_all((head + &body).as_bytes()).await.is_err() {
            return;
        }
    }
}

/// A page of the list. A page that fails is asked for once: the next one takes its place.
fn list(state: &Mutex<State>, resource: &'static str, target: &str) -> (u16, String) {
    let mut state = state.lock().unwrap();
    let resource = state.resources.get_mut(resource).unwrap();
    let page = target
        .split("continue=page-")
        .nth(1)
        .map_or(0, |rest| rest.split('&').next().unwrap().parse().unwrap());
    match resource.pages[page].clone() {
        Ok(items) => {
            let more = resource.pages.len() > page + 1;
            let next = if more { format!("page-{}", page + 1) } else { String::new() };
            let metadata = json!({"resourceVersion": "10", "continue": next});
            (200, json!({"metadata": metadata, "items": items}).to_string())
        }
        Err(code) => {
            if resource.pages.len() > page + 1 {
                let _ = resource.pages.remove(page);
            }
            let reason = if code == 404 { "NotFound" } else { "InternalError" };
            let body = json!({
                "kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "no",
                "reason": reason, "code": code,
            });
            (code, body.to_string())
        }
    }
}

async fn tell(
    stream: &mut BufReader<TcpStream>,
    resource: &'static str,
    state: &Mutex<State>,
    changes: &mut watch::Receiver<()>,
) {
    let mut next = 0;
    loop {
        let told = state.lock().unwrap().resources[resource].told.clone();
        for line in &told[next.min(told.len())..] {
            let chunk = format!("{:x}\r\n{line}\n\r\n", line.len() + 1);
            if stream.write_all(chunk.as_bytes()).await.is_err() {
                return;
            }
        }
        next = told.len();
        if changes.changed().await.is_err() {
            return;
        }
    }
}

#[tokio::test]
async fn what_is_listed_is_told_and_then_that_it_is_all() {
    let mut cluster = Cluster::start(|resources| {
        resources.get_mut(SERVICES).unwrap().pages = vec![Ok(vec![service("a"), service("b")])];
        let node = json!({"metadata": {"name": "here"}});
        resources.get_mut(NODES).unwrap().pages = vec![Ok(vec![node])];
    })
    .await;
    let mut told = cluster.until("synced").await;
    assert_eq!(told.pop().as_deref(), Some("synced"));
    told.sort();
    assert_eq!(told, ["+a", "+b", "+node here"]);
}

#[tokio::test]
async fn only_what_is_ours_is_asked_for() {
    let mut cluster = Cluster::start(|_| {}).await;
    cluster.until("synced").await;
    let requests = cluster.state.lock().unwrap().requests.clone();
    let of = |resource: &str| requests.iter().find(|it| it.contains(resource)).unwrap().clone();
    for resource in [SERVICES, SLICES] {
        let asked = of(&format!("/{resource}"));
        assert!(asked.contains("service-proxy-name"), "{asked}");
        assert!(asked.contains("headless"), "{asked}");
    }
    assert!(of("/nodes").contains("fieldSelector=metadata.name%3Dhere"), "{}", of("/nodes"));
}

#[tokio::test]
async fn changes_are_told_as_they_come() {
    let mut cluster = Cluster::start(|_| {}).await;
    cluster.until("synced").await;
    cluster.tell(SERVICES, "ADDED", &service("a"));
    assert_eq!(cluster.until("+a").await, ["+a"]);
    cluster.tell(SERVICES, "DELETED", &service("a"));
    assert_eq!(cluster.until("-a").await, ["-a"]);
}

#[tokio::test]
async fn after_a_new_list_what_it_lacks_is_gone() {
    let mut cluster = Cluster::start(|resources| {
        resources.get_mut(SERVICES).unwrap().pages = vec![Ok(vec![service("a"), service("b")])];
    })
    .await;
    cluster.until("synced").await;
    cluster.change(SERVICES, |services| services.pages = vec![Ok(vec![service("b")])]);
    let expired = json!({
        "kind": "Status", "status": "Failure", "reason": "Expired", "code": 410, "message": "old",
    });
    cluster.tell(SERVICES, "ERROR", &expired);
    assert_eq!(cluster.until("-a").await, ["+b", "-a"]);
}

#[tokio::test]
async fn an_error_within_a_list_takes_nothing_away_and_is_told() {
    let mut cluster = Cluster::start(|resources| {
        let pages = vec![Ok(vec![service("a")]), Err(500), Ok(vec![service("b")])];
        resources.get_mut(SERVICES).unwrap().pages = pages;
    })
    .await;
    let told = cluster.until("synced").await;
    assert!(told.iter().any(|it| it.starts_with("! \"Services\": ")), "{told:?}");
    let services: Vec<&String> = told.iter().filter(|it| it.starts_with(['+', '-'])).collect();
    assert_eq!(services, ["+a", "+b"], "in one complete list, once");
}

#[tokio::test]
async fn a_cluster_without_service_cidrs_is_served() {
    let mut cluster = Cluster::start(|resources| {
        resources.get_mut(CIDRS).unwrap().pages = vec![Err(404)];
    })
    .await;
    assert_eq!(cluster.until("synced").await, ["synced"]);
}

#[tokio::test]
async fn a_cluster_that_refuses_is_not_taken_for_empty() {
    let mut cluster = Cluster::start(|resources| {
        resources.get_mut(SLICES).unwrap().pages = vec![Err(500)];
    })
    .await;
    let told = tokio::time::timeout(Duration::from_secs(3), cluster.until("synced")).await;
    assert!(told.is_err(), "{told:?}");
}
