//! What Sluice is meant to reach, and whether it was in what the benches wrote down. The goals are
//! here and nowhere else.
//!
//! Reads `target/bench/*.json`, writes `target/bench/reach.json`: a list of `{"bench", "goal", "wanted",
//! "measured", "met"}`, where `measured` and `met` are null for what was not measured.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};
use comfy_table::{CellAlignment, Table, presets::UTF8_HORIZONTAL_ONLY};
use serde::Serialize;
use serde_json::Value;

use super::rows::{Bench, Rows};

/// Which way is better.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Wanted {
    AtLeast(f64),
    AtMost(f64),
}

/// A goal, and how it stands.
#[derive(Debug, Serialize)]
struct Line {
    bench: Bench,
    goal: String,
    wanted: String,
    measured: Option<f64>,
    met: Option<bool>,
}

fn most(values: impl Iterator<Item = f64>) -> Option<f64> {
    values.max_by(f64::total_cmp)
}

fn least(values: impl Iterator<Item = f64>) -> Option<f64> {
    values.min_by(f64::total_cmp)
}

/// The lines of a bench.
struct Lines {
    bench: Bench,
    lines: Vec<Line>,
}

impl Lines {
    fn push(&mut self, goal: impl Into<String>, wanted: Wanted, measured: Option<f64>) {
        let (text, met) = match wanted {
            Wanted::AtLeast(bound) => {
                (format!("at least {bound:.2}"), measured.map(|it| it >= bound))
            }
            Wanted::AtMost(bound) => {
                (format!("at most {bound:.2}"), measured.map(|it| it <= bound))
            }
        };
        let (bench, goal) = (self.bench, goal.into());
        self.lines.push(Line { bench, goal, wanted: text, measured, met });
    }
}

pub(super) const FAMILIES: [&str; 2] = ["v4", "v6"];

/// Cases of the bench of packets that have one goal.
pub(super) struct Cases {
    pub(super) what: &'static str,
    pub(super) names: Vec<String>,
    /// At most so many look-ups' worth of time.
    pub(super) bound: f64,
}

/// What packets of a family are meant to cost.
pub(super) fn packets_of(family: &str) -> [Cases; 2] {
    let cases = |what, names: &[&str], bound| Cases {
        what,
        names: names.iter().map(|name| format!("{name} {family}")).collect(),
        bound,
    };
    let established = if family == "v4" { 3.5 } else { 4.5 };
    [
        cases("established flow", &["established, ingress", "reply, egress"], established),
        cases(
            "packet that is no Service's",
            &[
                "no Service's, ingress",
                "no Service's, egress",
                "to the node, TCP, ingress",
                "to the node, UDP, ingress",
            ],
            1.3,
        ),
    ]
}

fn packets(rows: &Rows, lines: &mut Lines) {
    let lookups = |case: &str, services: Option<u64>| {
        let mut fields = vec![("case", Value::from(case))];
        fields.extend(services.map(|services| ("services", Value::from(services))));
        most(rows.with(&fields).filter_map(|row| row["lookups"].as_f64()))
    };
    let mut growth = None;
    for family in FAMILIES {
        for Cases { what, names, bound } in packets_of(family) {
            let worst = most(names.iter().filter_map(|name| lookups(name, None)));
            let goal = format!("{what}, {family}: look-ups' worth over an empty program");
            lines.push(goal, Wanted::AtMost(bound), worst);
            let grown = names
                .iter()
                .filter_map(|name| Some(lookups(name, Some(100_000))? / lookups(name, Some(1))?));
            growth = most(grown.chain(growth));
        }
    }
    lines.push("any of these, 100,000 Services against 1", Wanted::AtMost(1.1), growth);
}

/// Way, work, and the least ratio to no proxy of the socket path and of the packet path.
pub(super) const TRAFFIC: [(&str, &str, &str, f64, f64); 9] = [
    ("short TCP connections, pod to ClusterIP", "cluster-ip", "connect", 0.97, 0.93),
    ("UDP, new socket each request", "cluster-ip", "udp-new", 0.93, 0.93),
    ("UDP, one socket", "cluster-ip", "udp-one", 0.97, 0.97),
    ("TCP request/response, one connection", "cluster-ip", "request", 0.98, 0.96),
    ("TCP bulk, one connection", "cluster-ip", "bulk", 0.98, 0.96),
    ("NodePort to a local pod: connections", "node-port-near", "connect", 0.93, 0.93),
    ("NodePort to a local pod: request/response", "node-port-near", "request", 0.97, 0.97),
    ("NodePort to a remote pod: connections", "node-port-far", "connect", 0.92, 0.92),
    ("NodePort to a remote pod: request/response", "node-port-far", "request", 0.95, 0.95),
];

