//! `cargo xtask bench traffic`: connections, datagrams and bytes through Services, beside no proxy and
//! the real kube-proxy. The measuring is done by `tests/src/bin/sluice-bench-traffic`.

use std::ffi::OsString;

use anyhow::Result;

use crate::{process, setup, workspace};

const BINARY: &str = "sluice-bench-traffic";

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// What to measure otherwise than by default: see `target/release/sluice-bench-traffic --help`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "FLAGS")]
    more: Vec<OsString>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    setup::ensure(setup::Purpose::Test)?;
    let tools = setup::tools::ensure()?;
    process::run(&mut process::cargo([
        "build",
        "--release",
        "-p",
        "tests",
        "--bin",
        BINARY,
        "-p",
        "proxy-agent",
        "--bin",
        "sluice",
    ]))?;
    let json = super::directory()?.join("traffic.json");
    println!("figures go to {}", json.display());
    let binaries = workspace::target().join("release");
    // sudo keeps no variables of ours, `env` sets them again.
    let mut words: Vec<OsString> = Vec::new();
    for (variable, place) in tools.variables() {
        words.push(format!("{variable}={}", place.display()).into());
    }
    words.push(binaries.join(BINARY).into());
    words.extend(["--sluice".into(), binaries.join("sluice").into()]);
    words.extend(["--json".into(), json.into()]);
    words.extend(arguments.more.iter().cloned());
    let env = workspace::find_program("env").unwrap_or_else(|| "env".into());
    Err(process::become_as_root(&env, &words))
}
