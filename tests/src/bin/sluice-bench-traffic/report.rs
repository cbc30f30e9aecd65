//! What was measured, as a table for people and as JSON: ratios to no proxy at all in the same
//! repetition.

use std::collections::BTreeMap;

use comfy_table::{CellAlignment, Table, presets::UTF8_HORIZONTAL_ONLY};
use lab::bench::{Figures, Samples};
use serde::Serialize;

use crate::{
    load::{Seen, Work},
    modes::{Case, Mode, Way},
};

/// More than this many CPUs of others disturb a sample. Ticks of 10 ms count no finer.
const FOREIGN: f64 = 0.2;

/// What is told of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Quantity {
    /// Operations a second; of bulk, bytes
    Rate,
    /// The median of connect(), µs
    ConnectP50,
    /// Its 99th percentile, µs
    ConnectP99,
    /// CPU time that a connection takes more than without a proxy, µs
    CpuAdded,
}

type Key = (u32, Case, Quantity, Mode);

/// All of it.
pub(crate) struct Report {
    modes: Vec<Mode>,
    kernel: String,
    cpu: String,
    /// Values by repetition.
    samples: BTreeMap<Key, Vec<f64>>,
    taken: usize,
    disturbed: usize,
}

#[derive(Serialize)]
struct Row {
    services: u32,
    way: Way,
    work: Work,
    quantity: Quantity,
    mode: Mode,
    value: Figures,
    /// To no proxy at all, repetition by repetition.
    ratio: Option<Figures>,
}

#[derive(Serialize)]
pub(crate) struct Shape<'a> {
    kernel: &'a str,
    cpu: &'a str,
    samples: usize,
    disturbed: usize,
    rows: Vec<Row>,
}

fn figures(values: impl IntoIterator<Item = f64>) -> Option<Figures> {
    let mut samples = Samples::default();
    values.into_iter().for_each(|value| samples.push(value));
    samples.figures()
}

impl Report {
    pub(crate) fn new(modes: Vec<Mode>) -> Self {
        Self {
            modes,
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
            cpu: cpu(),
            samples: BTreeMap::new(),
            taken: 0,
            disturbed: 0,
        }
    }

    pub(crate) fn push(&mut self, size: u32, case: Case, mode: Mode, seen: &Seen, others: f64) {
        let mut push = |quantity, value| {
            self.samples.entry((size, case, quantity, mode)).or_default().push(value);
        };
        push(Quantity::Rate, seen.rate);
        if let Some([median, high]) = seen.connect {
            push(Quantity::ConnectP50, median);
            push(Quantity::ConnectP99, high);
        }
        self.taken += 1;
        self.disturbed += usize::from(others > FOREIGN);
    }

    fn values(&self, key: Key) -> &[f64] {
        self.samples.get(&key).map_or(&[], Vec::as_slice)
    }

    fn ratio(&self, (size, case, quantity, mode): Key) -> Option<Figures> {
        let base = self.values((size, case, quantity, Mode::None));
        let values = self.values((size, case, quantity, mode));
        figures(values.iter().zip(base).map(|(value, base)| value / base))
    }

    /// CPU time a connection: one CPU does nothing else, so that it is the inverse of the rate.
    fn cpu_added(&self, size: u32, case: Case, mode: Mode) -> Option<Figures> {
        let base = self.values((size, case, Quantity::Rate, Mode::None));
        let values = self.values((size, case, Quantity::Rate, mode));
        figures(values.iter().zip(base).map(|(value, base)| 1e6 / value - 1e6 / base))
    }

    fn rows(&self) -> Vec<Row> {
        let row = |&key: &Key, value, ratio| {
            let (services, (way, work), quantity, mode) = key;
            Row { services, way, work, quantity, mode, value, ratio }
        };
        let mut rows = Vec::new();
        for (key, values) in &self.samples {
            let Some(value) = figures(values.iter().copied()) else { continue };
            rows.push(row(key, value, self.ratio(*key)));
            let &(size, case, quantity, mode) = key;
            if quantity == Quantity::Rate && case.1 == Work::Connect && mode != Mode::None {
                let added = self.cpu_added(size, case, mode);
                let key = (size, case, Quantity::CpuAdded, mode);
                rows.extend(added.map(|added| row(&key, added, None)));
            }
        }
        rows
    }

