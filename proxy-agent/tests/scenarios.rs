//! Scenarios: Kubernetes YAML in, what the maps say out. One behaviour a file, in `scenarios/`.
//!
//! A file begins with what it shows, in words, up to the first line that begins with `===`. Sections
//! follow:
//!
//! - `=== node NAME [ADDRESS ...]` the node the agent runs on, and its addresses;
//! - `=== flags FLAG ...` the agent's flags that change what is programmed: `--external-ips=false`,
//!   `--node-port-addresses=CIDR,...` or `=primary`, `--algorithm=NAME`, `--maglev-table-size=N`;
//! - `=== addresses [ADDRESS ...]` the node's addresses from now on, with the maps that follow;
//! - `=== manifests` what the directory says from now on;
//! - `=== maps` what the maps say then, as [`support::dump`] writes it;
//! - `=== problems` what the operator is told then, a line each (absent: nothing).
//!
//! With `SCENARIOS=write` in the environment the files are written anew from what happens; read the
//! difference before you keep it.

mod support;

use std::{
    fmt::Write,
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
};

use clap::Parser as _;
use proxy_agent::{
    options::{Flags, ServiceOptions},
    reconcile::{LiveFlows, Reconciler},
    source::{
        Event,
        manifests::{Catalog, Writer},
    },
    store::{Installed, memory::MemoryStore},
};
use proxy_common::Nanoseconds;

use support::dump::dump;

#[test]
fn scenarios() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut files: Vec<PathBuf> = fs::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no scenarios in {}", directory.display());
    let write = std::env::var("SCENARIOS").is_ok_and(|value| value == "write");
    let mut failed = Vec::new();
    for file in files {
        let written = fs::read_to_string(&file).unwrap();
        let played = play(&written);
        if written == played {
            continue;
        }
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        if write {
            fs::write(&file, played).unwrap();
            eprintln!("{name}: written anew");
        } else {
            eprintln!("{name}: - is written there, + is what happens\n{}", diff(&written, &played));
            failed.push(name);
        }
    }
    assert!(failed.is_empty(), "scenarios that end otherwise: {}", failed.join(", "));
}

/// Plays a scenario and writes it down as it went.
fn play(written: &str) -> String {
    let mut played = String::new();
    let mut stage = Stage::default();
    for (head, body) in sections(written) {
        match head.split_whitespace().collect::<Vec<_>>().as_slice() {
            [] => played.push_str(body),
            ["node", name, addresses @ ..] => {
                stage.node = (*name).to_owned();
                stage.addresses = addresses.iter().map(|it| it.parse().unwrap()).collect();
                writeln!(played, "=== {head}").unwrap();
            }
            ["flags", flags @ ..] => {
                stage.flags = parse(flags);
                writeln!(played, "=== {head}").unwrap();
            }
            ["addresses", addresses @ ..] => {
                stage.addresses = addresses.iter().map(|it| it.parse().unwrap()).collect();
                let outcome = stage.settle();
                write!(played, "=== {head}\n{outcome}").unwrap();
            }
            ["manifests"] => {
                let outcome = stage.manifests(body);
                write!(played, "=== manifests\n{body}{outcome}").unwrap();
            }
            // Written by the section before.
            ["maps" | "problems"] => {}
            _ => panic!("unknown section {head:?}"),
        }
    }
    played
}

/// What stands behind `===`, and the lines up to the next one.
fn sections(text: &str) -> Vec<(&str, &str)> {
    let mut sections = Vec::new();
    let mut rest = text;
    let mut head = "";
    while let Some(at) = find_section(rest) {
        sections.push((head, &rest[..at]));
        let (line, after) = rest[at..].split_once('\n').unwrap_or((&rest[at..], ""));
        head = line.trim_start_matches('=').trim();
        rest = after;
    }
    sections.push((head, rest));
    sections
}

fn find_section(text: &str) -> Option<usize> {
    if text.starts_with("===") { Some(0) } else { text.find("\n===").map(|at| at + 1) }
}

/// The agent's own flags.
fn parse(flags: &[&str]) -> ServiceOptions {
    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        flags: Flags,
    }
    let line = Line::parse_from(["scenario"].iter().chain(flags));
    ServiceOptions::resolve(&line.flags).unwrap()
}

struct Stage {
    node: String,
    addresses: Vec<IpAddr>,
    flags: ServiceOptions,
    catalog: Catalog,
    playing: Option<(Reconciler, MemoryStore)>,
    now: u64,
}

impl Default for Stage {
    fn default() -> Self {
        Self {
            node: "here".to_owned(),
            addresses: Vec::new(),
            flags: parse(&[]),
            catalog: Catalog::default(),
            playing: None,
            now: 0,
        }
    }
}

impl Stage {
    /// The directory says `text` now. Returns what the maps say, and the problems.
    fn manifests(&mut self, text: &str) -> String {
        let events = self.catalog.read(Path::new("scenario"), text, Writer::Gone);
        let (reconciler, _) = self.playing.get_or_insert_with(|| {
            let settings = self.flags.settings(self.node.as_str().into(), 1);
            (Reconciler::new(settings, Installed::default()), MemoryStore::default())
        });
        reconciler.apply(events);
        reconciler.apply([Event::Synced]);
        self.settle()
    }

    /// Lets everything that waits come to its end. Returns what the maps say, and the problems.
    fn settle(&mut self) -> String {
        let (reconciler, store) = self.playing.as_mut().unwrap();
        reconciler.node_addresses(self.addresses.clone());
        for _ in 0..3 {
            self.now += 2_000_000_000;
            let report = reconciler.reconcile(store, Nanoseconds::new(self.now));
            assert!(report.failures.is_empty(), "{report:?}");
            let since = Nanoseconds::new(self.now);
            reconciler.live_flows(&LiveFlows { since, ..LiveFlows::default() });
        }
        let problems = reconciler.take_problems();
        let mut text = format!("=== maps\n{}", dump(store.content()));
        if !problems.is_empty() {
            text.push_str("=== problems\n");
        }
        for problem in problems {
            writeln!(text, "{problem}").unwrap();
        }
        text
    }
}

/// The lines that differ, with those around them.
fn diff(old: &str, new: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    // Length of the longest common run of lines from (i, j) on.
    let mut common = vec![vec![0usize; new.len() + 1]; old.len() + 1];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            common[i][j] = if old[i] == new[j] {
                common[i + 1][j + 1] + 1
            } else {
                common[i + 1][j].max(common[i][j + 1])
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut text = String::new();
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            writeln!(text, "  {}", old[i]).unwrap();
            (i, j) = (i + 1, j + 1);
        } else if j == new.len() || (i < old.len() && common[i + 1][j] >= common[i][j + 1]) {
            writeln!(text, "- {}", old[i]).unwrap();
            i += 1;
        } else {
            writeln!(text, "+ {}", new[j]).unwrap();
            j += 1;
        }
    }
    text
}
