//! A real API server takes what the chart renders, field by field, and the chart's role is the one
//! that the agent is tested with.

use anyhow::{Context as _, Result};
use http::Method;
use lab::{
    Lab,
    control_plane::{ControlPlane, Settings, agent_role},
};
use serde_json::Value;

use crate::cases::CASES;

/// Kinds of object in the chart, and where they are created.
const COLLECTIONS: &[(&str, &str)] = &[
    ("ClusterRole", "/apis/rbac.authorization.k8s.io/v1/clusterroles"),
    ("ClusterRoleBinding", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"),
    ("ConfigMap", "/api/v1/namespaces/kube-system/configmaps"),
    ("DaemonSet", "/apis/apps/v1/namespaces/kube-system/daemonsets"),
    ("Service", "/api/v1/namespaces/kube-system/services"),
    ("ServiceAccount", "/api/v1/namespaces/kube-system/serviceaccounts"),
];

/// Kinds that Kubernetes itself doesn't have.
const FOREIGN: &[&str] = &["ServiceMonitor"];

fn objects(rendered: &str) -> Result<Vec<Value>> {
    let documents = serde_saphyr::from_multiple::<Value>(rendered)?;
    Ok(documents.into_iter().filter(|document| !document.is_null()).collect())
}

fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object[field].as_str().unwrap_or_default()
}

#[test]
fn a_real_api_server_takes_every_object() -> Result<()> {
    let lab = Lab::new()?;
    let plane = ControlPlane::start(&lab, Settings::default())?;
    let mut taken = 0;
    for case in CASES {
        for object in objects(&case.rendered(&[])?)? {
            let kind = text(&object, "kind");
            if FOREIGN.contains(&kind) {
                continue;
            }
            let (_, path) = COLLECTIONS
                .iter()
                .find(|(known, _)| *known == kind)
                .with_context(|| format!("no place is known for objects of the kind {kind}"))?;
            // As `kubectl apply --server-side --dry-run=server`.
            let name = text(&object["metadata"], "name");
            let query = "dryRun=All&fieldValidation=Strict&fieldManager=chart&force=true";
            let path = format!("{path}/{name}?{query}");
            plane
                .api()
                .request(Method::PATCH, &path, "application/apply-patch+yaml", &object)
                .with_context(|| format!("case {}, {kind}", case.name))?;
            taken += 1;
        }
    }
    assert!(taken > 20, "only {taken} objects");
    Ok(())
}

#[test]
fn the_charts_role_is_the_one_that_the_agent_is_tested_with() -> Result<()> {
    let rendered = CASES[0].rendered(&["--show-only", "templates/rbac.yaml"])?;
    let role = objects(&rendered)?.into_iter().find(|object| text(object, "kind") == "ClusterRole");
    assert_eq!(role.context("the chart has no ClusterRole")?["rules"], agent_role()["rules"]);
    Ok(())
}
