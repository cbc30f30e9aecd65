//! `sluice cleanup`: takes away everything under a pin path, and says what that was.
//!
//! JSON: [`Removed`].

use clap::Args;
use rustix::net::{AddressFamily, SocketType, netdevice::index_to_name, socket};

use super::{
    CliError, PinArgs, at_pins,
    output::{Format, show},
};
use crate::{
    datapath::cleanup::{self, Removed},
    host::lock::{self, LockError},
};

#[derive(Debug, Args)]
pub(super) struct CleanupArgs {
    #[command(flatten)]
    pins: PinArgs,
    /// Remove it even if an agent runs; end the agent then, it serves nothing any more
    #[arg(long)]
    force: bool,
    /// How to show what was removed
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    output: Format,
}

pub(super) fn run(args: &CleanupArgs) -> Result<(), CliError> {
    let pins = args.pins.pins()?;
    let root = pins.root();
    let exists = root.try_exists().map_err(at_pins(root))?;
    let removed = if exists {
        let lock = match lock::take(root) {
            Ok(lock) => Some(lock),
            Err(LockError::Held { .. }) if args.force => None,
            Err(LockError::Held { path, holder }) => {
                return Err(CliError::AgentRuns { path, holder });
            }
            Err(error) => return Err(error.into()),
        };
        // The lock holds the directory open, and with it a bpffs that is mounted there.
        cleanup::run(&pins, device_name, || drop(lock))?
    } else {
        Removed::default()
    };
    show(args.output, &removed, text)
}

fn device_name(ifindex: u32) -> Option<String> {
    let socket = socket(AddressFamily::INET, SocketType::DGRAM, None).ok()?;
    index_to_name(socket, ifindex).ok()
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
    list("removed map", &removed.maps);
    list("removed", &removed.others);
    list("removed directory", &removed.directories);
    if let Some(mount) = &removed.mount {
        text.push_str(&format!("unmounted {}\n", mount.display()));
    }
    text
}
