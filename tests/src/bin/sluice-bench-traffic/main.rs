//! What a connection, a datagram and a byte cost through a Service: Sluice on both paths and the real
//! kube-proxy, as ratios to no proxy at all. Called by `cargo xtask bench traffic`; needs root.
//!
//! Client and server share one CPU, so that the rate is the cost. Modes take turns sample by sample,
//! in an order that rotates. It asserts nothing but that every mode serves every case.

mod load;
mod modes;
mod report;
mod stat;
mod world;

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use lab::{
    bench::{Progress, seed},
    probe,
};

use load::Work;
use modes::{CASES, Case, Mode, Way};
use report::Report;
use world::World;

/// Traffic beside kube-proxy.
#[derive(Parser)]
#[command(name = "sluice-bench-traffic", subcommand_negates_reqs = true)]
struct Arguments {
    #[command(flatten)]
    plan: Plan,
    #[command(subcommand)]
    hidden: Option<Hidden>,
}

#[derive(clap::Subcommand)]
enum Hidden {
    /// What the lab runs
    #[command(hide = true)]
    Probe {
        #[command(subcommand)]
        role: probe::Role,
    },
    /// The servers in a pod
    #[command(hide = true)]
    Serve { address: IpAddr, cpu: usize },
    /// A client in a pod
    #[command(hide = true)]
    Ask { work: Work, to: SocketAddr, milliseconds: u64, cpu: usize },
}

/// What is measured.
#[derive(clap::Args)]
pub(crate) struct Plan {
    /// The binary `sluice` to measure
    #[arg(long, value_name = "FILE", required = true)]
    sluice: Option<PathBuf>,
    /// Four minutes at most: 1 Service, short samples, no kube-proxy in iptables mode
    #[arg(long, conflicts_with_all = ["modes", "services", "repetitions", "milliseconds"])]
    quick: bool,
    /// Modes beside `none`
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "NAME",
        default_value = "sluice-socket,sluice-packet,kube-proxy-nftables,kube-proxy-iptables"
    )]
    modes: Vec<Mode>,
    /// Numbers of Services, beside the handful that is asked
    #[arg(long, value_delimiter = ',', value_name = "N", default_value = "1,1000,10000,30000")]
    services: Vec<u32>,
    /// From where to where; all by default
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    ways: Vec<Way>,
    /// What is done there; everything by default
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    works: Vec<Work>,
    /// Turns that every mode has in every case
    #[arg(long, value_name = "N", default_value_t = 15)]
    repetitions: usize,
    /// How long a sample is
    #[arg(long, value_name = "MS", default_value_t = 400)]
    milliseconds: u64,
    /// Write the figures to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

impl Plan {
    fn wants(&self, (way, work): Case) -> bool {
        (self.ways.is_empty() || self.ways.contains(&way))
            && (self.works.is_empty() || self.works.contains(&work))
    }
}

fn main() -> Result<()> {
    let Arguments { plan, hidden } = Arguments::parse();
    match hidden {
        Some(Hidden::Probe { role }) => probe::run(role),
        Some(Hidden::Serve { address, cpu }) => load::serve(address, cpu),
        Some(Hidden::Ask { work, to, milliseconds, cpu }) => {
            let seen = load::ask(work, to, Duration::from_millis(milliseconds), cpu)?;
            println!("{}", serde_json::to_string(&seen)?);
            Ok(())
        }
        None => measure(plan),
    }
}

fn measure(mut plan: Plan) -> Result<()> {
    if plan.quick {
        plan.modes.retain(|&mode| mode != Mode::KubeProxyIptables);
        plan.services = vec![1];
        plan.repetitions = 5;
        plan.milliseconds = 150;
    }
    let mut sizes = plan.services.clone();
    sizes.sort_unstable();
    ensure!(
        sizes.last().is_some_and(|&most| most <= seed::MOST),
        "--services: at most {}",
        seed::MOST
    );
    let cases: Vec<Case> = CASES.into_iter().filter(|&case| plan.wants(case)).collect();
    ensure!(!cases.is_empty(), "--ways, --works: no case has both");
    let mut modes = vec![Mode::None];
    modes.extend(plan.modes.iter().filter(|&&mode| mode != Mode::None));
    // Interrupts are mostly the first one's.
    let cpu = thread::available_parallelism().map_or(0, |cpus| cpus.get() - 1);
    let length = Duration::from_millis(plan.milliseconds);
    let progress = Progress::new();
    progress.step("starting etcd, kube-apiserver and the proxies");
    let mut world = World::new(&plan, &modes, cpu)?;
    let mut report = Report::new(modes.clone());
    for &size in &sizes {
        progress.step(&format!("{size} Services: writing them and waiting for the proxies"));
        world.fill(size)?;
        world.settle(&cases)?;
        for repetition in 0..plan.repetitions {
            progress.step(&format!(
                "{size} Services, repetition {} of {}",
                repetition + 1,
                plan.repetitions
            ));
            for &case in &cases {
                for turn in 0..modes.len() {
                    let mode = modes[(turn + repetition) % modes.len()];
                    let watch = stat::Watch::start(world.cpu_time()?)?;
                    let seen = world
                        .ask(mode, case, length)
                        .with_context(|| format!("{mode}, {case:?}, {size} Services"))?;
                    report.push(size, case, mode, &seen, watch.others(world.cpu_time()?)?);
                }
            }
            // What is measured so far isn't lost when the rest takes too long for somebody.
            save(&report, &plan)?;
        }
    }
    progress.end();
    report.print();
    Ok(())
}

/// Writes the figures to the file that is wanted, if one is.
fn save(report: &Report, plan: &Plan) -> Result<()> {
    let Some(path) = &plan.json else { return Ok(()) };
    let text = serde_json::to_string_pretty(&report.shape())?;
    std::fs::write(path, text).with_context(|| path.display().to_string())
}
