//! `sluice status`: whether an agent runs, what is attached, how full the maps are, what was
//! counted, what is wrong.
//!
//! JSON: [`Status`].

mod problems;

use std::{fs, os::unix::fs::MetadataExt};

use proxy_common::{Counter, DropReason, RejectReason, layout::LAYOUT_VERSION};
use serde::Serialize;

use super::{
    CliError, ReadArgs, at_pins,
    devices::device_name,
    installed_maps,
    output::{duration, lines, show, table},
};
use crate::{
    agent::introspect::{self, Live},
    datapath::{
        inspect::{self, Place},
        kernel::Finding,
        map::PerCpuArray,
        pins::Pins,
        tables,
    },
    host::{
        cgroup, clock,
        lock::{self, Holder},
    },
};

/// Everything at one look.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Status {
    /// Where it is pinned.
    pin_path: String,
    /// The version of the maps' layout.
    layout_version: u32,
    /// The agent that holds the pin path; null when none runs. The datapath works either way.
    agent: Option<Agent>,
    /// Programs that are attached.
    programs: Vec<Program>,
    /// How full the maps are.
    maps: Vec<Map>,
    /// Packets and connections since the maps were made.
    counters: Vec<Count>,
    /// What is not as it should be, in words.
    problems: Vec<String>,
}

/// The running agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Agent {
    /// `pid` (null when it is of another PID namespace) and `command`.
    #[serde(flatten)]
    holder: Holder,
    /// Seconds since it last compared the maps with the cluster; null when it can't be asked.
    reconciled_seconds: Option<u64>,
    /// What it says of itself; null when it can't be asked, as from another network namespace.
    says: Option<Live>,
}

/// A program at a hook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Program {
    /// `connect4`, …, `ingress`, `egress`.
    hook: String,
    /// The device or the cgroup.
    at: String,
    /// `cgroup`, `tcx` or `clsact`.
    by: &'static str,
    /// Its name.
    program: String,
    /// The kernel's id of it.
    program_id: u32,
    /// The first bytes of the hash over its instructions.
    tag: String,
}

/// A map.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Map {
    /// Its name.
    name: &'static str,
    /// Elements in use; null for a per-CPU array.
    used: Option<usize>,
    /// How many it has room for.
    max_entries: u32,
}

/// A counter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Count {
    /// `event`, `reject` or `drop`.
    pub(super) kind: &'static str,
    /// Its name.
    pub(super) name: &'static str,
    /// How often.
    pub(super) count: u64,
}

pub(super) fn run(args: &ReadArgs) -> Result<(), CliError> {
    let status = look(&args.pins.pins()?)?;
    show(args.output, &status, text)
}

fn look(pins: &Pins) -> Result<Status, CliError> {
    let maps = installed_maps(pins)?;
    let at = || at_pins(pins.root());
    let agent = lock::holder(pins.root()).map_err(at())?.map(|holder| {
        let says = introspect::ask(pins.root()).ok();
        let since = says.as_ref().map(|live| clock::now().get().saturating_sub(live.reconciled_at));
        Agent { holder, reconciled_seconds: since.map(|ns| ns / 1_000_000_000), says }
    });
    let fills = inspect::fills(pins).map_err(at())?;
    let mut status = Status {
        pin_path: pins.root().display().to_string(),
        layout_version: LAYOUT_VERSION,
        agent,
        programs: programs(pins)?,
        maps: fills
            .into_iter()
            .map(|fill| Map { name: fill.map, used: fill.used, max_entries: fill.max_entries })
            .collect(),
        counters: counters(&tables::counters(&maps)?)?,
        problems: Vec::new(),
    };
    status.problems = problems::problems(&status);
    Ok(status)
}

fn programs(pins: &Pins) -> Result<Vec<Program>, CliError> {
    let devices = tables::devices(&pins.maps())?;
    let root = cgroup::find().ok();
    let root_id = root.as_ref().and_then(|path| fs::metadata(path).ok()).map(|data| data.ino());
    let attachments = inspect::attachments(pins).map_err(at_pins(pins.root()))?;
    let mut programs = Vec::new();
    for attachment in attachments {
        let (hook, at, by) = match attachment.place {
            Place::Cgroup { id } => {
                let at = match &root {
                    Some(root) if root_id == Some(id) => root.display().to_string(),
                    _ => format!("cgroup {id}"),
                };
                (attachment.program.clone(), at, "cgroup")
            }
            Place::Tcx { alive: false, .. } => continue,
            Place::Tcx { ifindex, direction, .. } | Place::Clsact { ifindex, direction } => {
                let device = devices.get(&ifindex)?;
                let at =
                    device.map_or_else(|| format!("#{ifindex}"), |device| device_name(&device));
                let tcx = matches!(attachment.place, Place::Tcx { .. });
                (direction.name().to_owned(), at, if tcx { "tcx" } else { "clsact" })
            }
        };
        programs.push(Program {
            hook,
            at,
            by,
            program: attachment.program,
            program_id: attachment.program_id,
            tag: attachment.tag,
        });
    }
    Ok(programs)
}

