//! `cargo xtask build`: everything in the workspace. The eBPF objects are built along the way, by
//! `proxy-agent/build.rs`.

use std::{env::consts::ARCH, path::PathBuf};

use anyhow::Result;

use crate::{
    bpf_object::{Built, Toolchain},
    process, setup, workspace,
};

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

/// Builds these eBPF objects alone, in the directory that the agent's build script uses.
pub(crate) fn objects(names: &[&str]) -> Result<Built> {
    let toolchain = Toolchain::find(&workspace::cargo(), &workspace::rustc())?;
    let target = workspace::target().join("bpf");
    Ok(toolchain.build(&workspace::root(), &target, ARCH, names)?)
}
