//! Requests to an API server, from a thread in its network namespace, so that the harness needs no
//! way into the lab.

use std::{
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use http::{Method, Request};
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};

use super::objects::{collection, paths};
use crate::NetNs;

/// An answer that takes longer is none.
const PATIENCE: Duration = Duration::from_secs(60);
/// How many requests are on their way at a time, when there are many.
const CONCURRENCY: usize = 16;
/// Who changed what, as the server keeps it.
const MANAGER: &str = "fieldManager=lab&force=true";

/// A user of the API server.
pub struct Api {
    runtime: Runtime,
    client: Client,
}

impl Api {
    /// The user of `kubeconfig`, in the namespace of the server.
    pub(super) fn new(namespace: &Arc<NetNs>, kubeconfig: &Value) -> Result<Self> {
        let namespace = Arc::clone(namespace);
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .on_thread_start(move || {
                namespace.enter().expect("the lab's namespaces can be entered");
            })
            .build()?;
        let kubeconfig: Kubeconfig = serde_json::from_value(kubeconfig.clone())?;
        let client = wait(&runtime, async move {
            let options = KubeConfigOptions::default();
            let mut config = Config::from_custom_kubeconfig(kubeconfig, &options).await?;
            config.read_timeout = Some(PATIENCE);
            // Else the time that a pooled connection was idle counts too, and a request that comes
            // when it is nearly over fails in the middle.
            config.reset_reader_on_write = true;
            Ok(Client::try_from(config)?)
        })?;
        Ok(Self { runtime, client })
    }

    /// What the server answers to a request of its own choice of words.
    pub fn request(
        &self,
        method: Method,
        path: &str,
        content_type: &str,
        body: &Value,
    ) -> Result<Value> {
        let request = request(method, path, content_type, body)?;
        let (client, shown) = (self.client.clone(), path.to_owned());
        wait(
            &self.runtime,
            async move { client.request::<Value>(request).await.with_context(|| shown) },
        )
    }

    /// What `GET` of `path` answers, as text.
    pub fn text(&self, path: &str) -> Result<String> {
        let request = Request::get(path).body(Vec::new())?;
        let client = self.client.clone();
        wait(&self.runtime, async move { client.request_text(request).await.map_err(plain) })
    }

    /// An object of `kind` in the lab's namespace, or in none.
    pub fn get(&self, kind: &str, name: &str) -> Result<Value> {
        let path = format!("{}/{name}", collection(kind, crate::manifest::NAMESPACE)?);
        self.request(Method::GET, &path, "", &Value::Null)
    }

    /// All objects of `kind`.
    pub fn list(&self, kind: &str) -> Result<Vec<Value>> {
        let list = self.request(Method::GET, &collection(kind, "")?, "", &Value::Null)?;
        Ok(list["items"].as_array().context("a list has no items")?.clone())
    }

    /// Creates objects, many at a time.
    pub fn create(&self, objects: &[Value]) -> Result<()> {
        self.each(objects, |object| {
            let (collection, _) = paths(object)?;
            request(Method::POST, &collection, "application/json", object)
        })
    }

    /// Creates objects, or makes them what they are here, as `kubectl apply --server-side` does.
    pub fn apply(&self, objects: &[Value]) -> Result<()> {
        self.each(objects, |object| {
            let (_, path) = paths(object)?;
            let path = format!("{path}?{MANAGER}");
            request(Method::PATCH, &path, "application/apply-patch+yaml", object)
        })
    }

    /// Replaces objects, whatever they are now.
    pub fn replace(&self, objects: &[Value]) -> Result<()> {
        self.each(objects, |object| {
            request(Method::PUT, &paths(object)?.1, "application/json", object)
        })
    }

    /// Waits until the server's watch cache has `object` as it is in etcd now: until then no watcher is
    /// told of it.
    pub fn until_watched(&self, object: &Value, patience: Duration) -> Result<()> {
        let path = paths(object)?.1;
        let stored = self.request(Method::GET, &path, "", &Value::Null)?;
        let version = stored["metadata"]["resourceVersion"].as_str().context("no version")?;
        let cached = format!("{path}?resourceVersion={version}");
        let deadline = Instant::now() + patience;
        // The server itself waits for some seconds, and then asks to be asked again.
        while let Err(error) = self.request(Method::GET, &cached, "", &Value::Null) {
            if Instant::now() >= deadline {
                return Err(error);
            }
        }
        Ok(())
    }

    /// Gives objects the status that they have here.
    pub fn set_status(&self, objects: &[Value]) -> Result<()> {
        self.each(objects, |object| {
            let path = format!("{}/status", paths(object)?.1);
            let body = serde_json::json!({ "status": object["status"] });
            request(Method::PATCH, &path, "application/merge-patch+json", &body)
        })
    }

    /// Deletes objects, at once.
    pub fn delete(&self, objects: &[Value]) -> Result<()> {
        self.each(objects, |object| {
            let path = format!("{}?gracePeriodSeconds=0", paths(object)?.1);
            request(Method::DELETE, &path, "", &Value::Null)
        })
    }

    /// Makes a request for each object, many at a time.
    pub(super) fn each(
        &self,
        objects: &[Value],
        make: impl Fn(&Value) -> Result<Request<Vec<u8>>>,
    ) -> Result<()> {
        let requests: Vec<_> = objects.iter().map(make).collect::<Result<_>>()?;
        let client = self.client.clone();
        wait(&self.runtime, async move {
            stream::iter(requests)
                .map(|request| {
                    let client = client.clone();
                    let shown = format!("{} {}", request.method(), request.uri());
                    async move {
                        client.request_text(request).await.map_err(plain).with_context(|| shown)
                    }
                })
                .buffer_unordered(CONCURRENCY)
                .try_for_each(|_| async { Ok(()) })
                .await
        })
    }
}

/// A request with a body in JSON; `Null` is none.
pub(super) fn request(
    method: Method,
    path: &str,
    content_type: &str,
    body: &Value,
) -> Result<Request<Vec<u8>>> {
    let mut request = Request::builder().method(method).uri(path);
    if !content_type.is_empty() {
        request = request.header("Content-Type", content_type);
    }
    let body = if body.is_null() { Vec::new() } else { serde_json::to_vec(body)? };
    Ok(request.body(body)?)
}

/// What the server said, where it said something.
fn plain(error: kube::Error) -> anyhow::Error {
    match error {
        kube::Error::Api(status) => anyhow!("{} ({})", status.message, status.code),
        other => other.into(),
    }
}

/// Does `work` on the runtime's own thread: there alone sockets are the namespace's.
fn wait<T: Send + 'static>(
    runtime: &Runtime,
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    runtime.block_on(runtime.spawn(work))?
}
