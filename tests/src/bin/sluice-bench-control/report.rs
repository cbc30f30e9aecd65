//! What was measured, as a table for people and as JSON, with ratios to kube-proxy in the same run.

use std::{collections::BTreeMap, path::Path};

use comfy_table::{CellAlignment, Table, presets::UTF8_HORIZONTAL_ONLY};
use lab::bench::{Figures, Samples};
use serde::Serialize;

use crate::{
    changes,
    proxy::{Kind, version},
    storm, sync,
};

/// What is measured, with its unit and what makes a figure good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Quantity {
    FirstAnswer,
    Ready,
    SyncCpu,
    Memory,
    PeakMemory,
    MapWrites,
    ChangeToTraffic,
    ChangeToKernel,
    ChangeCpu,
    StormRate,
    StormCpus,
    StormServer,
    StormBehind,
    StormLag,
    StormPeakMemory,
    StormEqual,
}

impl Quantity {
    const fn shown(self) -> (&'static str, &'static str) {
        match self {
            Self::FirstAnswer => ("full sync: start to first answer", "s"),
            Self::Ready => ("full sync: start to all in place", "s"),
            Self::SyncCpu => ("full sync: CPU time", "s"),
            Self::Memory => ("memory when idle", "MiB"),
            Self::PeakMemory => ("memory at most", "MiB"),
            Self::MapWrites => ("full sync: map elements written", ""),
            Self::ChangeToTraffic => ("change: API call to traffic", "ms"),
            Self::ChangeToKernel => ("change: event to kernel", "ms"),
            Self::ChangeCpu => ("change: CPU time", "ms"),
            Self::StormRate => ("storm: changes a second", ""),
            Self::StormCpus => ("storm: CPUs", ""),
            Self::StormServer => ("storm: last change to the API server's cache", "s"),
            Self::StormBehind => ("storm: last change to traffic", "s"),
            Self::StormLag => ("storm: lag at most", "s"),
            Self::StormPeakMemory => ("storm: memory at most", "MiB"),
            Self::StormEqual => ("storm: as after a fresh start (1: yes)", ""),
        }
    }

    /// Whether a ratio says something.
    const fn compares(self) -> bool {
        !matches!(self, Self::MapWrites | Self::StormRate | Self::StormServer | Self::StormEqual)
    }
}

/// All of it.
pub(crate) struct Report {
    kernel: String,
    cpu: String,
    cpus: usize,
    nft: String,
    iptables: String,
    samples: BTreeMap<(Quantity, u32, Kind), Samples>,
}

#[derive(Serialize)]
struct Row {
    quantity: Quantity,
    unit: &'static str,
    services: u32,
    proxy: Kind,
    #[serde(flatten)]
    figures: Figures,
    /// Sluice's median over this one's.
    ratio: Option<f64>,
}

impl Report {
    pub(crate) fn new(peer_path: Option<&Path>) -> Self {
        Self {
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
            cpu: cpu(),
            cpus: std::thread::available_parallelism().map_or(0, Into::into),
            nft: version("nft", peer_path),
            iptables: version("iptables", peer_path),
            samples: BTreeMap::new(),
        }
    }

    fn push(&mut self, quantity: Quantity, size: u32, kind: Kind, sample: impl Into<Option<f64>>) {
        self.samples.entry((quantity, size, kind)).or_default().push(sample);
    }

    pub(crate) fn sync(&mut self, kind: Kind, size: u32, sample: &sync::Sample) {
        self.push(Quantity::FirstAnswer, size, kind, sample.first_answer);
        self.push(Quantity::Ready, size, kind, sample.ready);
        self.push(Quantity::SyncCpu, size, kind, sample.cpu);
        self.push(Quantity::Memory, size, kind, sample.memory);
        self.push(Quantity::PeakMemory, size, kind, sample.peak);
        self.push(Quantity::MapWrites, size, kind, sample.writes);
    }

    pub(crate) fn change(&mut self, kind: Kind, size: u32, sample: changes::Sample) {
        let (quantity, value) = match sample {
            changes::Sample::Traffic(value) => (Quantity::ChangeToTraffic, value),
            changes::Sample::Cpu(value) => (Quantity::ChangeCpu, value),
            changes::Sample::Kernel(value) => (Quantity::ChangeToKernel, value),
        };
        self.push(quantity, size, kind, value);
    }

    pub(crate) fn storm(&mut self, kind: Kind, size: u32, sample: storm::Sample) {
        self.push(Quantity::StormRate, size, kind, sample.rate);
        self.push(Quantity::StormCpus, size, kind, sample.cpus);
        self.push(Quantity::StormServer, size, kind, sample.server);
        self.push(Quantity::StormBehind, size, kind, sample.behind);
        self.push(Quantity::StormLag, size, kind, sample.lag);
        self.push(Quantity::StormPeakMemory, size, kind, sample.peak);
        let equal = sample.equal.map(|equal| f64::from(u8::from(equal)));
        self.push(Quantity::StormEqual, size, kind, equal);
    }

    fn rows(&self) -> Vec<Row> {
        let median = |key| self.samples.get(&key).and_then(Samples::figures).map(|it| it.median);
        let rows = self.samples.iter().filter_map(|(&(quantity, services, proxy), samples)| {
            let figures = samples.figures()?;
            let ours = median((quantity, services, Kind::Sluice));
            let ratio = ours.filter(|_| quantity.compares() && proxy != Kind::Sluice);
            let ratio = ratio.map(|ours| ours / figures.median);
            let unit = quantity.shown().1;
            Some(Row { quantity, unit, services, proxy, figures, ratio })
        });
        rows.collect()
    }

    pub(crate) fn print(&self) {
        println!("kernel {}, {} CPUs: {}", self.kernel, self.cpus, self.cpu);
        println!("{}; {}", self.nft, self.iptables);
        println!("ratio: Sluice's median over the peer's in this run; less is better");
        let mut table = Table::new();
        table.load_style(UTF8_HORIZONTAL_ONLY);
        table.set_header(["what", "Services", "proxy", "min", "median", "max", "runs", "ratio"]);
        for row in self.rows() {
            let (name, unit) = row.quantity.shown();
            table.add_row([
                if unit.is_empty() { name.to_owned() } else { format!("{name}, {unit}") },
                row.services.to_string(),
                row.proxy.to_string(),
                number(row.figures.min),
                number(row.figures.median),
                number(row.figures.max),
                row.figures.runs.to_string(),
                row.ratio.map(|ratio| format!("{ratio:.3}")).unwrap_or_default(),
            ]);
        }
        for column in table.column_iter_mut().skip(3).chain([]) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        println!("{table}");
    }
}

impl Serialize for Report {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Shape<'a> {
            kernel: &'a str,
            cpu: &'a str,
            cpus: usize,
            nft: &'a str,
            iptables: &'a str,
            rows: Vec<Row>,
        }
        let Self { kernel, cpu, cpus, nft, iptables, .. } = self;
        Shape { kernel, cpu, cpus: *cpus, nft, iptables, rows: self.rows() }.serialize(serializer)
    }
}

fn number(value: f64) -> String {
    match value {
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.3}"),
    }
}

fn cpu() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find_map(|line| line.strip_prefix("model name")?.split(':').nth(1));
    model.map_or_else(|| std::env::consts::ARCH.to_owned(), |model| model.trim().to_owned())
}
