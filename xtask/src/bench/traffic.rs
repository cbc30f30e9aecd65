//! `cargo xtask bench traffic`: connections, datagrams and bytes through Services, beside no proxy and
//! the real kube-proxy. The measuring is done by `tests/src/bin/sluice-bench-traffic`.

use std::ffi::OsString;

use anyhow::Result;

const BINARY: &str = "sluice-bench-traffic";

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// What to measure otherwise than by default: see `target/release/sluice-bench-traffic --help`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "FLAGS")]
    more: Vec<OsString>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    super::beside_kube_proxy(BINARY, "traffic.json", &arguments.more)
}
