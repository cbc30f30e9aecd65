//! YAML in documents: values and commands for the chart, and files for the agent, are what those take.

use std::{
    env, fs,
    path::PathBuf,
    process::{Command, Output},
};

use anyhow::{Context as _, Result, ensure};
use proxy_agent::options::Flags;
use serde_json::Value;

use crate::document::{self, Block, Document};

/// Helm, away from the user's own settings, at the root of the workspace.
pub(crate) fn helm() -> Result<Command> {
    let tools = env::var_os("SLUICE_CHART_TOOLS").context(
        "SLUICE_CHART_TOOLS is not set: run `cargo xtask test --layer tests/docs`, or set what \
         `cargo xtask setup --tools` prints",
    )?;
    let mut helm = Command::new(PathBuf::from(tools).join("helm"));
    helm.current_dir(document::root()).env("KUBECONFIG", "/nonexistent");
    for kind in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
        helm.env(kind, "/nonexistent");
    }
    Ok(helm)
}

/// What the objects of a block are for.
#[derive(Debug, PartialEq)]
enum Reader {
    /// `helm --values`.
    Chart,
    /// `sluice agent --config`.
    Agent,
    /// Kubernetes, or a directory of manifests; [`crate::explained`] reads them.
    Cluster,
    /// kind, which no test runs.
    Kind,
}

fn reader(block: &Block) -> Result<Reader> {
    if block.text.starts_with("# kind.yaml") {
        return Ok(Reader::Kind);
    }
    if block.text.starts_with("# sluice.yaml") {
        return Ok(Reader::Agent);
    }
    if block.text.lines().any(|line| line.starts_with("kind: ")) {
        return Ok(Reader::Cluster);
    }
    let schema = fs::read_to_string(document::root().join("helm/sluice/values.schema.json"))?;
    let schema: Value = serde_json::from_str(&schema)?;
    let value: Value = serde_saphyr::from_str(&block.text)?;
    let fields = value.as_object().context("no object")?;
    for name in fields.keys() {
        ensure!(schema["properties"].get(name).is_some(), "the chart has no value {name}");
    }
    Ok(Reader::Chart)
}

#[test]
fn yaml_is_what_its_reader_takes() -> Result<()> {
    let mut read = 0;
    for document in document::all()? {
        for block in document.blocks("yaml") {
            let at = || format!("{}: {}", document.name, block.text);
            match reader(block).with_context(at)? {
                Reader::Chart => template(&[], Some(block)).map(drop).with_context(at)?,
                Reader::Agent => {
                    let file = tempfile::NamedTempFile::new()?;
                    // A directory that is there.
                    let text = block.text.replace("/etc/sluice/manifests", "/");
                    fs::write(file.path(), text)?;
                    Flags::from_file(file.path()).with_context(at)?.resolve().with_context(at)?;
                }
                Reader::Cluster | Reader::Kind => continue,
            }
            read += 1;
        }
    }
    ensure!(read > 4, "only {read} blocks were found");
    Ok(())
}

#[test]
fn commands_of_helm_give_values_that_the_chart_takes() -> Result<()> {
    let install = document::read("docs/install/helm.md")?;
    for document in document::all()? {
        for typed in document.typed()?.iter().filter(|typed| typed.words[0] == "helm") {
            let [_, command, words @ ..] = typed.words.as_slice() else { continue };
            if !matches!(command.as_str(), "install" | "upgrade") {
                continue;
            }
            let given = words.iter().any(|word| word == "--values");
            let values = if given { values(&document).or_else(|| values(&install)) } else { None };
            ensure!(!given || values.is_some(), "{}: no document has values.yaml", typed.at);
            let sets: Vec<&str> = words
                .windows(2)
                .filter(|pair| pair[0].starts_with("--set"))
                .flat_map(|pair| [pair[0].as_str(), pair[1].as_str()])
                .collect();
            ensure!(words.iter().any(|word| word == "helm/sluice"), "{}: which chart?", typed.at);
            template(&sets, values).with_context(|| typed.at.clone())?;
        }
    }
    Ok(())
}

#[test]
fn containers_that_commands_name_are_in_the_chart() -> Result<()> {
    let everything = template(
        &[
            "--set=kubeProxy.removeLeftovers=true",
            "--set=nodes.matchLabels.a=b",
            "--set=cleanup.matchLabels.a=c",
        ],
        None,
    )?;
    let mut named = 0;
    for document in document::all()? {
        for typed in document.typed()? {
            for pair in typed.words.windows(2).filter(|pair| pair[0] == "--container") {
                let line = format!("- name: {}", pair[1]);
                ensure!(
                    everything.lines().any(|it| it.trim() == line),
                    "{}: the chart has no container {}",
                    typed.at,
                    pair[1]
                );
                named += 1;
            }
        }
    }
    ensure!(named > 2, "only {named} containers are named");
    Ok(())
}

/// The file `values.yaml` that a document writes down.
fn values(document: &Document) -> Option<&Block> {
    document.blocks("yaml").find(|block| block.text.starts_with("# values.yaml"))
}

/// `helm template` of the chart, with flags and values.
fn template(flags: &[&str], values: Option<&Block>) -> Result<String> {
    let mut command = helm()?;
    command.args(["template", "sluice", "helm/sluice", "--namespace", "kube-system"]).args(flags);
    let file = tempfile::Builder::new().suffix(".yaml").tempfile()?;
    if let Some(block) = values {
        fs::write(file.path(), &block.text)?;
        command.arg("--values").arg(file.path());
    }
    let Output { status, stdout, stderr } = command.output().context("helm could not be run")?;
    ensure!(status.success(), "{}", String::from_utf8_lossy(&stderr));
    Ok(String::from_utf8(stdout)?)
}
