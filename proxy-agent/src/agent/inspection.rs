//! The agent looks at the node as `sluice preflight` does, says what it does without, and goes on.
//!
//! On a thread of its own: a ruleset or a cgroup may be large, and serving doesn't wait for it. The
//! verifier isn't asked again. Called by [`crate::agent`] once, at the start.

use std::{io, thread};

use super::introspect::State;
use crate::{
    datapath::Datapath,
    options::Options,
    preflight::{
        Finding, Level,
        gather::{self, Verifier},
        judge,
    },
};

/// What the agent has told already, where it loaded the programs.
const TOLD: [&str; 3] = ["programs", "kernel-features", "device-hook"];

/// Looks, logs, and tells `state`.
pub(super) fn start(options: Options, datapath: &Datapath, state: State) -> io::Result<()> {
    let verifier =
        Verifier::Asked { rejected: datapath.rejected().to_vec(), loaded: datapath.program_ids() };
    let inspect = move || {
        let facts = gather::look(&options, verifier);
        let mut findings = judge::judge(&facts, &options);
        findings.retain(|finding| finding.level != Level::Ok);
        findings.iter().filter(|finding| !is_told(finding)).for_each(log);
        let warnings = findings.iter().filter(|finding| is_warning(finding)).map(Finding::text);
        let warnings = warnings.collect();
        state.update(|live| {
            live.warnings = warnings;
            live.findings = Some(findings);
        });
    };
    thread::Builder::new().name("inspection".into()).spawn(inspect).map(drop)
}

fn is_told(finding: &Finding) -> bool {
    TOLD.contains(&finding.check.as_str())
}

fn is_warning(finding: &Finding) -> bool {
    finding.level >= Level::Warning && !is_told(finding)
}

fn log(finding: &Finding) {
    let check = finding.check.as_str();
    match is_warning(finding) {
        true => tracing::warn!(check, "{}", finding.text()),
        false => tracing::info!(check, "{}", finding.text()),
    }
}
