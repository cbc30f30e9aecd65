//! `cargo xtask bench packets`: what a packet costs in the datapath, measured by the kernel. The
//! measuring is `sluice-bench`'s business (tests/src/bin/sluice-bench).

use anyhow::Result;

use super::rows::Bench;
use crate::{process, setup, workspace};

const BINARY: &str = "sluice-bench";
const ROUNDS: u32 = 400;
const ROUNDS_QUICK: u32 = 40;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Rounds in which every case has a turn
    #[arg(long, default_value_t = ROUNDS)]
    rounds: u32,
}

impl Arguments {
    pub(super) const fn new(quick: bool) -> Self {
        Self { rounds: if quick { ROUNDS_QUICK } else { ROUNDS } }
    }
}

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    setup::ensure(setup::Purpose::Build)?;
    process::run(&mut process::cargo(["build", "--release", "-p", "tests", "--bin", BINARY]))?;
    let json = super::directory()?.join(Bench::Packets.file());
    println!("figures go to {}", json.display());
    let program = workspace::target().join("release").join(BINARY);
    let rounds = arguments.rounds.to_string();
    process::run(process::as_root(&program)?.args(["--rounds", &rounds]).arg("--json").arg(json))
}
