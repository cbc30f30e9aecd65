//! Figures from samples, as a table and as JSON.

use comfy_table::{Table, presets::UTF8_HORIZONTAL_ONLY};
use serde::Serialize;

use crate::cases::{Case, EMPTY, EMPTY_ONCE, LOOKUP};

/// A case's figures, in nanoseconds a packet.
#[derive(Serialize)]
struct Row {
    case: &'static str,
    /// How many Services are programmed.
    services: Option<u32>,
    min: f64,
    median: f64,
    max: f64,
    /// The mean of the middle half of the samples: the kernel says whole nanoseconds, this is finer.
    mean: f64,
    /// The mean over an empty program's, in means of one hash look-up.
    lookups: f64,
}

/// What was measured, on what.
#[derive(Serialize)]
pub(crate) struct Report {
    kernel: String,
    cpu: String,
    rows: Vec<Row>,
}

#[derive(Clone, Copy)]
struct Figures {
    min: f64,
    median: f64,
    max: f64,
    mean: f64,
}

fn figures(mut samples: Vec<f64>) -> Figures {
    samples.sort_unstable_by(f64::total_cmp);
    let at = |index: usize| samples.get(index).copied().unwrap_or(f64::NAN);
    let middle = &samples[samples.len() / 4..samples.len() - samples.len() / 4];
    let count = u32::try_from(middle.len()).unwrap_or(u32::MAX);
    Figures {
        min: at(0),
        median: at(samples.len() / 2),
        max: at(samples.len().saturating_sub(1)),
        mean: middle.iter().sum::<f64>() / f64::from(count),
    }
}

impl Report {
    /// From the samples of each case.
    pub(crate) fn new(cases: &[Case], samples: Vec<Vec<f64>>) -> Self {
        let figures: Vec<_> = samples.into_iter().map(figures).collect();
        let of = |name| {
            let index = cases.iter().position(|case| case.name == name);
            let nothing = Figures { min: 0.0, median: 0.0, max: 0.0, mean: 0.0 };
            index.map_or(nothing, |index| figures[index])
        };
        let (empty, lookup, once) = (of(EMPTY), of(LOOKUP), of(EMPTY_ONCE));
        let rows = cases.iter().zip(&figures).map(|(case, figures)| {
            let zero = if case.once { once } else { empty };
            Row {
                case: case.name,
                services: case.services,
                min: figures.min,
                median: figures.median,
                max: figures.max,
                mean: figures.mean,
                lookups: (figures.mean - zero.mean) / (lookup.mean - empty.mean),
            }
        });
        Self { kernel: kernel(), cpu: cpu(), rows: rows.collect() }
    }

    /// Prints a table for people.
    pub(crate) fn print(&self) {
        let mut table = Table::new();
        table.load_style(UTF8_HORIZONTAL_ONLY);
        let header = ["case", "Services", "min ns", "median ns", "max ns", "mean ns", "look-ups"];
        table.set_header(header);
        for row in &self.rows {
            table.add_row([
                row.case.to_owned(),
                row.services.map_or_else(String::new, |services| services.to_string()),
                format!("{:.0}", row.min),
                format!("{:.0}", row.median),
                format!("{:.0}", row.max),
                format!("{:.1}", row.mean),
                format!("{:.2}", row.lookups),
            ]);
        }
        println!("kernel {}, {}", self.kernel, self.cpu);
        println!("look-ups: time over an empty program, in hash look-ups' worth");
        println!("{table}");
    }
}

fn kernel() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

fn cpu() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find_map(|line| line.strip_prefix("model name")?.split(':').nth(1));
    model.map_or_else(|| std::env::consts::ARCH.to_owned(), |model| model.trim().to_owned())
}
