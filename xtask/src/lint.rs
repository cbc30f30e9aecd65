//! `cargo xtask lint`: what is wrong with the code before it runs. Also the first layers of
//! `cargo xtask test`.

use anyhow::Result;

use crate::{process, setup, tidy, workspace};

/// Formatting.
pub(crate) fn format() -> Result<()> {
    process::run(&mut process::cargo(["fmt", "--all", "--check"]))
}

/// Clippy, where a warning is an error.
pub(crate) fn clippy() -> Result<()> {
    process::run(&mut process::cargo([
        "clippy",
        "--workspace",
        "--all-targets",
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
