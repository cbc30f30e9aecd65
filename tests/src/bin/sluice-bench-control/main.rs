//! What the control plane costs and how quick it is, beside the real kube-proxy: a full sync, one
//! change, a storm of changes, memory. Called by `cargo xtask bench control-plane`; needs root.
//!
//! One real kube-apiserver with its etcd, and one node for each proxy. Proxies take turns, in an
//! order that rotates: one that waits is not running. At each size every proxy starts from nothing,
//! is measured until it is idle, answers to changes, and is cleaned away. It asserts nothing but
//! that each proxy does its work.

mod changes;
mod prober;
mod proxy;
mod report;
mod storm;
mod sync;
mod world;

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use lab::{
    bench::{Progress, seed},
    probe,
};

use proxy::Kind;
use report::Report;
use world::World;

/// The control plane beside kube-proxy.
#[derive(Parser)]
#[command(name = "sluice-bench-control", subcommand_negates_reqs = true)]
struct Arguments {
    #[command(flatten)]
    plan: Plan,
    #[command(subcommand)]
    hidden: Option<Hidden>,
}

#[derive(clap::Subcommand)]
enum Hidden {
    /// What runs inside the pods
    #[command(hide = true)]
    Probe {
        #[command(subcommand)]
        role: probe::Role,
    },
}

/// What is measured.
#[derive(clap::Args)]
pub(crate) struct Plan {
    /// The binary `sluice` to measure
    #[arg(long, value_name = "FILE", required = true)]
    sluice: Option<PathBuf>,
    /// Proxies to measure
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "NAME",
        default_value = "sluice,nftables,iptables"
    )]
    proxies: Vec<Kind>,
    /// Numbers of Services
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "N",
        default_value = "100,1000,5000,10000,50000"
    )]
    sizes: Vec<u32>,
    /// Endpoints of each Service, up to 10,000 Services; those beyond have two
    #[arg(long, value_name = "N", default_value_t = 10)]
    endpoints: u32,
    /// kube-proxy is not measured at more Services than this
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    peers_up_to: u32,
    /// Starts of each proxy at each size
    #[arg(long, value_name = "N", default_value_t = 3)]
    runs: usize,
    /// Changes of an endpoint in each run
    #[arg(long, value_name = "N", default_value_t = 20)]
    changes: usize,
    /// How long a storm of changes lasts, at the largest size but 10,000 Services at most; 0 for none
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    storm: u64,
    /// Changes a second in a storm
    #[arg(long, value_name = "N", default_value_t = 1000)]
    rate: u32,
    /// A directory with programs that kube-proxy is to use in place of the system's: an nft newer
    /// than 1.1 is many times quicker
    #[arg(long, value_name = "DIR")]
    peer_path: Option<PathBuf>,
    /// Write the figures to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// At most so many Services are there when a storm comes.
const STORM_SIZE: u32 = 10_000;

fn main() -> Result<()> {
    let Arguments { plan, hidden } = Arguments::parse();
    match hidden {
        Some(Hidden::Probe { role }) => probe::run(role),
        None => measure(&plan),
    }
}

fn measure(plan: &Plan) -> Result<()> {
    ensure!(plan.endpoints >= 1 && plan.endpoints <= 10, "--endpoints: from 1 to 10");
    let mut sizes = plan.sizes.clone();
    sizes.sort_unstable();
    ensure!(
        sizes.last().is_some_and(|&most| most <= seed::MOST),
        "--sizes: at most {}",
        seed::MOST
    );
    let progress = Progress::new();
    progress.step("starting etcd and kube-apiserver");
    let mut world = World::new(plan)?;
    let mut report = Report::new(plan.peer_path.as_deref());
    let storm_at = sizes.iter().copied().filter(|&size| size <= STORM_SIZE).max();
    for &size in &sizes {
        progress.step(&format!("{size} Services: writing them"));
        world.seed(size)?;
        for run in 0..plan.runs {
            for turn in 0..plan.proxies.len() {
                let kind = plan.proxies[(turn + run) % plan.proxies.len()];
                if kind != Kind::Sluice && size > plan.peers_up_to {
                    continue;
                }
                let shown = format!("{size} Services, run {} of {}: {kind}", run + 1, plan.runs);
                progress.step(&format!("{shown} starts"));
                let started = sync::measure(&world, kind)?;
                report.sync(kind, size, &started.sample);
                progress.step(&format!("{shown} follows changes"));
                changes::measure(&mut world, &started.running, plan.changes, |sample| {
                    report.change(kind, size, sample);
                })?;
                if plan.storm > 0 && storm_at == Some(size) && run == 0 {
                    progress.step(&format!("{shown} weathers a storm"));
                    let sample = storm::measure(&mut world, &started.running, plan, &progress)?;
                    report.storm(kind, size, sample);
                }
                progress.step(&format!("{shown} goes"));
                world.clean_up(started.running)?;
                // What is measured so far isn't lost when the rest takes too long for somebody.
                save(&report, plan)?;
            }
        }
    }
    progress.end();
    report.print();
    Ok(())
}

/// Writes the figures to the file that is wanted, if one is.
fn save(report: &Report, plan: &Plan) -> Result<()> {
    let Some(path) = &plan.json else { return Ok(()) };
    let text = serde_json::to_string_pretty(report)?;
    std::fs::write(path, text).with_context(|| path.display().to_string())
}
