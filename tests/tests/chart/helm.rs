//! Runs helm, away from the user's own settings.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use anyhow::{Context as _, Result, bail};

/// The chart.
pub(crate) fn chart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../helm/sluice")
}

/// The directory that `variable` names.
pub(crate) fn place(variable: &str) -> Result<PathBuf> {
    env::var_os(variable).map(PathBuf::from).with_context(|| {
        format!(
            "{variable} is not set: run `cargo xtask test --layer tests/chart`, or set what \
             `cargo xtask setup --tools` prints"
        )
    })
}

/// A tool that this layer is run with.
pub(crate) fn tool(name: &str) -> Result<Command> {
    Ok(Command::new(place("SLUICE_CHART_TOOLS")?.join(name)))
}

/// `helm template` of the chart for Kubernetes `version`; what it says when it refuses is the error.
pub(crate) fn template(version: &str, arguments: &[&str]) -> Result<String> {
    helm("template", ["--kube-version", version].into_iter().chain(arguments.iter().copied()))
}

/// What `helm <command>` says of the chart; without a cluster.
pub(crate) fn helm<'a>(command: &str, arguments: impl Iterator<Item = &'a str>) -> Result<String> {
    let home = tempfile::tempdir()?;
    let mut helm = tool("helm")?;
    for kind in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
        helm.env(kind, home.path());
    }
    let output = helm
        .env("KUBECONFIG", home.path().join("none"))
        .args([command, "sluice"])
        .arg(chart())
        .args(["--namespace", "kube-system"])
        .args(arguments)
        .output()
        .context("helm could not be run")?;
    said(output)
}

/// What a command wrote, or its complaint as an error.
pub(crate) fn said(output: Output) -> Result<String> {
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        bail!("{complaint}{}", String::from_utf8_lossy(&output.stdout));
    }
    Ok(String::from_utf8(output.stdout)?)
}
