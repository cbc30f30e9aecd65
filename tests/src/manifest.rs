//! Manifests as a story tells them: Services, EndpointSlices and Nodes, by builders that write
//! ordinary Kubernetes objects.
//!
//! Objects are written as JSON, which is YAML too; the files in `tests/examples` are YAML as people
//! write it. Called by stories.

mod endpoint_slice;
mod service;

use std::{fs, net::IpAddr, path::Path};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

pub use endpoint_slice::{EndpointSlice, endpoint_slice};
pub use service::{Service, service};

/// The namespace of all objects.
pub const NAMESPACE: &str = "default";

/// A layer-4 protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        }
    }
}

/// A Node.
#[must_use]
pub fn node(name: &str, labels: &[(&str, &str)]) -> Value {
    let labels: serde_json::Map<String, Value> =
        labels.iter().map(|&(key, value)| (key.to_owned(), value.into())).collect();
    json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": name, "labels": labels } })
}

/// A Node with these `InternalIP`s.
#[must_use]
pub fn node_with_addresses(name: &str, addresses: &[IpAddr]) -> Value {
    let mut node = node(name, &[]);
    node["status"]["addresses"] = addresses
        .iter()
        .map(|address| json!({ "type": "InternalIP", "address": address }))
        .collect();
    node
}

/// A ServiceCIDR with the ranges of the lab.
#[must_use]
pub fn service_cidr() -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "ServiceCIDR",
        "metadata": { "name": "kubernetes" },
        "spec": { "cidrs": crate::addresses::SERVICE_CIDRS },
    })
}

/// Writes `objects` to the file `name` in `directory`, replacing it as a whole.
pub fn write(directory: &Path, name: &str, objects: &[Value]) -> Result<()> {
    let documents: Vec<String> =
        objects.iter().map(serde_json::to_string_pretty).collect::<Result<_, _>>()?;
    write_text(directory, name, &documents.join("\n---\n"))
}

/// Writes `text` to the file `name` in `directory`, replacing it as a whole.
pub fn write_text(directory: &Path, name: &str, text: &str) -> Result<()> {
    let staged = directory.with_extension("staged");
    fs::write(&staged, text)?;
    let path = directory.join(name);
    fs::rename(&staged, &path).with_context(|| format!("cannot write {}", path.display()))
}

/// Removes the file `name` in `directory`.
pub fn remove(directory: &Path, name: &str) -> Result<()> {
    let path = directory.join(name);
    fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))
}