fn traffic(rows: &Rows, lines: &mut Lines) {
    let fields = |way: &str, work: &str, quantity: &str, mode: &str| {
        [("way", way), ("work", work), ("quantity", quantity), ("mode", mode)]
            .map(|(name, value)| (name, Value::from(value)))
    };
    let median = |of: &str, way: &str, work: &str, quantity: &str, mode: &str, size: u64| {
        let fields = fields(way, work, quantity, mode);
        let mut rows = rows.with(&fields).filter(|row| row["services"].as_u64() == Some(size));
        rows.next()?[of]["median"].as_f64()
    };
    let sizes = rows.sizes(&fields("cluster-ip", "connect", "rate", "none"));
    for (mode, socket) in [("sluice-socket", true), ("sluice-packet", false)] {
        for (what, way, work, by_socket, by_packet) in TRAFFIC {
            let worst = least(
                sizes.iter().filter_map(|&size| median("ratio", way, work, "rate", mode, size)),
            );
            let bound = if socket { by_socket } else { by_packet };
            lines.push(format!("{what}, {mode}, at its worst size"), Wanted::AtLeast(bound), worst);
        }
        let against = |quantity: &str| {
            most(sizes.iter().filter_map(|&size| {
                let of = |mode| median("value", "cluster-ip", "connect", quantity, mode, size);
                Some(of(mode)? / of("kube-proxy-nftables")?)
            }))
        };
        let goal = format!("connect() p99 against nftables mode's, {mode}, at its worst size");
        lines.push(goal, Wanted::AtMost(1.0), against("connect-p99"));
        let goal = format!("CPU added to a connection against nftables mode's, {mode}");
        lines.push(goal, Wanted::AtMost(1.0 / 3.0), against("cpu-added"));
    }
}

fn control_plane(rows: &Rows, lines: &mut Lines) {
    let median = |quantity: &str, proxy: &str, size: u64| {
        let fields = [
            ("quantity", Value::from(quantity)),
            ("proxy", Value::from(proxy)),
            ("services", Value::from(size)),
        ];
        rows.with(&fields).next()?["median"].as_f64()
    };
    let against = |quantity: &str, size: u64| {
        let theirs = ["nftables", "iptables"].into_iter();
        let best = least(theirs.filter_map(|proxy| median(quantity, proxy, size)))?;
        Some(median(quantity, "sluice", size)? / best)
    };
    let ours = |quantity: &str| {
        let fields = [("quantity", Value::from(quantity)), ("proxy", Value::from("sluice"))];
        most(rows.with(&fields).filter_map(|row| row["median"].as_f64()))
    };
    let best = "against kube-proxy's best mode";
    lines.push(
        format!("one change, API call to traffic, 5,000 Services, {best}"),
        Wanted::AtMost(0.2),
        against("change-to-traffic", 5_000),
    );
    lines.push(
        format!("full sync of 10,000 Services with 10 endpoints, {best}"),
        Wanted::AtMost(0.1),
        against("first-answer", 10_000),
    );
    lines.push(
        format!("agent's resident memory at that size, {best}"),
        Wanted::AtMost(0.5),
        against("memory", 10_000),
    );
    let at_10_000 = |quantity| median(quantity, "sluice", 10_000);
    lines.push("full sync of 10,000: CPU time, s", Wanted::AtMost(3.0), at_10_000("sync-cpu"));
    lines.push("agent at 10,000: resident memory, MiB", Wanted::AtMost(100.0), at_10_000("memory"));
    lines.push(
        "one change, event to kernel, ms, at its worst size",
        Wanted::AtMost(1.0),
        ours("change-to-kernel"),
    );
    lines.push("1,000 changes a second: CPUs", Wanted::AtMost(1.0), ours("storm-cpus"));
}

