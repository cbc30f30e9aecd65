//! What a packet costs, measured by the kernel itself (`BPF_PROG_TEST_RUN`), in nanoseconds and in
//! hash look-ups' worth over an empty program. Attaches nothing, needs root; called by
//! `cargo xtask bench packets`.
//!
//! All cases are measured in turns, in many short rounds, so that whatever else the machine does
//! meets all of them alike.

mod cases;
mod report;
mod yardstick;

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Parser;
use rustix::thread::{CpuSet, sched_getcpu, sched_setaffinity};

use report::Report;

/// What a packet costs in the datapath.
#[derive(Parser)]
#[command(name = "sluice-bench")]
struct Arguments {
    /// Rounds in which every case has a turn
    #[arg(long, default_value_t = 400)]
    rounds: u32,
    /// Runs of a program in one turn
    #[arg(long, default_value_t = 2_000)]
    repeat: u32,
    /// How many Services the largest of the three datapaths has
    #[arg(long, default_value_t = 100_000)]
    services: u32,
    /// Write the figures to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    stay_on_one_cpu()?;
    let cases = cases::all(arguments.services)?;
    let mut samples = vec![Vec::new(); cases.len()];
    // The first turn warms caches and isn't counted.
    for round in 0..=arguments.rounds {
        for (case, samples) in cases.iter().zip(&mut samples) {
            let nanoseconds = case.measure(round, arguments.repeat)?;
            if round > 0 {
                samples.push(nanoseconds);
            }
        }
    }
    let report = Report::new(&cases, samples);
    report.print();
    if let Some(path) = arguments.json {
        let text = serde_json::to_string_pretty(&report)?;
        std::fs::write(&path, text).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

fn stay_on_one_cpu() -> Result<()> {
    let mut cpus = CpuSet::new();
    cpus.set(sched_getcpu());
    sched_setaffinity(None, &cpus).context("staying on one CPU")
}
