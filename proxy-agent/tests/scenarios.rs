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

use std::{fmt::Write, net::IpAddr, path::Path};

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

use support::{dump::dump, written};

#[test]
fn scenarios() {
    written::compare("scenarios", "SCENARIOS", play);
}

/// Plays a scenario and writes it down as it went.
fn play(written: &str) -> String {
    let mut played = String::new();
    let mut stage = Stage::default();
    for (head, body) in written::sections(written) {
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
