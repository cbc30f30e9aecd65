//! What Kubernetes' objects look like: the OpenAPI document of the version whose control plane the
//! tests run, out of the Go module that this is built from. The chart's objects are checked by it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use serde::Deserialize;

use super::{
    cache::Cache,
    go::{self, Go},
};
use crate::process;

const MODULE: &str = "k8s.io/kubernetes";
const DOCUMENT: &str = "api/openapi-spec/swagger.json";

/// The directory that `swagger.json` is in. `source` is the Go module that requires Kubernetes.
pub(super) fn ensure(cache: &Cache, source: &Path) -> Result<PathBuf> {
    let version = go::version_of(source, MODULE)?;
    cache.ensure(&format!("openapi-{version}"), |target| {
        #[derive(Deserialize)]
        struct Downloaded {
            #[serde(rename = "Dir")]
            directory: PathBuf,
        }
        let mut download = Go::ensure(source)?.command(source);
        download.args(["mod", "download", "-json", MODULE]);
        let Downloaded { directory } = serde_json::from_slice(&process::output(&mut download)?)
            .with_context(|| format!("go mod download says nothing of {MODULE}"))?;
        let document = directory.join(DOCUMENT);
        fs::copy(&document, target.join("swagger.json"))
            .with_context(|| document.display().to_string())?;
        Ok(())
    })
}
