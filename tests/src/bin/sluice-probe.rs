//! The program that the lab runs inside pods, nodes and outside hosts; see `lab::probe`.

use clap::Parser as _;
use lab::probe::{Role, run};

/// Serve, ask and report inside a lab.
#[derive(clap::Parser)]
struct Arguments {
    #[command(subcommand)]
    role: Role,
}

fn main() -> anyhow::Result<()> {
    run(Arguments::parse().role)
}
