//! The test executables: compiled together, found in what cargo reports, put in order.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::process;

/// The package whose tests are the lab: on real kernels, in namespaces, as root.
const LAB: &str = "tests";

/// Its test executables that run a control plane of Kubernetes, or helm.
const WITH_TOOLS: &[&str] = &["api_server", "oracle", "chart", "docs", "image"];

/// Its test executables that run the image.
const WITH_IMAGE: &[&str] = &["image"];

/// A test executable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Executable {
    /// What it is called in the summary.
    pub(crate) layer: String,
    /// The file.
    pub(crate) path: PathBuf,
    /// The package's directory: where cargo would run it.
    pub(crate) directory: PathBuf,
    /// Whether it has to be run as root, and few tests at a time.
    pub(crate) lab: bool,
    /// Whether it runs programs that `cargo xtask setup --tools` makes.
    pub(crate) tools: bool,
    /// Whether it runs the image that `cargo xtask image` makes.
    pub(crate) image: bool,
}

/// What cargo reports, of which we read the artifacts.
#[derive(Deserialize)]
struct Message {
    reason: String,
    manifest_path: Option<PathBuf>,
    target: Option<Target>,
    profile: Option<Profile>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

/// Compiles every test of the workspace.
pub(crate) fn build() -> Result<Vec<Executable>> {
    let report = process::output(&mut process::cargo([
        "test",
        "--workspace",
        "--no-run",
        "--message-format=json-render-diagnostics",
    ]))?;
    read(&report)
}

fn read(report: &[u8]) -> Result<Vec<Executable>> {
    // By rank and name, whatever the order in which they were compiled.
    let mut ordered = BTreeMap::new();
    for message in serde_json::Deserializer::from_slice(report).into_iter::<Message>() {
        let message = message.context("cargo reports something that isn't a message")?;
        if let Some((rank, executable)) = executable(message) {
            ordered.insert((rank, executable.layer.clone()), executable);
        }
    }
    Ok(ordered.into_values().collect())
}

fn executable(message: Message) -> Option<(usize, Executable)> {
    let is_test = message.reason == "compiler-artifact" && message.profile?.test;
    let (path, target) = (message.executable.filter(|_| is_test)?, message.target?);
    let directory = message.manifest_path?.parent().map(Path::to_path_buf)?;
    let package = directory.file_name()?.to_string_lossy().into_owned();
    let kind = target.kind.first().map_or("", String::as_str);
    let layer = match kind {
        "test" => format!("{package}/{}", target.name),
        "bin" if target.name != package => format!("{package} ({})", target.name),
        _ => package.clone(),
    };
    // The layers of the architecture from the bottom to the top.
    let rank = ["proxy-common", "proxy-ebpf", "proxy-agent", "xtask", LAB]
        .iter()
        .position(|name| *name == package)
        .unwrap_or(usize::MAX);
    let lab = package == LAB && kind == "test";
    let tools = lab && WITH_TOOLS.contains(&target.name.as_str());
    let image = lab && WITH_IMAGE.contains(&target.name.as_str());
    Some((rank, Executable { layer, path, directory, lab, tools, image }))
}

#[cfg(test)]
mod tests {
    use super::read;

    fn artifact(package: &str, kind: &str, name: &str, test: bool) -> String {
        format!(
            r#"{{"reason":"compiler-artifact","manifest_path":"/w/{package}/Cargo.toml",
                "target":{{"name":"{name}","kind":["{kind}"]}},"profile":{{"test":{test}}},
                "executable":"/t/{name}"}}"#
        )
    }

    #[test]
    fn layers_come_from_the_bottom_to_the_top_and_the_lab_last() {
        let report = [
            artifact("tests", "test", "stories", true),
            artifact("tests", "test", "api_server", true),
            artifact("tests", "lib", "lab", true),
            artifact("proxy-agent", "bin", "sluice", true),
            artifact("proxy-agent", "lib", "proxy_agent", true),
            artifact("proxy-common", "lib", "proxy_common", true),
            artifact("tests", "bin", "sluice-probe", false),
            r#"{"reason":"build-finished","success":true}"#.to_owned(),
        ];
        let executables = read(report.concat().as_bytes()).unwrap();
        let layers: Vec<_> =
            executables.iter().map(|one| (one.layer.as_str(), one.lab, one.tools)).collect();
        assert_eq!(
            layers,
            [
                ("proxy-common", false, false),
                ("proxy-agent", false, false),
                ("proxy-agent (sluice)", false, false),
                ("tests", false, false),
                ("tests/api_server", true, true),
                ("tests/stories", true, false),
            ]
        );
    }
}
