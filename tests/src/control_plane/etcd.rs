//! etcd: one member, on its host's loopback, and what a story does to it.

use std::net::Ipv4Addr;

use anyhow::{Context as _, Result};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use http::Method;
use serde_json::{Value, json};

use super::{ControlPlane, api::request, objects, programs::Etcd};

const PORT: u16 = 2379;
/// Writes in one transaction: etcd takes 128.
const TRANSACTION: usize = 100;

/// What kube-apiserver calls it.
pub(super) fn url() -> String {
    format!("http://{}:{PORT}", Ipv4Addr::LOCALHOST)
}

impl ControlPlane {
    /// Starts etcd (again), with the data that it has, and waits until it serves.
    pub fn start_etcd(&mut self) -> Result<()> {
        let mut command = self.host.command(self.settings.etcd.program()?)?;
        command
            .arg("--data-dir")
            .arg(self.directory.join("etcd"))
            .args(["--listen-client-urls", &url(), "--advertise-client-urls", &url()])
            // Port 0: there are no other members.
            .args(["--listen-peer-urls", "http://127.0.0.1:0", "--log-level", "warn"]);
        if self.settings.etcd == Etcd::Current {
            // The data need not outlive the machine.
            command.arg("--unsafe-no-fsync");
        }
        let mut process = self.launch("etcd", command)?;
        self.wait_until("etcd", &mut process, || self.etcd_revision().is_ok())?;
        self.etcd = Some(process);
        Ok(())
    }

    /// Forgets the history of all objects: who watched from an earlier revision, and was cut off, is
    /// told 410 and has to list again. kube-apiserver keeps some history of its own until it is
    /// started again.
    pub fn compact(&self) -> Result<()> {
        let revision = self.etcd_revision()?;
        self.etcd("/v3/kv/compaction", &json!({ "revision": revision, "physical": true }))?;
        Ok(())
    }

    /// Writes objects where kube-apiserver keeps them, past kube-apiserver: it reads them as if it
    /// had written them itself, and tells those who watch. What it would check and fill in, it
    /// doesn't; so they come from an object that it has answered with. For numbers of objects that
    /// would take it minutes.
    pub fn store(&self, objects: &[Value]) -> Result<()> {
        self.etcd_client.each(objects, |object| {
            request(Method::POST, "/v3/kv/put", "application/json", &put(object)?)
        })
    }

    /// The same, `together` at a time, which costs etcd less: those have one revision, so that a watch
    /// that the server ends in the midst of them, and that is taken up again, misses the rest.
    pub fn store_together(&self, objects: &[Value], together: usize) -> Result<()> {
        for objects in objects.chunks(together.min(TRANSACTION)) {
            let writes = objects
                .iter()
                .map(|object| Ok(json!({ "requestPut": put(object)? })))
                .collect::<Result<Vec<_>>>()?;
            self.etcd("/v3/kv/txn", &json!({ "success": writes }))?;
        }
        Ok(())
    }

    /// The same, before anybody watches: as many at a time as can be.
    pub fn seed(&self, objects: &[Value]) -> Result<()> {
        self.store_together(objects, TRANSACTION)
    }

    fn etcd_revision(&self) -> Result<u64> {
        // The key "a", in base64.
        let answer = self.etcd("/v3/kv/range", &json!({ "key": "YQ==" }))?;
        let revision = answer["header"]["revision"].as_str().context("etcd tells no revision")?;
        Ok(revision.parse()?)
    }

    /// etcd's answer to a request in JSON.
    fn etcd(&self, path: &str, body: &Value) -> Result<Value> {
        self.etcd_client.request(Method::POST, path, "application/json", body)
    }
}

/// A request to put `object` where kube-apiserver keeps it.
fn put(object: &Value) -> Result<Value> {
    let (key, value) = (objects::key(object)?, serde_json::to_vec(object)?);
    Ok(json!({ "key": BASE64.encode(key), "value": BASE64.encode(value) }))
}
