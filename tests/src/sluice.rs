//! The binary `sluice`, found or built.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use anyhow::{Context as _, Result, anyhow, bail};
use serde_json::Value;

use crate::Node;

/// Names the binary to test, where it isn't the one that cargo builds.
const OVERRIDE: &str = "SLUICE_BIN";

/// The binary.
#[derive(Clone, Debug)]
pub struct Sluice {
    program: PathBuf,
}

impl Sluice {
    /// The binary at `program`.
    #[must_use]
    pub fn at(program: &Path) -> Self {
        Self { program: program.to_owned() }
    }

    /// The one that `SLUICE_BIN` names; without that, the one of this workspace, built at the first
    /// call.
    pub fn of_workspace() -> Result<Self> {
        static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
        let built = BUILT.get_or_init(|| build().map_err(|error| format!("{error:#}")));
        match built {
            Ok(program) => Ok(Self { program: program.clone() }),
            Err(message) => Err(anyhow!("{message}")),
        }
    }

    /// Its path.
    #[must_use]
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// What `sluice <arguments> --pin-path <the node's>` prints, run on `node`.
    pub fn text(&self, node: &Node, arguments: &[&str]) -> Result<String> {
        let output = node
            .command(&self.program)?
            .args(arguments)
            .arg("--pin-path")
            .arg(node.pin_path())
            .output()
            .with_context(|| format!("cannot run {}", self.program.display()))?;
        if !output.status.success() {
            bail!(
                "sluice {} on {}: {}",
                arguments.join(" "),
                node.name(),
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    /// What `sluice <arguments> -o json` prints, run on `node`.
    pub fn json(&self, node: &Node, arguments: &[&str]) -> Result<Value> {
        let text = self.text(node, &[arguments, &["-o", "json"]].concat())?;
        serde_json::from_str(&text)
            .with_context(|| format!("sluice {}: {text}", arguments.join(" ")))
    }
}

fn build() -> Result<PathBuf> {
    if let Some(program) = std::env::var_os(OVERRIDE) {
        return Ok(program.into());
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["build", "--package", "proxy-agent", "--bin", "sluice", "--message-format=json"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .context("cannot run cargo to build sluice; name a built one in SLUICE_BIN instead")?;
    if !output.status.success() {
        bail!("cargo build of sluice: {}", String::from_utf8_lossy(&output.stderr));
    }
    let messages = String::from_utf8(output.stdout)?;
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["target"]["name"] == "sluice")
        .find_map(|message| Some(PathBuf::from(message["executable"].as_str()?)))
        .context("cargo built sluice and named no executable")
}
