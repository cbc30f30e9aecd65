//! `cargo xtask bench`: one bench a file, or all of them. The measuring is done by programs of the lab,
//! which these build and run as root; then the figures are drawn ([`plots`]) and held against the goals
//! ([`reach`]).

mod control_plane;
mod packets;
mod plots;
mod reach;
mod rows;
mod traffic;

use std::{ffi::OsString, fs, path::PathBuf};

use anyhow::{Context as _, Result};

use rows::Bench;

use crate::{process, setup, workspace};

#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    /// What is measured; all of it, one after the other, where nothing is named: an hour and more
    #[command(subcommand)]
    what: Option<What>,
    /// All of it, with few samples and few Services: a quarter of an hour. No figures to publish
    #[arg(long)]
    quick: bool,
}

#[derive(clap::Subcommand)]
enum What {
    /// The datapath's programs, packet by packet, in nanoseconds and in hash look-ups' worth
    Packets(packets::Arguments),
    /// A full sync, one change, a storm of changes, memory: beside the real kube-proxy
    ControlPlane(control_plane::Arguments),
    /// Connections, datagrams and bytes through Services: ratios to no proxy, beside the real kube-proxy
    Traffic(traffic::Arguments),
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let one: &[Bench] = match &arguments.what {
        Some(What::Packets(arguments)) => {
            packets::run(arguments)?;
            &[Bench::Packets]
        }
        Some(What::Traffic(arguments)) => {
            traffic::run(&arguments.more)?;
            &[Bench::Traffic]
        }
        Some(What::ControlPlane(arguments)) => {
            control_plane::run(&arguments.more)?;
            &[Bench::ControlPlane]
        }
        None => {
            all(arguments.quick)?;
            &Bench::ALL
        }
    };
    let directory = directory()?;
    for bench in one {
        plots::draw(*bench, &directory)?;
    }
    reach::report(one, &directory)?;
    if arguments.quick {
        println!("This was the short form: few samples, few Services. No figures to publish.");
    }
    Ok(())
}

fn all(quick: bool) -> Result<()> {
    println!("==> packets (1 of 3)");
    packets::run(&packets::Arguments::new(quick))?;
    println!("==> traffic (2 of 3)");
    traffic::run(if quick { traffic::QUICK } else { &[] })?;
    println!("==> control plane (3 of 3)");
    control_plane::run(if quick { control_plane::QUICK } else { &[] })
}

/// Where figures go.
fn directory() -> Result<PathBuf> {
    let directory = workspace::target().join("bench");
    fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
    Ok(directory)
}

/// Builds `binary` and the agent for release, and runs `binary`, as root and with the tools of a
/// cluster: it measures Sluice beside the real kube-proxy. `more` are flags of its own.
fn beside_kube_proxy(
    binary: &str,
    bench: Bench,
    more: &[impl AsRef<std::ffi::OsStr>],
) -> Result<()> {
    setup::ensure(setup::Purpose::Test)?;
    let tools = setup::tools::ensure()?;
    process::run(&mut process::cargo([
        "build",
        "--release",
        "-p",
        "tests",
        "--bin",
        binary,
        "-p",
        "proxy-agent",
        "--bin",
        "sluice",
    ]))?;
    let json = directory()?.join(bench.file());
    println!("figures go to {}", json.display());
    let binaries = workspace::target().join("release");
    // sudo keeps no variables of ours, `env` sets them again.
    let env = workspace::find_program("env").unwrap_or_else(|| "env".into());
    let mut command = process::as_root(&env)?;
    let mut words: Vec<OsString> = Vec::new();
    for (variable, place) in tools.variables() {
        words.push(format!("{variable}={}", place.display()).into());
    }
    words.push(binaries.join(binary).into());
    words.extend(["--sluice".into(), binaries.join("sluice").into()]);
    words.extend(["--json".into(), json.into()]);
    words.extend(more.iter().map(|word| word.as_ref().to_owned()));
    process::run(command.args(words))
}
