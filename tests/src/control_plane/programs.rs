//! The programs of a control plane: where `cargo xtask setup --tools` has put them.

use std::{env, path::PathBuf, process::Command, sync::OnceLock};

use anyhow::{Context as _, Result, anyhow, bail};

/// etcd, kube-apiserver, kube-controller-manager and kube-proxy.
const KUBERNETES: &str = "SLUICE_KUBERNETES";
/// An etcd that can't stream lists.
const OLD_ETCD: &str = "SLUICE_OLD_ETCD";

/// Whose etcd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Etcd {
    /// The one that belongs to this Kubernetes.
    Current,
    /// Debian's 3.4, which can't tell how far a watch has got, so that lists can't be streamed.
    Old,
}

impl Etcd {
    pub(super) fn program(self) -> Result<PathBuf> {
        match self {
            Self::Current => program("etcd"),
            Self::Old => Ok(place(OLD_ETCD)?.join("etcd")),
        }
    }
}

/// The program `name` of Kubernetes.
pub(super) fn program(name: &str) -> Result<PathBuf> {
    Ok(place(KUBERNETES)?.join(name))
}

/// The directory that the variable names. `cargo xtask test` sets it; a test that is run by hand
/// asks for it, which builds the tools if they aren't there.
fn place(variable: &str) -> Result<PathBuf> {
    static ASKED: OnceLock<Result<String, String>> = OnceLock::new();
    if let Some(place) = env::var_os(variable) {
        return Ok(place.into());
    }
    let asked = ASKED.get_or_init(|| ask().map_err(|error| format!("{error:#}")));
    let places = asked.as_ref().map_err(|message| anyhow!("{message}"))?;
    let line = places.lines().find_map(|line| line.strip_prefix(variable)?.strip_prefix('='));
    Ok(line
        .with_context(|| format!("cargo xtask setup --tools says nothing of {variable}"))?
        .into())
}

fn ask() -> Result<String> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["xtask", "setup", "--tools"])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .stderr(std::process::Stdio::inherit())
        .output()
        .context("cannot run cargo xtask setup --tools")?;
    if !output.status.success() {
        bail!("cargo xtask setup --tools: {}: see above", output.status);
    }
    Ok(String::from_utf8(output.stdout)?)
}
