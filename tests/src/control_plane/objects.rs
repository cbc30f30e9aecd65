//! Where objects live: a path on an API server for each kind that the lab deals with, and a key in
//! its etcd for those that are written there.

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::manifest::NAMESPACE;

/// API version, kind, plural, and whether objects of it are in a namespace.
const KINDS: &[(&str, &str, &str, bool)] = &[
    ("v1", "Event", "events", true),
    ("v1", "Namespace", "namespaces", false),
    ("v1", "Node", "nodes", false),
    ("v1", "Pod", "pods", true),
    ("v1", "Service", "services", true),
    ("v1", "ServiceAccount", "serviceaccounts", true),
    ("discovery.k8s.io/v1", "EndpointSlice", "endpointslices", true),
    ("networking.k8s.io/v1", "IPAddress", "ipaddresses", false),
    ("networking.k8s.io/v1", "ServiceCIDR", "servicecidrs", false),
    ("rbac.authorization.k8s.io/v1", "ClusterRole", "clusterroles", false),
    ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", "clusterrolebindings", false),
];

/// The path of all objects of `kind`, in the namespace `namespace` (`""`: in all of them).
pub(super) fn collection(kind: &str, namespace: &str) -> Result<String> {
    let (version, _, plural, namespaced) = KINDS
        .iter()
        .find(|(_, name, ..)| *name == kind)
        .with_context(|| format!("the lab doesn't know objects of the kind {kind}"))?;
    let group = if *version == "v1" { "/api/v1".to_owned() } else { format!("/apis/{version}") };
    Ok(if *namespaced && !namespace.is_empty() {
        format!("{group}/namespaces/{namespace}/{plural}")
    } else {
        format!("{group}/{plural}")
    })
}

/// The kind of `object`, and the paths of its collection and of itself.
pub(super) fn paths(object: &Value) -> Result<(String, String)> {
    let kind = object["kind"].as_str().context("an object has no kind")?;
    let name = object["metadata"]["name"].as_str().context("an object has no name")?;
    let namespace = object["metadata"]["namespace"].as_str().unwrap_or(NAMESPACE);
    let collection = collection(kind, namespace)?;
    let path = format!("{collection}/{name}");
    Ok((collection, path))
}

/// Where kube-apiserver keeps `object` in etcd.
pub(super) fn key(object: &Value) -> Result<String> {
    let kind = object["kind"].as_str().context("an object has no kind")?;
    let name = object["metadata"]["name"].as_str().context("an object has no name")?;
    let (.., plural, namespaced) =
        KINDS.iter().find(|(_, it, ..)| *it == kind).with_context(|| format!("no kind {kind}"))?;
    // For historical reasons Services share their directory.
    let plural = if kind == "Service" { "services/specs" } else { plural };
    let namespace = object["metadata"]["namespace"].as_str().unwrap_or(NAMESPACE);
    Ok(if *namespaced {
        format!("/registry/{plural}/{namespace}/{name}")
    } else {
        format!("/registry/{plural}/{name}")
    })
}
