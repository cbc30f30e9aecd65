//! `cargo xtask bench control-plane`: full sync, one change, a storm of changes and memory, beside
//! the real kube-proxy. The measuring is done by `tests/src/bin/sluice-bench-control`.

use std::ffi::{OsStr, OsString};

use anyhow::Result;

use super::rows::Bench;

const BINARY: &str = "sluice-bench-control";

/// The short form.
pub(super) const QUICK: &[&str] =
    &["--sizes", "100,1000", "--runs", "1", "--changes", "5", "--storm", "10"];

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// What to measure otherwise than by default: see `target/release/sluice-bench-control --help`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "FLAGS")]
    pub(super) more: Vec<OsString>,
}

pub(super) fn run(more: &[impl AsRef<OsStr>]) -> Result<()> {
    super::beside_kube_proxy(BINARY, Bench::ControlPlane, more)
}
