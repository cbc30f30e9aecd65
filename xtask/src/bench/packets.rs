//! `cargo xtask bench packets`: what a packet costs in the datapath, measured by the kernel. The
//! measuring is `sluice-bench`'s business (tests/src/bin/sluice-bench).

use anyhow::Result;

use crate::{process, setup, workspace};

const BINARY: &str = "sluice-bench";

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Rounds in which every case has a turn
    #[arg(long, default_value_t = 400)]
    rounds: u32,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    setup::ensure(setup::Purpose::Build)?;
    process::run(&mut process::cargo(["build", "--release", "-p", "tests", "--bin", BINARY]))?;
    let json = super::directory()?.join("packets.json");
    println!("figures go to {}", json.display());
    let program = workspace::target().join("release").join(BINARY);
    let rounds = arguments.rounds.to_string();
    let json = json.to_string_lossy().into_owned();
    Err(process::become_as_root(&program, &["--rounds", rounds.as_str(), "--json", json.as_str()]))
}
