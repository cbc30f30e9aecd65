//! `cargo xtask bench`: one bench a file. The measuring is done by programs of the lab, which these
//! build, run as root, and say where the figures are.

mod control_plane;
mod packets;
mod traffic;

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result};

use crate::workspace;

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
