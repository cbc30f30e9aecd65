//! Facts and options to findings. Pure: the same facts and options give the same findings.
//!
//! Every check gives at least one finding, so that a reader sees what was looked at. Called by
//! [`crate::cli`] and [`crate::agent`].

mod hooks;
mod kernel;
mod kube_proxy;
mod places;
mod ports;
mod programs;
mod stack;
#[cfg(test)]
mod tests;

use super::{Facts, Finding};
use crate::options::Options;

pub(super) use ports::NODE_PORTS;
pub(super) use stack::{FORWARD_V4, FORWARD_V6};

/// What `facts` mean for an agent with these options.
#[must_use]
pub fn judge(facts: &Facts, options: &Options) -> Vec<Finding> {
    [
        kernel::judge(&facts.kernel, facts.capabilities),
        places::judge(&facts.places, facts.capabilities, options),
        programs::judge(facts),
        hooks::judge(&facts.kernel, &facts.hooks, options),
        kube_proxy::judge(&facts.kube_proxy, options),
        ports::judge(&facts.ports, options),
        stack::judge(&facts.stack, options),
    ]
    .concat()
}
