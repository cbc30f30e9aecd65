//! `cargo xtask build`: everything in the workspace. The eBPF objects are built along the way, by
//! `proxy-agent/build.rs`.

use std::path::PathBuf;

use anyhow::Result;

use crate::{process, setup, workspace};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Optimised, as it is shipped
    #[arg(long)]
    pub(crate) release: bool,
}

/// Builds, and returns the directory that the binaries are in.
pub(crate) fn run(arguments: &Arguments) -> Result<PathBuf> {
    setup::ensure(setup::Purpose::Build)?;
    let mut cargo = process::cargo(["build", "--workspace"]);
    if arguments.release {
        cargo.arg("--release");
    }
    process::run(&mut cargo)?;
    Ok(workspace::target().join(if arguments.release { "release" } else { "debug" }))
}
