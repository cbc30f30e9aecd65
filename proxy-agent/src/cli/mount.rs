//! `sluice mount`: mounts what the agent needs and the host lacks, the BPF file system and cgroup
//! v2; also from inside a container, on the host outside.
//!
//! The agent's own container need not be allowed to mount anything then: that is what the chart's
//! init container is for. Nothing that is there is touched.

use std::path::PathBuf;

use clap::Args;

use super::{CliError, PinArgs, output};
use crate::host::{
    bpffs::{self, Outcome},
    cgroup_mount, namespaces,
};

#[derive(Debug, Args)]
pub(super) struct MountArgs {
    #[command(flatten)]
    pins: PinArgs,
    /// Where cgroup v2 is to be found afterwards, for --cgroup-root of the agent
    #[arg(long, value_name = "DIR", default_value = "/run/sluice/cgroup")]
    cgroup_root: PathBuf,
    /// The directory /proc/1/ns of the host, when this runs in a container [default: mount here]
    #[arg(long, value_name = "DIR")]
    namespaces: Option<PathBuf>,
    /// Take the mount of --cgroup-root away again; the BPF file system stays, others may use it
    #[arg(long)]
    undo: bool,
}

pub(super) fn run(args: &MountArgs) -> Result<(), CliError> {
    let pins = args.pins.pins()?;
    if let Some(directory) = &args.namespaces {
        namespaces::enter(directory)?;
    }
    let cgroup = args.cgroup_root.display();
    let text = if args.undo {
        match cgroup_mount::undo(&args.cgroup_root)? {
            true => format!("unmounted {cgroup}\n"),
            false => format!("{cgroup} was not mounted\n"),
        }
    } else {
        let bpf = match bpffs::ensure(pins.root())? {
            Outcome::Present => format!("bpffs is there for {}", pins.root().display()),
            Outcome::Mounted { at, .. } => format!("mounted bpffs at {}", at.display()),
        };
        let cgroup = match cgroup_mount::ensure(&args.cgroup_root)? {
            true => format!("mounted cgroup v2 at {cgroup}"),
            false => format!("cgroup v2 is there, at {cgroup}"),
        };
        format!("{bpf}\n{cgroup}\n")
    };
    output::print(&text)
}
