//! An API server for tests, in this process: it says what it is told to, and fails as told.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

pub(super) const SERVICES: &str = "services";
pub(super) const SLICES: &str = "endpointslices";
pub(super) const NODES: &str = "nodes";
pub(super) const CIDRS: &str = "servicecidrs";
const KINDS: [&str; 4] = [SERVICES, SLICES, NODES, CIDRS];

/// The version that lists have; what watches tell follows.
const LISTED: usize = 10;

/// Whether lists are streamed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Streaming {
    #[default]
    Served,
    /// The parameter is refused.
    Refused,
    /// The parameter is not known: objects come, and no end.
    Ignored,
}

/// What the server says about one kind.
#[derive(Clone, Debug, Default)]
pub(super) struct Resource {
    /// Pages of the list, in order; a number is the status of an error instead.
    pub(super) pages: Vec<Result<Vec<Value>, u16>>,
    pub(super) streaming: Streaming,
    /// Everything that watches tell, from the first on; nothing for a version that is forgotten.
    told: Vec<Option<String>>,
    /// Watches from a version before this one are told that it is gone.
    compacted: usize,
}

#[derive(Debug, Default)]
struct State {
    resources: HashMap<&'static str, Resource>,
    requests: Vec<String>,
    /// The status of all answers, instead of what they would be.
    status: Option<u16>,
    /// No request is answered.
    silent: bool,
    /// Versions of APIs that aren't served.
    unserved: Vec<&'static str>,
    /// The token that is asked for.
    token: Option<&'static str>,
    /// Watches end when they have told of a change.
    ends: bool,
    posted: Vec<Value>,
}

/// An API server.
pub(super) struct Fake {
    pub(super) address: SocketAddr,
    state: Arc<Mutex<State>>,
    changed: watch::Sender<()>,
    /// Counts how often all connections were cut.
    cuts: watch::Sender<u64>,
    serving: JoinHandle<()>,
}

impl Fake {
    pub(super) async fn start() -> Self {
        let mut state = State::default();
        for kind in KINDS {
            let empty = Resource { pages: vec![Ok(Vec::new())], ..Resource::default() };
            state.resources.insert(kind, empty);
        }
        let state = Arc::new(Mutex::new(state));
        let (changed, changes) = watch::channel(());
        let cuts = watch::Sender::new(0);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (shared, cut) = (state.clone(), cuts.subscribe());
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (state, changes, mut cut) = (shared.clone(), changes.clone(), cut.clone());
                cut.borrow_and_update();
                tokio::spawn(async move {
                    tokio::select! {
                        () = serve(stream, state, changes) => {}
                        _ = cut.changed() => {}
                    }
                });
            }
        });
        Self { address, state, changed, cuts, serving }
    }

    pub(super) fn url(&self) -> http::Uri {
        format!("http://{}", self.address).parse().unwrap()
    }

    pub(super) fn change(&self, kind: &'static str, change: impl FnOnce(&mut Resource)) {
        change(self.state.lock().unwrap().resources.get_mut(kind).unwrap());
        self.changed.send_replace(());
    }

    pub(super) fn list(&self, kind: &'static str, objects: &[Value]) {
        self.change(kind, |resource| resource.pages = vec![Ok(objects.to_vec())]);
    }

    pub(super) fn tell(&self, kind: &'static str, event: &str, object: &Value) {
        self.change(kind, |resource| {
            let mut object = object.clone();
            object["metadata"]["resourceVersion"] =
                json!((LISTED + resource.told.len() + 1).to_string());
            resource.told.push(Some(json!({"type": event, "object": object}).to_string()));
        });
    }

    /// A line of a watch as it is.
    pub(super) fn tell_raw(&self, kind: &'static str, line: &str) {
        self.change(kind, |resource| resource.told.push(Some(line.to_owned())));
    }

    /// Forgets what was told: who watches from before is sent away.
    pub(super) fn compact(&self, kind: &'static str) {
        self.change(kind, |resource| {
            resource.compacted = LISTED + resource.told.len() + 1;
            resource.told.push(None);
        });
    }

    /// All answers have this status from now on.
    pub(super) fn fail(&self, status: Option<u16>) {
        self.state.lock().unwrap().status = status;
    }

    /// No request is answered from now on, or again.
    pub(super) fn silence(&self, silent: bool) {
        self.state.lock().unwrap().silent = silent;
    }

    pub(super) fn demand_token(&self, token: &'static str) {
        self.state.lock().unwrap().token = Some(token);
    }

    pub(super) fn without(&self, version: &'static str) {
        self.state.lock().unwrap().unserved.push(version);
    }

    /// Every watch ends, as it should, when it has told of a change.
    pub(super) fn end_watches(&self) {
        self.state.lock().unwrap().ends = true;
    }

    /// Cuts all connections in the middle of what they are at.
    pub(super) fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Is gone, as a process that was killed.
    pub(super) fn kill(&self) {
        self.serving.abort();
        self.cut();
    }

    pub(super) fn requests(&self) -> Vec<String> {
        self.state.lock().unwrap().requests.clone()
    }

    pub(super) fn posted(&self) -> Vec<Value> {
        self.state.lock().unwrap().posted.clone()
    }
}