    pub(crate) fn shape(&self) -> Shape<'_> {
        Shape {
            kernel: &self.kernel,
            cpu: &self.cpu,
            samples: self.taken,
            disturbed: self.disturbed,
            rows: self.rows(),
        }
    }

    pub(crate) fn print(&self) {
        println!("kernel {}, {}; client and server on one CPU", self.kernel, self.cpu);
        println!(
            "`none` in its unit; others as ratios to it in the same repetition: median (min to max)"
        );
        println!("CPU added in µs. Differences below .05 are noise.");
        let mut table = table();
        let header = ["Services", "what"].map(str::to_owned).into_iter();
        table.set_header(header.chain(self.modes.iter().map(Mode::to_string)));
        let mut lines: Vec<(u32, Case, Quantity)> =
            self.samples.keys().map(|&(size, case, quantity, _)| (size, case, quantity)).collect();
        lines.dedup();
        for (size, case, quantity) in lines {
            let ratios = self.modes.iter().map(|&mode| {
                let key = (size, case, quantity, mode);
                if mode == Mode::None {
                    let value = figures(self.values(key).iter().copied())?;
                    return Some(format!("{:.0}", value.median));
                }
                self.ratio(key)
                    .map(|it| format!("{:.2} ({:.2} to {:.2})", it.median, it.min, it.max))
            });
            let cells = [size.to_string(), shown(case, quantity).to_owned()].into_iter();
            table.add_row(cells.chain(ratios.map(Option::unwrap_or_default)));
            if quantity == Quantity::Rate && case.1 == Work::Connect {
                let added = self.modes.iter().map(|&mode| {
                    let figures = self.cpu_added(size, case, mode).filter(|_| mode != Mode::None);
                    let shown =
                        |it: Figures| format!("{:.1} ({:.1} to {:.1})", it.median, it.min, it.max);
                    figures.map(shown).unwrap_or_default()
                });
                let name = shown(case, Quantity::CpuAdded).to_owned();
                table.add_row([size.to_string(), name].into_iter().chain(added));
            }
        }
        right(&mut table, 2);
        println!("{table}");
        if self.disturbed > 0 {
            println!(
                "Foreign load: in {} of {} samples others took more than {FOREIGN} CPUs. Measure again on a quiet machine.",
                self.disturbed, self.taken
            );
        }
    }
}

fn table() -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY);
    table
}

fn right(table: &mut Table, from: usize) {
    for column in table.column_iter_mut().skip(from) {
        column.set_cell_alignment(CellAlignment::Right);
    }
}

fn shown((way, work): Case, quantity: Quantity) -> &'static str {
    match (way, work, quantity) {
        (Way::ClusterIp, _, Quantity::ConnectP50) => "ClusterIP: connect() p50, µs",
        (Way::ClusterIp, _, Quantity::ConnectP99) => "ClusterIP: connect() p99, µs",
        (Way::ClusterIp, _, Quantity::CpuAdded) => "ClusterIP: CPU added a connection, µs",
        (Way::ClusterIp, Work::Connect, _) => "ClusterIP: TCP connections/s",
        (Way::ClusterIp, Work::UdpNew, _) => "ClusterIP: UDP, new sockets/s",
        (Way::ClusterIp, Work::UdpOne, _) => "ClusterIP: UDP on one socket, requests/s",
        (Way::ClusterIp, Work::Request, _) => "ClusterIP: TCP on one connection, requests/s",
        (Way::ClusterIp, Work::Bulk, _) => "ClusterIP: bulk, bytes/s",
        (Way::NodePortNear, _, Quantity::ConnectP50) => "NodePort, local: connect() p50, µs",
        (Way::NodePortNear, _, Quantity::ConnectP99) => "NodePort, local: connect() p99, µs",
        (Way::NodePortNear, _, Quantity::CpuAdded) => "NodePort, local: CPU added a connection, µs",
        (Way::NodePortNear, Work::Connect, _) => "NodePort, local: connections/s",
        (Way::NodePortNear, ..) => "NodePort, local: requests/s",
        (Way::NodePortFar, _, Quantity::ConnectP50) => "NodePort, remote: connect() p50, µs",
        (Way::NodePortFar, _, Quantity::ConnectP99) => "NodePort, remote: connect() p99, µs",
        (Way::NodePortFar, _, Quantity::CpuAdded) => "NodePort, remote: CPU added a connection, µs",
        (Way::NodePortFar, Work::Connect, _) => "NodePort, remote: connections/s",
        (Way::NodePortFar, ..) => "NodePort, remote: requests/s",
    }
}

fn cpu() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find_map(|line| line.strip_prefix("model name")?.split(':').nth(1));
    model.map_or_else(|| std::env::consts::ARCH.to_owned(), |model| model.trim().to_owned())
}
