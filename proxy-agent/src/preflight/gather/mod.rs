//! Looks at the machine. Changes nothing, judges nothing.
//!
//! Called by [`crate::cli`] and [`crate::agent`].

mod devices;
mod kernel;
mod ports;
mod stack;

use super::{
    Facts,
    facts::{KubeProxy, Places},
};
use crate::{
    datapath::{kernel::Kernel, object::Rejected, pins::Pins, probe},
    kube_proxy,
    options::Options,
};

/// Where it is known which programs the verifier refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verifier {
    /// The agent has loaded them.
    Asked {
        /// Those that were refused.
        rejected: Vec<Rejected>,
        /// The ids of the others: they may be at the hooks by now.
        loaded: Vec<u32>,
    },
    /// It has to be asked.
    Ask,
}

/// Everything that matters to an agent with these options.
#[must_use]
pub fn look(options: &Options, verifier: Verifier) -> Facts {
    let capabilities = kernel::capabilities();
    let pins = Pins::new(&options.pin_path);
    let may_load = capabilities.bpf && capabilities.net_admin;
    let kernel = Kernel::probe();
    let features = if may_load { kernel.findings() } else { Vec::new() };
    let mut own = probe::own_programs(&pins);
    let programs = match verifier {
        Verifier::Asked { rejected, loaded } => {
            own.extend(loaded);
            Some(Ok(rejected))
        }
        Verifier::Ask if may_load => {
            Some(probe::verify(&kernel).map_err(|error| error.to_string()))
        }
        Verifier::Ask => None,
    };
    let (places, cgroup) = kernel::places(options);
    let helpers = if may_load { probe::probe_helpers() } else { Vec::new() };
    let devices = devices::look(&options.devices);
    let hooks = devices::hooks(&devices, cgroup.as_ref());
    // An agent may have attached some of them meanwhile.
    own.extend(probe::own_programs(&pins));
    Facts {
        kernel: kernel::kernel(features),
        capabilities,
        places: Places { cgroup: places.0, bpffs: places.1 },
        hooks: devices::of_others(hooks, &own),
        helpers,
        programs,
        kube_proxy: kube_proxy(),
        ports: ports::look(options),
        stack: stack::look(&devices),
    }
}

fn kube_proxy() -> KubeProxy {
    let found = kube_proxy::find();
    let mut unknown = found.unknown.clone();
    let running = kube_proxy::running().unwrap_or_else(|error| {
        unknown.push(format!("processes can't be listed: {error}"));
        Vec::new()
    });
    KubeProxy {
        running,
        sees_all: kube_proxy::process::sees_all(),
        rules: found.in_words(),
        unknown,
    }
}
