//! `cargo xtask bench packets`: what a packet costs in the datapath, measured by the kernel. The
//! measuring is `sluice-bench`'s business (tests/src/bin/sluice-bench); this builds it, runs it as
//! root and says where the figures are.

use std::fs;

use anyhow::{Context as _, Result};

use crate::{process, setup, workspace};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// The datapath's programs, packet by packet, in nanoseconds and in hash look-ups' worth
    Packets(Packets),
}

#[derive(clap::Args)]
struct Packets {
    /// Rounds in which every case has a turn
    #[arg(long, default_value_t = 400)]
    rounds: u32,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let What::Packets(packets) = &arguments.what;
    setup::ensure(setup::Purpose::Build)?;
    process::run(&mut process::cargo(["build", "--release", "-p", "tests", "--bin", BINARY]))?;
    let directory = workspace::target().join("bench");
    fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
    let json = directory.join("packets.json");
    println!("figures go to {}", json.display());
    let program = workspace::target().join("release").join(BINARY);
    let rounds = packets.rounds.to_string();
    let json = json.to_string_lossy().into_owned();
    let arguments = ["--rounds", rounds.as_str(), "--json", json.as_str()];
    Err(process::become_as_root(&program, &arguments))
}

const BINARY: &str = "sluice-bench";
