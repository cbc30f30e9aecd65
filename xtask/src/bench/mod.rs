//! `cargo xtask bench`: one bench a file. The measuring is done by programs of the lab, which these
//! build, run as root, and say where the figures are.

mod control_plane;
mod packets;
mod traffic;

use std::{ffi::OsString, fs, path::PathBuf};

use anyhow::{Context as _, Result};

use crate::{process, setup, workspace};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// The datapath's programs, packet by packet, in nanoseconds and in hash look-ups' worth
    Packets(packets::Arguments),
    /// A full sync, one change, a storm of changes, memory: beside the real kube-proxy
    ControlPlane(control_plane::Arguments),
    /// Connections, datagrams and bytes through Services: ratios to no proxy, beside the real kube-proxy
    Traffic(traffic::Arguments),
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    match &arguments.what {
        What::Packets(arguments) => packets::run(arguments),
        What::ControlPlane(arguments) => control_plane::run(arguments),
        What::Traffic(arguments) => traffic::run(arguments),
    }
}

/// Where figures go.
fn directory() -> Result<PathBuf> {
    let directory = workspace::target().join("bench");
    fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
    Ok(directory)
}

/// Builds `binary` and the agent for release, and becomes `binary`, as root and with the tools of a
/// cluster: it measures Sluice beside the real kube-proxy. Figures go to the file `json`; `more` are
/// flags of its own.
fn beside_kube_proxy(binary: &str, json: &str, more: &[OsString]) -> Result<()> {
    setup::ensure(setup::Purpose::Test)?;
    let tools = setup::tools::ensure()?;
    process::run(&mut process::cargo([
        "build",
        "--release",
        "-p",
        "tests",
        "--bin",
        binary,
        "-p",
        "proxy-agent",
        "--bin",
        "sluice",
    ]))?;
    let json = directory()?.join(json);
    println!("figures go to {}", json.display());
    let binaries = workspace::target().join("release");
    // sudo keeps no variables of ours, `env` sets them again.
    let mut words: Vec<OsString> = Vec::new();
    for (variable, place) in tools.variables() {
        words.push(format!("{variable}={}", place.display()).into());
    }
    words.push(binaries.join(binary).into());
    words.extend(["--sluice".into(), binaries.join("sluice").into()]);
    words.extend(["--json".into(), json.into()]);
    words.extend(more.iter().cloned());
    let env = workspace::find_program("env").unwrap_or_else(|| "env".into());
    Err(process::become_as_root(&env, &words))
}