/// Prints how the goals of these benches stand, and writes it beside their figures.
pub(super) fn report(benches: &[Bench], directory: &Path) -> Result<()> {
    let mut all = Vec::new();
    for &bench in benches {
        let rows = Rows::of(bench, directory)?;
        let mut lines = Lines { bench, lines: Vec::new() };
        match bench {
            Bench::Packets => packets(&rows, &mut lines),
            Bench::Traffic => traffic(&rows, &mut lines),
            Bench::ControlPlane => control_plane(&rows, &mut lines),
        }
        all.extend(lines.lines);
    }
    println!("{}", table(&all));
    let path = directory.join("reach.json");
    fs::write(&path, serde_json::to_string_pretty(&all)?)
        .with_context(|| path.display().to_string())
}

fn table(lines: &[Line]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY);
    table.set_header(["goal", "wanted", "measured", ""]);
    for line in lines {
        table.add_row([
            line.goal.clone(),
            line.wanted.clone(),
            line.measured.map(|it| format!("{it:.3}")).unwrap_or_default(),
            match line.met {
                Some(true) => "met",
                Some(false) => "missed",
                None => "not measured",
            }
            .to_owned(),
        ]);
    }
    for column in table.column_iter_mut().skip(1).take(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Bench, Line, Lines, Rows, control_plane, packets, traffic};

    fn judged(bench: Bench, judge: fn(&Rows, &mut Lines), rows: Value) -> Vec<Line> {
        let mut lines = Lines { bench, lines: Vec::new() };
        judge(&Rows::new(rows.as_array().unwrap().clone()), &mut lines);
        lines.lines
    }

    fn line<'a>(lines: &'a [Line], start: &str) -> &'a Line {
        lines.iter().find(|line| line.goal.starts_with(start)).unwrap()
    }

    #[test]
    fn the_worst_case_of_a_packet_counts() {
        let row = |case: &str, services: u64, lookups: f64| json!({"case": case, "services": services, "lookups": lookups});
        let rows = json!([
            row("established, ingress v4", 1, 3.0),
            row("established, ingress v4", 100_000, 3.2),
            row("reply, egress v4", 1, 3.6),
            row("reply, egress v4", 100_000, 3.4),
        ]);
        let lines = judged(Bench::Packets, packets, rows);
        let established = line(&lines, "established flow, v4");
        assert_eq!((established.measured, established.met), (Some(3.6), Some(false)));
        assert_eq!(line(&lines, "established flow, v6").met, None);
        let growth = line(&lines, "any of these");
        assert_eq!(growth.met, Some(true));
        assert!((growth.measured.unwrap() - 3.2 / 3.0).abs() < 1e-9);
    }

    #[test]
    fn the_worst_size_of_traffic_counts_and_peers_are_those_of_the_same_size() {
        let row = |services: u64, quantity: &str, mode: &str, value: f64, ratio: f64| {
            json!({
                "services": services, "way": "cluster-ip", "work": "connect", "quantity": quantity,
                "mode": mode, "value": {"median": value}, "ratio": {"median": ratio},
            })
        };
        let rows = json!([
            row(1, "rate", "none", 1000.0, 1.0),
            row(30_000, "rate", "none", 1000.0, 1.0),
            row(1, "rate", "sluice-socket", 990.0, 0.99),
            row(30_000, "rate", "sluice-socket", 960.0, 0.96),
            row(1, "cpu-added", "sluice-socket", 1.0, 0.0),
            row(1, "cpu-added", "kube-proxy-nftables", 4.0, 0.0),
        ]);
        let lines = judged(Bench::Traffic, traffic, rows);
        let connections = line(&lines, "short TCP connections, pod to ClusterIP, sluice-socket");
        assert_eq!((connections.measured, connections.met), (Some(0.96), Some(false)));
        assert_eq!(line(&lines, "CPU added").measured, Some(0.25));
        assert_eq!(line(&lines, "connect() p99").met, None);
    }

    #[test]
    fn kube_proxys_best_mode_is_the_measure() {
        let row = |proxy: &str, median: f64| json!({"quantity": "memory", "services": 10_000, "proxy": proxy, "median": median});
        let rows = json!([row("sluice", 80.0), row("nftables", 200.0), row("iptables", 150.0)]);
        let lines = judged(Bench::ControlPlane, control_plane, rows);
        let memory = line(&lines, "agent's resident memory at that size");
        assert_eq!((memory.measured, memory.met), (Some(80.0 / 150.0), Some(false)));
    }
}
