//! `cargo xtask lint`: what is wrong with the code before it runs. Also the first layers of
//! `cargo xtask test`.

use anyhow::{Result, ensure};

use crate::{build, process, setup, tidy, workspace};

/// Formatting.
pub(crate) fn format() -> Result<()> {
    process::run(&mut process::cargo(["fmt", "--all", "--check"]))
}

/// Clippy, where a warning is an error; and the compiler's warnings about code for BPF alone, which
/// clippy doesn't see.
pub(crate) fn clippy() -> Result<()> {
    let built = build::objects(&["sluice-datapath", "netns-cookie", "questions", "yardstick"])?;
    ensure!(built.warnings.is_empty(), "the eBPF objects compile with warnings, see above");
    process::run(&mut process::cargo([
        "clippy",
        "--workspace",
        "--all-targets",
        "--keep-going",
        "--",
        "--deny",
        "warnings",
    ]))
}

/// All of it.
pub(crate) fn run() -> Result<()> {
    setup::ensure(setup::Purpose::Build)?;
    format()?;
    clippy()?;
    tidy::run()?;
    if workspace::find_program("cargo-deny").is_some() {
        process::run(&mut process::cargo(["deny", "--all-features", "check"]))?;
    } else {
        println!("lint: cargo-deny isn't installed, licences and advisories were not checked");
    }
    Ok(())
}
