//! The embedded example of `cargo xtask build-and-load`: a node, three pods and an outside host in
//! namespaces of their own, real servers, the manifests of `tests/examples`, and real traffic.
//!
//! Prints what happened as tables, then stays until Ctrl-C (or ends, with `--once`). Leaves nothing
//! behind either way.

mod checks;
mod signals;
mod stage;
mod table;
mod try_it;

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::Parser;
use lab::{AgentFlags, Sluice, probe};

use crate::{checks::Check, signals::End, stage::Stage};

/// What a shell reports of a command that Ctrl-C ended.
const INTERRUPTED: u8 = 130;

/// Sluice at work: a small cluster on this machine, without Kubernetes.
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
struct Arguments {
    /// The binary `sluice` to run
    #[arg(long, value_name = "PATH", required = true)]
    sluice: Option<PathBuf>,
    /// End when the checks have, with their exit status
    #[arg(long)]
    once: bool,
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

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match (arguments.hidden, arguments.sluice) {
        (Some(Hidden::Probe { role }), _) => probe::run(role).map(|()| ExitCode::SUCCESS),
        (None, program) => play(&Sluice::at(&program.unwrap_or_default()), arguments.once),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("sluice-example: {error:#}");
        ExitCode::FAILURE
    })
}

fn play(sluice: &Sluice, once: bool) -> Result<ExitCode> {
    let end = End::watch()?;
    match show(sluice, once, &end) {
        // A step that a signal interrupted fails; that is no failure of the example.
        _ if once && end.is_wanted() => Ok(ExitCode::from(INTERRUPTED)),
        Err(_) if end.is_wanted() => Ok(ExitCode::SUCCESS),
        other => other,
    }
}

/// The whole show. The stage is taken down when this returns, however it does.
fn show(sluice: &Sluice, once: bool, end: &End) -> Result<ExitCode> {
    println!("Setting the stage: a node, three pods and an outside host, in namespaces.");
    let stage = Stage::set(end.clone())?;
    println!("{}", table::of_hosts(&stage));
    let mut checks: Vec<Check> = Vec::new();

    println!("Starting sluice with --socket-lb-tcp host: pods' packets are translated at tc …");
    let flags = AgentFlags::new().socket_lb_tcp("host").socket_lb_udp("host");
    let agent = stage.start_agent(sluice, &flags)?;
    checks.extend(checks::on_the_packet_path(&stage)?);
    println!("Killing it (SIGKILL): the datapath goes on without an agent …");
    agent.kill()?;
    checks.extend(checks::without_an_agent(&stage)?);
    println!("Starting sluice with its defaults: TCP is translated at connect() …");
    let agent = stage.start_agent(sluice, &AgentFlags::new())?;
    checks.extend(checks::on_the_socket_path(&stage)?);
    checks.extend(checks::from_outside(&stage)?);
    checks.extend(checks::without_a_service(&stage)?);

    println!("\nWho answered how often, and what both sides saw:\n{}", table::of_checks(&checks));
    println!("sluice services:\n{}", stage.services(sluice)?);
    println!("bpftool -j map dump pinned {}", stage.dumped_pin().display());
    println!("{}", stage.dump()?);

    let failed = checks.iter().filter(|check| !check.passed()).count();
    if failed == 0 {
        println!("All {} checks passed.", checks.len());
    } else {
        println!("{failed} of {} checks FAILED.", checks.len());
    }
    if !once {
        try_it::print(&stage, sluice);
        end.wait();
        println!("\nTaking everything down.");
    }
    drop(agent);
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
