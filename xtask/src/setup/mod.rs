//! `cargo xtask setup`: finds what building and testing need, installs what is missing, and is
//! silent and quick when nothing is. Every command that needs something calls [`ensure`].
//!
//! It installs Debian packages, and bpf-linker for the user's cargo. It touches no configuration,
//! and never replaces what works.

mod install;
mod needs;
mod progress;
pub(crate) mod tools;

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use needs::Need;

/// What the machine is wanted for. Each purpose includes the ones before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Purpose {
    /// Compile and lint
    Build,
    /// Load, attach and look at the maps
    Load,
    /// Run every layer of tests
    Test,
}

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// What the machine is wanted for; each includes the ones before it
    #[arg(long = "for", value_enum, default_value_t = Purpose::Test, value_name = "PURPOSE")]
    purpose: Purpose,
    /// Only say what is missing, and fail if anything is
    #[arg(long)]
    check: bool,
    /// Build the control plane and the programs that tests run too, and say where they are
    #[arg(long, conflicts_with = "check")]
    tools: bool,
}

/// The command.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    if arguments.tools {
        println!("{}", tools::ensure()?);
        return Ok(());
    }
    let missing = needs::missing(arguments.purpose)?;
    if missing.is_empty() {
        println!("setup: everything is there");
        return Ok(());
    }
    if arguments.check {
        anyhow::bail!("{}", install::instructions(&missing));
    }
    install::install(&missing)?;
    confirm(arguments.purpose)
}

/// Makes sure that everything for `purpose` is there; says nothing if it is.
pub(crate) fn ensure(purpose: Purpose) -> Result<()> {
    let missing = needs::missing(purpose)?;
    if missing.is_empty() {
        return Ok(());
    }
    install::install(&missing)?;
    confirm(purpose)
}

/// Makes sure that images can be made; says nothing if they can.
pub(crate) fn ensure_buildah() -> Result<()> {
    ensure_one(Need::BUILDAH)
}

/// Makes sure that images can be run; says nothing if they can.
pub(crate) fn ensure_runc() -> Result<()> {
    ensure_one(Need::RUNC)
}

/// The CNI plugins that the lab runs.
pub(crate) fn cni_plugins() -> Result<Vec<std::path::PathBuf>> {
    needs::cni_plugins().context("there are no CNI plugins here: run `cargo xtask setup`")
}

fn ensure_one(need: Need) -> Result<()> {
    if need.is_there()? { Ok(()) } else { install::install(&[need]) }
}

/// What was installed must be found, or the next run would install it once more.
fn confirm(purpose: Purpose) -> Result<()> {
    let missing = needs::missing(purpose)?;
    if missing.is_empty() {
        println!("setup: everything is there now");
        return Ok(());
    }
    anyhow::bail!("was installed and still isn't found. {}", install::instructions(&missing))
}
