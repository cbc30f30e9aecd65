//! `sluice cleanup`: takes away everything under a pin path, and says what that was.
//!
//! JSON: [`Removed`]. With `--kube-proxy` it is about something else, see [`kube_proxy`].

mod kube_proxy;

use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

use clap::Args;

use super::{
    CliError, PinArgs, at_pins, installed_maps,
    output::{Format, show},
};
use crate::{
    agent::AgentError,
    datapath::cleanup::{self, Removed},
    flows::drain,
    host::{
        lock::{self, Lock, LockError},
        netns,
    },
    options::Span,
};

/// How often a running agent is looked for while it is waited for.
const PAUSE: Duration = Duration::from_millis(200);

#[derive(Debug, Args)]
pub(super) struct CleanupArgs {
    #[command(flatten)]
    pins: PinArgs,
    /// Remove it even if an agent runs; end the agent then, it serves nothing any more
    #[arg(long)]
    force: bool,
    /// How long to wait for a running agent to end [default: not at all]
    #[arg(long, value_name = "DURATION", conflicts_with = "force")]
    wait: Option<Span>,
    #[command(flatten)]
    kube_proxy: kube_proxy::KubeProxyArgs,
    /// First leave new connections to the proxy that follows, and wait until those that the packet
    /// path serves are over, at most this long [default: not at all]
    #[arg(long, value_name = "DURATION", conflicts_with_all = ["force", "kube_proxy"])]
    drain: Option<Span>,
    /// How to show what was removed
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    output: Format,
}

pub(super) fn run(args: &CleanupArgs) -> Result<(), CliError> {
    let patience = args.wait.map(Span::get).unwrap_or_default();
    if args.kube_proxy.is_asked_for() {
        return kube_proxy::run(&args.kube_proxy, args.force, patience, args.output);
    }
    let pins = args.pins.pins()?;
    let root = pins.root();
    let exists = root.try_exists().map_err(at_pins(root))?;
    let removed = if exists {
        let lock = match take(root, patience) {
            Ok(lock) => Some(lock),
            Err(LockError::Held { .. }) if args.force => None,
            Err(LockError::Held { path, holder }) => {
                return Err(CliError::AgentRuns { path, holder });
            }
            Err(error) => return Err(error.into()),
        };
        if let (Some(patience), Ok(maps)) = (args.drain, installed_maps(&pins)) {
            let left = drain::drain(&maps, patience.get(), |flows| {
                eprintln!("{flows} connections of the packet path are open");
            })
            .map_err(AgentError::from)?;
            if left > 0 {
                eprintln!("{left} connections are interrupted now");
            }
        }
        // The lock holds the directory open, and with it a bpffs that is mounted there.
        cleanup::run(&pins, netns::device_name, || drop(lock))?
    } else {
        Removed::default()
    };
    show(args.output, &removed, text)
}

/// Takes the lock, if need be when the agent that has it ends, for as long as `patience` lasts.
fn take(root: &Path, patience: Duration) -> Result<Lock, LockError> {
    let start = Instant::now();
    loop {
        match lock::take(root) {
            Err(LockError::Held { .. }) if start.elapsed() < patience => thread::sleep(PAUSE),
            result => return result,
        }
    }
}

fn text(removed: &Removed) -> String {
    if removed.is_empty() {
        return "Nothing was installed.".into();
    }
    let mut text = String::new();
    let mut list = |what: &str, paths: &[std::path::PathBuf]| {
        for path in paths {
            text.push_str(&format!("{what} {}\n", path.display()));
        }
    };
    list("detached", &removed.links);
    list("detached filter", &removed.filters);
    list("removed the qdisc of", &removed.qdiscs);
    list("removed map", &removed.maps);
    list("removed", &removed.others);
    list("removed directory", &removed.directories);
    if let Some(mount) = &removed.mount {
        text.push_str(&format!("unmounted {}\n", mount.display()));
    }
    text
}
