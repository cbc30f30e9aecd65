//! Commands of `sluice` and `bpftool`, typed on a node of the lab that serves the example's manifests,
//! and what documents say about what they print.

use std::{collections::BTreeSet, fs};

use anyhow::{Context as _, Result, bail, ensure};
use lab::{Agent, AgentFlags, Lab, Node, Sluice, Wiring, manifest};
use serde_json::Value;

use crate::document::{self, Typed};

/// Where documents say that everything is pinned.
const PINS: &str = "/sys/fs/bpf/sluice/";
/// The node of the example's manifests.
const NODE: &str = "example";
/// Commands that print a list, or one object, with `-o json`.
const SHOWN: &[&str] = &["services", "backends", "flows", "affinity", "devices", "status"];

/// A node that serves the example. Fields are dropped in order: the lab last.
struct Served {
    _agent: Agent,
    node: Node,
    _lab: Lab,
}

impl Served {
    fn start() -> Result<Self> {
        let lab = Lab::new()?;
        let node = lab.node(NODE, Wiring::Ptp)?;
        node.pod("client")?;
        for entry in fs::read_dir(document::root().join("tests/examples"))? {
            let path = entry?.path();
            let name = path.file_name().context("a name")?.to_string_lossy().into_owned();
            manifest::write_text(&lab.manifests(), &name, &fs::read_to_string(&path)?)?;
        }
        let agent = node.start_agent(&AgentFlags::new())?;
        Ok(Self { _agent: agent, node, _lab: lab })
    }
}

/// Types a command on the node, which pins elsewhere, and says what it printed.
fn typed(served: &Served, command: &Typed) -> Result<()> {
    let (sluice, node) = (Sluice::of_workspace()?, &served.node);
    let mut words: Vec<&str> = command.words.iter().map(String::as_str).collect();
    match words.as_slice() {
        // This is how the node's agent was started; and `explained` has the other.
        ["sluice", "agent", "--manifests", "DIR"] | ["sluice", "explain", ..] => Ok(()),
        // It ends by itself only if it is told to.
        ["sluice", "monitor"] => sluice.text(node, &["monitor", "--count", "1"]).map(drop),
        ["sluice", "preflight"] => {
            let root = node.cgroup().path().to_string_lossy().into_owned();
            sluice.text(node, &["preflight", "--cgroup-root", &root]).map(drop)
        }
        // It is refused while an agent runs, as operations.md says.
        ["sluice", "cleanup"] => {
            let refused = sluice.text(node, &["cleanup"]).err().map(|error| error.to_string());
            let why = refused.context("cleanup took the datapath from under an agent")?;
            ensure!(why.contains("an agent is running"), "{why}");
            Ok(())
        }
        ["sluice", "cleanup", "--kube-proxy"] => {
            let output = node.command(sluice.program())?.args(&words[1..]).output()?;
            ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            Ok(())
        }
        ["sluice", ..] => sluice.text(node, &words[1..]).map(drop),
        ["bpftool", ..] => {
            let pin = words.pop().and_then(|pin| pin.strip_prefix(PINS)).context("which pin?")?;
            let pin = node.pin_path().join(pin);
            let output = node.command("bpftool")?.args(&words[1..]).arg(&pin).output()?;
            ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
            Ok(())
        }
        _ => bail!("nothing here knows what to do with it"),
    }
}

#[test]
fn every_command_for_a_node_does_what_it_should() -> Result<()> {
    let served = Served::start()?;
    let mut done = 0;
    for document in document::all()? {
        for command in document.typed()? {
            if matches!(command.words[0].as_str(), "sluice" | "bpftool") {
                let at = || format!("{}: {}", command.at, command.words.join(" "));
                typed(&served, &command).with_context(at)?;
                done += 1;
            }
        }
    }
    ensure!(done > 15, "only {done} commands were found");
    Ok(())
}

#[test]
fn tables_have_the_headings_that_documents_show() -> Result<()> {
    let served = Served::start()?;
    let services = Sluice::of_workspace()?.text(&served.node, &["services"])?;
    let readme = document::read("README.md")?;
    let shown = readme
        .blocks("text")
        .flat_map(|block| block.text.lines())
        .find(|line| line.starts_with("SERVICE "))
        .context("README.md shows no table of Services")?;
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(words(services.lines().next().unwrap_or_default()), words(shown));

    let status = Sluice::of_workspace()?.text(&served.node, &["status"])?;
    let steps = document::read("docs/install/first-steps.md")?;
    for heading in ["HOOK", "USED", "ROOM"] {
        ensure!(steps.prose.contains(&format!("`{heading}`")), "first-steps.md: {heading}?");
        ensure!(status.contains(heading), "{heading} is not in\n{status}");
    }
    Ok(())
}

#[test]
fn every_field_of_the_json_is_described() -> Result<()> {
    let served = Served::start()?;
    let text = fs::read_to_string(document::root().join("docs/operations.md"))?;
    let (_, described) = text.split_once("### JSON").context("operations.md: no heading JSON")?;
    let known: BTreeSet<&str> =
        described.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').collect();
    for command in SHOWN {
        let json = Sluice::of_workspace()?.json(&served.node, &[command])?;
        let mut fields = BTreeSet::new();
        collect(&json, &mut fields);
        ensure!(
            !matches!(*command, "services" | "status") || fields.len() > 5,
            "{command}: {json}"
        );
        let missing: Vec<_> =
            fields.iter().filter(|field| !known.contains(field.as_str())).collect();
        ensure!(missing.is_empty(), "operations.md says nothing of {missing:?} of {command}");
    }
    Ok(())
}

#[test]
fn fields_that_are_shown_are_there() -> Result<()> {
    let served = Served::start()?;
    let operations = document::read("docs/operations.md")?;
    for block in operations.blocks("json") {
        let shown: Value = serde_json::from_str(&block.text).with_context(|| block.text.clone())?;
        let (command, actual) = match &shown {
            shown if shown.get("frontend").is_some() && shown.get("client").is_none() => {
                ("services", Sluice::of_workspace()?.json(&served.node, &["services"])?[0].clone())
            }
            shown if shown.get("layout_version").is_some() => {
                ("status", Sluice::of_workspace()?.json(&served.node, &["status"])?)
            }
            // Flows of the packet path: the stories have some, this node has none.
            _ => continue,
        };
        for field in shown.as_object().context("no object")?.keys() {
            ensure!(actual.get(field).is_some(), "{command} has no {field}: {actual}");
        }
    }
    Ok(())
}

#[test]
fn every_check_of_preflight_has_a_row() -> Result<()> {
    let served = Served::start()?;
    let root = served.node.cgroup().path().to_string_lossy().into_owned();
    let report =
        Sluice::of_workspace()?.json(&served.node, &["preflight", "--cgroup-root", &root])?;
    let page = document::read("docs/preflight.md")?;
    let findings = report["findings"].as_array().context("no findings")?;
    ensure!(findings.len() > 10, "{report}");
    for finding in findings {
        let check = finding["check"].as_str().context("no check")?;
        let row = format!("| `{check}` |");
        ensure!(page.prose.contains(&row), "docs/preflight.md has no row for {check}");
    }
    Ok(())
}

/// The names of all fields in `value`.
fn collect(value: &Value, fields: &mut BTreeSet<String>) {
    match value {
        Value::Array(list) => list.iter().for_each(|value| collect(value, fields)),
        Value::Object(object) => {
            for (name, value) in object {
                fields.insert(name.clone());
                collect(value, fields);
            }
        }
        _ => {}
    }
}
