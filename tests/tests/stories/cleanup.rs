//! After `sluice cleanup` the kernel shows nothing of ours: not of an agent that was killed, not of
//! one that was killed in the middle of something, not of an earlier layout of pins.

use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use anyhow::{Context as _, Result, ensure};
use lab::{AgentFlags, Bpftool, Family, Node, Sluice, Wiring};
use serde_json::Value;

use crate::cluster::{Cluster, eventually};

const PATIENCE: Duration = Duration::from_secs(10);

#[test]
fn of_a_killed_agent_nothing_is_left_with_tcx() -> Result<()> {
    let cluster = Cluster::new(Wiring::Ptp)?;
    serve_and_be_killed(&cluster, "tcx")?;
    leaves_nothing(&cluster.a)
}

#[test]
fn of_a_killed_agent_nothing_is_left_with_clsact() -> Result<()> {
    let cluster = Cluster::new(Wiring::Ptp)?;
    serve_and_be_killed(&cluster, "clsact")?;
    let shown = Shown::of(&cluster.a)?;
    ensure!(!shown.filters.is_empty() && !shown.qdiscs.is_empty(), "{shown:?}");
    leaves_nothing(&cluster.a)
}

#[test]
fn of_an_agent_that_was_killed_while_it_attached_nothing_is_left() -> Result<()> {
    for (hook, pins) in [("clsact", "filters"), ("tcx", "links")] {
        let cluster = Cluster::new(Wiring::Ptp)?;
        serve_and_be_killed(&cluster, hook)?;
        // The pin's last name is given to it when everything else is done.
        let directory = cluster.a.map_pin(pins);
        let mut renamed = 0;
        for pin in Bpftool::pins(&directory)? {
            let name = pin.file_name().context("a name")?.to_string_lossy().into_owned();
            fs::rename(&pin, pin.with_file_name(format!("{name}-next")))?;
            renamed += 1;
        }
        ensure!(renamed > 3, "{hook}: nothing was attached");
        leaves_nothing(&cluster.a)?;
    }
    Ok(())
}

#[test]
fn of_earlier_layouts_nothing_is_left() -> Result<()> {
    for hook in ["clsact", "tcx"] {
        let cluster = Cluster::new(Wiring::Ptp)?;
        serve_and_be_killed(&cluster, hook)?;
        // As a version with another layout left it, and as one did that was killed while it moved it.
        let (now, earlier) = (cluster.a.map_pin(""), cluster.a.pin_path().join("v0"));
        fs::rename(&now, &earlier)?;
        fs::create_dir(&now)?;
        for pin in ["SLOTS", "DST_FLOWS_V4"] {
            fs::rename(earlier.join(pin), now.join(pin))?;
        }
        leaves_nothing(&cluster.a)?;
    }
    Ok(())
}

fn serve_and_be_killed(cluster: &Cluster, hook: &str) -> Result<()> {
    let web = cluster.web(&cluster.all())?;
    let agent = cluster.a.start_agent(&AgentFlags::new().with("--device-hook", hook))?;
    for family in Family::BOTH {
        cluster.client.tcp(web.http(family)).ask()?;
        cluster.client.udp(web.dns(family)).ask()?;
    }
    agent.kill()
}

/// Cleans up, and looks with the kernel's tools for what was there before.
fn leaves_nothing(node: &Node) -> Result<()> {
    let before = Shown::of(node)?;
    ensure!(before.objects.len() > 40, "{before:?}");
    ensure!(before.cgroup.len() > 5, "{before:?}");
    Sluice::of_workspace()?.text(node, &["cleanup"])?;
    ensure!(!node.pin_path().exists(), "{} is there", node.pin_path().display());
    let after = Shown::of(node)?;
    ensure!(after == Shown::default(), "left: {after:?}");
    // The kernel frees what nobody refers to in its own time.
    let mut left = Vec::new();
    let gone = eventually(PATIENCE, || {
        left = before.objects.clone();
        left.retain(|(kind, id)| Bpftool::exists(kind, *id).unwrap_or(true));
        Ok(left.is_empty().then_some(()))
    });
    gone.map(drop).with_context(|| format!("bpftool shows {left:?}"))
}

/// What the kernel's tools show of a node.
#[derive(Debug, Default, PartialEq)]
struct Shown {
    /// Pinned maps, programs and links with their ids, and the programs of links.
    objects: Vec<(&'static str, u64)>,
    /// `tc filter show`, of every device and direction.
    filters: Vec<String>,
    /// `tc qdisc show`, of clsact.
    qdiscs: Vec<String>,
    /// `bpftool net show`: programs at devices.
    net: Vec<Value>,
    /// `bpftool cgroup show`.
    cgroup: Vec<Value>,
}

impl Shown {
    fn of(node: &Node) -> Result<Self> {
        let mut shown = Self { objects: objects(&node.pin_path())?, ..Self::default() };
        for link in node.namespace().ip_json(&["link", "show"])?.as_array().context("no list")? {
            let device = link["ifname"].as_str().context("no name")?;
            for direction in ["ingress", "egress"] {
                let text = tool(node, "tc", &["filter", "show", "dev", device, direction])?;
                shown.filters.extend((!text.trim().is_empty()).then_some(text));
            }
        }
        let qdiscs = tool(node, "tc", &["qdisc", "show"])?;
        shown.qdiscs.extend(qdiscs.lines().filter(|it| it.contains("clsact")).map(str::to_owned));
        let net: Value = serde_json::from_str(&tool(node, "bpftool", &["-j", "net", "show"])?)?;
        shown.net.extend(net[0]["tc"].as_array().context("no list")?.iter().cloned());
        let cgroup = node.cgroup().path().to_str().context("UTF-8")?;
        let attached = Bpftool::json(&["cgroup", "show", cgroup]).unwrap_or(Value::Null);
        shown.cgroup.extend(attached.as_array().into_iter().flatten().cloned());
        Ok(shown)
    }
}

fn objects(pin_path: &Path) -> Result<Vec<(&'static str, u64)>> {
    let mut objects = BTreeSet::new();
    if !pin_path.exists() {
        return Ok(Vec::new());
    }
    for pin in Bpftool::pins(pin_path)? {
        let pin = pin.to_str().context("UTF-8")?;
        for kind in ["map", "prog", "link"] {
            let Ok(object) = Bpftool::json(&[kind, "show", "pinned", pin]) else { continue };
            objects.extend(object["id"].as_u64().map(|id| (kind, id)));
            objects.extend(object["prog_id"].as_u64().map(|id| ("prog", id)));
        }
    }
    Ok(objects.into_iter().collect())
}

fn tool(node: &Node, program: &str, arguments: &[&str]) -> Result<String> {
    let mut command = node.command(program)?;
    command.env("PATH", format!("{}:/usr/sbin:/sbin", std::env::var("PATH")?));
    let output = command.args(arguments).output().with_context(|| program.to_owned())?;
    // A device without a clsact qdisc has no filters, and tc calls that an error.
    Ok(String::from_utf8(output.stdout)?)
}
