//! What a kernel lets Sluice say to who asks for what is refused or dropped. Where packets are
//! refused or dropped, every kernel is alike; a call that fails at its socket needs `bpf_set_retval`
//! (Linux 5.18) to fail as it should (ADR 0021).

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use lab::probe::Trouble;
use serde_json::Value;

/// What becomes of a packet, or of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Reject,
    Drop,
}

/// The call that meets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    /// `connect()`, or a datagram after it.
    Connect,
    /// A datagram to an address.
    Sendmsg,
}

/// Which errnos a call at its socket can fail with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Errnos {
    Any,
    /// `EPERM`, and `ECONNREFUSED` of `connect()` since nobody has port 0.
    BeforeSetRetval,
}

impl Errnos {
    /// What the agent found, as its `status` says.
    pub(crate) fn of(status: &Value) -> Result<Self> {
        Ok(if features(status)?["set-retval"] { Self::Any } else { Self::BeforeSetRetval })
    }

    /// What a call fails with that is served at its socket.
    pub(crate) fn at_the_socket(self, call: Call, verdict: Verdict) -> Trouble {
        match (self, call, verdict) {
            (Self::Any, _, _) => on_the_wire(verdict),
            (Self::BeforeSetRetval, Call::Connect, _) => Trouble::Refused,
            (Self::BeforeSetRetval, Call::Sendmsg, _) => Trouble::NotPermitted,
        }
    }
}

/// What a call comes to whose packets are refused or dropped.
pub(crate) fn on_the_wire(verdict: Verdict) -> Trouble {
    match verdict {
        Verdict::Reject => Trouble::Refused,
        Verdict::Drop => Trouble::TimedOut,
    }
}

/// Which of the features that kernels differ in this one has, as `status` says.
pub(crate) fn features(status: &Value) -> Result<BTreeMap<String, bool>> {
    let found = status["agent"]["says"]["kernel"].as_array().context("no findings")?;
    let features: BTreeMap<_, _> = found
        .iter()
        .filter_map(|one| Some((one["feature"].as_str()?.to_owned(), one["present"].as_bool()?)))
        .collect();
    for name in ["netns-cookie", "set-retval", "tcx", "ticks", "csum-ipv6"] {
        ensure!(features.contains_key(name), "nothing is said of {name}: {features:?}");
    }
    println!("{features:?}");
    Ok(features)
}