async fn serve(stream: TcpStream, state: Arc<Mutex<State>>, mut changes: watch::Receiver<()>) {
    let mut stream = BufReader::new(stream);
    loop {
        let Some((method, target, authorization, body)) = request(&mut stream).await else {
            return;
        };
        let (status, silent, token) = {
            let mut state = state.lock().unwrap();
            state.requests.push(target.clone());
            if method == "POST" {
                state.posted.push(serde_json::from_str(&body).unwrap());
            }
            (state.status, state.silent, state.token)
        };
        if silent {
            std::future::pending::<()>().await;
        }
        let path = target.split('?').next().unwrap();
        let kind = KINDS.into_iter().find(|kind| path.ends_with(kind));
        let answer = match (status, kind) {
            (Some(status), _) => failure(status),
            _ if token.is_some_and(|token| authorization != format!("Bearer {token}")) => {
                failure(401)
            }
            (None, _) if path == "/readyz" => (200, "ok".to_owned()),
            (None, _) if method == "POST" => (201, body),
            (None, None) => failure(404),
            (None, Some(_)) if is_unserved(&state, path) => failure(404),
            (None, Some(kind)) if target.contains("watch=true") => {
                match watch_of(&state, kind, &target) {
                    Ok(begin) => {
                        let _ = tell(&mut stream, kind, &state, &mut changes, begin).await;
                        return;
                    }
                    Err(status) => failure(status),
                }
            }
            (None, Some(kind)) => list(&state, kind, &target),
        };
        if send(&mut stream, answer).await.is_err() {
            return;
        }
    }
}

async fn request(stream: &mut BufReader<TcpStream>) -> Option<(String, String, String, String)> {
    let mut line = String::new();
    if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
        return None;
    }
    let mut words = line.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let (mut authorization, mut length) = (String::new(), 0);
    loop {
        let mut header = String::new();
        if stream.read_line(&mut header).await.unwrap_or(0) <= 2 {
            break;
        }
        let (name, value) = header.split_once(':').unwrap();
        match name.to_lowercase().as_str() {
            "authorization" => authorization = value.trim().to_owned(),
            "content-length" => length = value.trim().parse().unwrap(),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    tokio::io::AsyncReadExt::read_exact(stream, &mut body).await.ok()?;
    Some((method, target, authorization, String::from_utf8(body).unwrap()))
}

async fn send(
    stream: &mut BufReader<TcpStream>,
    (status, body): (u16, String),
) -> std::io::Result<()> {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    );
    stream.write_all((head + &body).as_bytes()).await
}

fn failure(code: u16) -> (u16, String) {
    let reason = if code == 404 { "NotFound" } else { "InternalError" };
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "message": format!("no: {code}"),
        "reason": reason, "code": code,
    });
    (code, body.to_string())
}

