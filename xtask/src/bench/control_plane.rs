//! `cargo xtask bench control-plane`: full sync, one change, a storm of changes and memory, beside
//! the real kube-proxy. The measuring is done by `tests/src/bin/sluice-bench-control`.

use std::ffi::OsString;

use anyhow::Result;

const BINARY: &str = "sluice-bench-control";

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// What to measure otherwise than by default: see `target/release/sluice-bench-control --help`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "FLAGS")]
    more: Vec<OsString>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    super::beside_kube_proxy(BINARY, "control-plane.json", &arguments.more)
}