/// All counters, in one order.
pub(super) fn counters(counters: &PerCpuArray<u64>) -> Result<Vec<Count>, CliError> {
    let events = Counter::EVENTS.iter().map(|counter| ("event", *counter));
    let rejects = RejectReason::ALL.iter().map(|reason| ("reject", Counter::Reject(*reason)));
    let drops = DropReason::ALL.iter().map(|reason| ("drop", Counter::Drop(*reason)));
    events
        .chain(rejects)
        .chain(drops)
        .map(|(kind, counter)| {
            let count = counters.sum(counter.index())?;
            Ok(Count { kind, name: counter.name(), count })
        })
        .collect()
}

/// How much of a map is in use, in per cent.
fn fill(map: &Map) -> String {
    map.used.map_or_else(
        || "-".to_owned(),
        |used| format!("{}%", (used * 100).div_ceil((map.max_entries as usize).max(1))),
    )
}

fn text(status: &Status) -> String {
    let mut text = format!("pin path   {}\n", status.pin_path);
    text.push_str(&format!("layout     v{}\n", status.layout_version));
    text.push_str(&format!("agent      {}\n", agent_text(status.agent.as_ref())));
    if let Some(says) = status.agent.as_ref().and_then(|agent| agent.says.as_ref()) {
        text.push_str(&kernel_text(&says.kernel));
    }

    let mut programs = table(["HOOK", "AT", "BY", "PROGRAM", "ID", "TAG"]);
    for program in &status.programs {
        programs.add_row([
            program.hook.clone(),
            program.at.clone(),
            program.by.to_owned(),
            program.program.clone(),
            program.program_id.to_string(),
            program.tag.clone(),
        ]);
    }
    text.push_str(&format!("\n{}", lines(&programs)));

    let mut maps = table(["MAP", "USED", "ROOM", "FILL"]);
    for map in &status.maps {
        let used = map.used.map_or_else(|| "-".to_owned(), |used| used.to_string());
        maps.add_row([map.name.to_owned(), used, map.max_entries.to_string(), fill(map)]);
    }
    text.push_str(&format!("\n{}", lines(&maps)));

    let mut counters = table(["COUNTED", "KIND", "COUNT"]);
    for count in status.counters.iter().filter(|count| count.count > 0) {
        counters.add_row([count.name.to_owned(), count.kind.to_owned(), count.count.to_string()]);
    }
    if counters.is_empty() {
        text.push_str("\nNothing was counted yet.\n");
    } else {
        text.push_str(&format!("\n{}", lines(&counters)));
    }

    if status.problems.is_empty() {
        text.push_str("\nNo problems.\n");
    } else {
        text.push_str("\nPROBLEMS\n");
        for problem in &status.problems {
            text.push_str(&format!("- {problem}\n"));
        }
    }
    text
}

fn agent_text(agent: Option<&Agent>) -> String {
    let Some(agent) = agent else { return "not running".into() };
    let mut text = format!("running, {}", agent.holder);
    match (&agent.says, agent.reconciled_seconds) {
        (Some(says), Some(seconds)) => {
            text.push_str(if says.ready { ", ready" } else { ", not ready" });
            text.push_str(&format!(
                "; generation {}, last reconciled {} ago",
                says.generation,
                duration(seconds)
            ));
        }
        _ => text.push_str("; it can't be asked from this network namespace"),
    }
    text
}

/// What the kernel lacks, and which way was taken.
fn kernel_text(findings: &[Finding]) -> String {
    let missing: Vec<_> = findings.iter().filter(|finding| !finding.present).collect();
    if missing.is_empty() {
        return "kernel     has all that is used\n".into();
    }
    let mut text = String::from("kernel     is older than what is used, so that\n");
    for Finding { feature, since, way, .. } in missing {
        text.push_str(&format!("           - {way} ({feature}, Linux {since})\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{Finding, Map, fill, kernel_text};

    #[test]
    fn what_the_kernel_lacks_is_told_with_what_is_done_instead() {
        let finding = |present| Finding {
            feature: "tcx".into(),
            since: "6.6".into(),
            present,
            way: "programs are attached in another way".into(),
        };
        assert_eq!(kernel_text(&[finding(true)]), "kernel     has all that is used\n");
        let text = kernel_text(&[finding(true), finding(false)]);
        assert!(
            text.ends_with("- programs are attached in another way (tcx, Linux 6.6)\n"),
            "{text}"
        );
    }

    fn map(name: &'static str, used: usize) -> Map {
        Map { name, used: Some(used), max_entries: 100 }
    }

    #[test]
    fn a_map_with_a_single_element_is_not_empty() {
        assert_eq!(fill(&map("SLOTS", 1)), "1%");
        assert_eq!(fill(&Map { max_entries: 1_000_000, ..map("SLOTS", 1) }), "1%");
        assert_eq!(fill(&map("SLOTS", 0)), "0%");
    }
}