fn is_unserved(state: &Mutex<State>, path: &str) -> bool {
    state.lock().unwrap().unserved.iter().any(|version| path.contains(version))
}

/// Pages, or some of them by a field selector.
fn list(state: &Mutex<State>, kind: &'static str, target: &str) -> (u16, String) {
    let mut state = state.lock().unwrap();
    let resource = state.resources.get_mut(kind).unwrap();
    let page = target
        .split("continue=page-")
        .nth(1)
        .map_or(0, |rest| rest.split('&').next().unwrap().parse().unwrap());
    match resource.pages[page].clone() {
        Ok(items) => {
            let more = resource.pages.len() > page + 1;
            let next = if more { format!("page-{}", page + 1) } else { String::new() };
            let version = (LISTED + resource.told.len()).to_string();
            let metadata = json!({"resourceVersion": version, "continue": next});
            let body =
                json!({"apiVersion": "v1", "kind": "List", "metadata": metadata, "items": items});
            (200, body.to_string())
        }
        Err(code) => {
            // It is answered once; the next page takes its place.
            if resource.pages.len() > page + 1 {
                let _ = resource.pages.remove(page);
            }
            failure(code)
        }
    }
}

/// What a watch begins with, and how much of what is told it has seen.
fn watch_of(
    state: &Mutex<State>,
    kind: &'static str,
    target: &str,
) -> Result<(Vec<String>, usize), u16> {
    let state = state.lock().unwrap();
    let resource = &state.resources[kind];
    let streamed = target.contains("sendInitialEvents=true");
    if streamed && resource.streaming == Streaming::Refused {
        return Err(422);
    }
    if !streamed {
        let version = target.split("resourceVersion=").nth(1).unwrap();
        let version: usize = version.split('&').next().unwrap().parse().unwrap();
        if version < resource.compacted {
            let gone = json!({
                "kind": "Status", "status": "Failure", "reason": "Expired", "code": 410,
                "message": "too old",
            });
            return Ok((vec![json!({"type": "ERROR", "object": gone}).to_string()], usize::MAX));
        }
        return Ok((Vec::new(), version - LISTED));
    }
    let mut begin = Vec::new();
    for page in &resource.pages {
        match page {
            Ok(items) => begin.extend(
                items.iter().map(|item| json!({"type": "ADDED", "object": item}).to_string()),
            ),
            Err(status) => return Err(*status),
        }
    }
    if resource.streaming == Streaming::Served {
        let version = (LISTED + resource.told.len()).to_string();
        let end = json!({"k8s.io/initial-events-end": "true"});
        let metadata = json!({"resourceVersion": version, "annotations": end});
        let object = json!({"kind": "X", "apiVersion": "v1", "metadata": metadata});
        begin.push(json!({"type": "BOOKMARK", "object": object}).to_string());
    }
    Ok((begin, resource.told.len()))
}

async fn tell(
    stream: &mut BufReader<TcpStream>,
    kind: &'static str,
    state: &Mutex<State>,
    changes: &mut watch::Receiver<()>,
    (begin, mut next): (Vec<String>, usize),
) -> std::io::Result<()> {
    let head =
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await?;
    for line in &begin {
        chunk(stream, line).await?;
    }
    loop {
        let told = state.lock().unwrap().resources[kind].told.clone();
        for line in told.iter().skip(next).flatten() {
            chunk(stream, line).await?;
        }
        if next < told.len() && state.lock().unwrap().ends {
            return stream.write_all(b"0\r\n\r\n").await;
        }
        next = next.max(told.len());
        if changes.changed().await.is_err() {
            tokio::time::sleep(Duration::from_secs(3600)).await;
        }
    }
}

async fn chunk(stream: &mut BufReader<TcpStream>, line: &str) -> std::io::Result<()> {
    let chunk = format!("{:x}\r\n{line}\n\r\n", line.len() + 1);
    stream.write_all(chunk.as_bytes()).await
}
