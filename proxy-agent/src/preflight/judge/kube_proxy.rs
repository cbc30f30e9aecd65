//! kube-proxy: running, or with rules left.

use super::super::{Finding, facts::KubeProxy};
use crate::options::{Options, UnknownConnections};

pub(super) fn judge(facts: &KubeProxy, options: &Options) -> Vec<Finding> {
    const CHECK: &str = "kube-proxy";
    const RULES: &str = "kube-proxy-rules";
    let there = !facts.running.is_empty() || !facts.rules.is_empty();
    let refuses = options.services.unknown_connections == UnknownConnections::Refuse;
    let mut findings = Vec::new();
    for process in &facts.running {
        let found = format!("kube-proxy runs, process {} (`{}`)", process.pid, process.command);
        findings.push(if options.shadow {
            Finding::ok(CHECK, format!("{found}, beside a shadow"))
        } else {
            Finding::warning(CHECK, found).then(
                "Sluice comes first, and both masquerade: end kube-proxy when Sluice serves \
                 (docs/migration.md)",
            )
        });
    }
    if facts.running.is_empty() {
        findings.push(if facts.sees_all {
            Finding::ok(CHECK, "it does not run")
        } else {
            Finding::note(CHECK, "no process of it is seen, and not all processes are seen")
                .then("look from the host: pgrep kube-proxy")
        });
    }
    if facts.rules.is_empty() && facts.unknown.is_empty() {
        findings.push(Finding::ok(RULES, "there are none"));
    } else if !facts.rules.is_empty() {
        let found = facts.rules.join(", ");
        let then = match facts.running.is_empty() {
            true => {
                "they match nothing that Sluice has translated; once connections of kube-proxy's \
                 time have ended, remove them: sluice cleanup --kube-proxy"
            }
            false => "they are kept up to date by the kube-proxy that runs",
        };
        findings.push(Finding::note(RULES, found).then(then));
    }
    for unknown in &facts.unknown {
        findings.push(Finding::note(RULES, unknown.as_str()));
    }
    if there && refuses && !options.shadow {
        findings.push(Finding::note(RULES, "--unknown-connections refuse").then(
            "connections that kube-proxy has set up are reset by this node: give \
                 --unknown-connections pass until they have ended",
        ));
    }
    findings
}
