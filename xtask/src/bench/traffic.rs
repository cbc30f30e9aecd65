//! `cargo xtask bench traffic`: connections, datagrams and bytes through Services, beside no proxy and
//! the real kube-proxy. The measuring is done by `tests/src/bin/sluice-bench-traffic`.

use std::ffi::{OsStr, OsString};

use anyhow::Result;

use super::rows::Bench;

const BINARY: &str = "sluice-bench-traffic";

/// The short form.
pub(super) const QUICK: &[&str] = &["--quick"];

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// What to measure otherwise than by default: see `target/release/sluice-bench-traffic --help`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "FLAGS")]
    pub(super) more: Vec<OsString>,
}

pub(super) fn run(more: &[impl AsRef<OsStr>]) -> Result<()> {
    super::beside_kube_proxy(BINARY, Bench::Traffic, more)
}
