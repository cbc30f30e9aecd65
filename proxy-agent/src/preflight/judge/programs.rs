//! Helpers of the kernel, and programs that its verifier refuses: what isn't served without them.

use super::super::{Facts, Finding, Level};
use crate::datapath::{
    object::Rejected,
    probe::Probe,
    program::{DeviceProgram, SocketProgram},
};

pub(super) fn judge(facts: &Facts) -> Vec<Finding> {
    let mut findings = helpers(facts);
    match &facts.programs {
        None => findings.push(
            Finding::note("programs", "the verifier was not asked")
                .then("CAP_BPF and CAP_NET_ADMIN are needed for that"),
        ),
        Some(Err(error)) => findings.push(Finding::problem("programs", error.as_str())),
        Some(Ok(rejected)) => findings.extend(verified(rejected)),
    }
    findings
}

fn helpers(facts: &Facts) -> Vec<Finding> {
    if facts.helpers.is_empty() {
        return vec![
            Finding::note("helpers", "helpers of the kernel were not looked for")
                .then("CAP_BPF and CAP_NET_ADMIN are needed for that"),
        ];
    }
    let mut findings = Vec::new();
    for (helper, probe) in &facts.helpers {
        let (name, since, programs) = (helper.name, helper.since, helper.programs);
        match probe {
            Probe::Yes => {}
            Probe::No => findings.push(
                Finding::note(
                    "helpers",
                    format!("{name} (Linux {since}) is missing for {programs}"),
                )
                .then("the findings on programs say what isn't served without it"),
            ),
            Probe::Unknown(why) => findings.push(Finding::note(
                "helpers",
                format!("whether there is {name} for {programs} can't be told: {why}"),
            )),
        }
    }
    if findings.is_empty() {
        let count = facts.helpers.len();
        findings.push(Finding::ok("helpers", format!("all {count} that programs call")));
    }
    findings
}

fn verified(rejected: &[Rejected]) -> Vec<Finding> {
    let all = SocketProgram::ALL.len() + DeviceProgram::ALL.len();
    if rejected.is_empty() {
        return vec![Finding::ok("programs", format!("the verifier takes all {all}"))];
    }
    if rejected.len() >= all {
        let reason = rejected[0].reason.as_str();
        return vec![
            Finding::problem("programs", format!("the verifier refuses every program: {reason}"))
                .then("see the findings on kernel and capabilities"),
        ];
    }
    rejected
        .iter()
        .map(|Rejected { program, reason }| {
            let reason = reason.lines().next().unwrap_or_default();
            let (level, then) = without(program);
            let found = format!("the verifier refuses {program}: {reason}");
            Finding::new("programs", level, found).then(then)
        })
        .collect()
}

/// What isn't served without a program.
fn without(program: &str) -> (Level, String) {
    let device = DeviceProgram::ALL.into_iter().find(|one| one.name() == program);
    let socket = SocketProgram::ALL.into_iter().find(|one| one.name() == program);
    match (device, socket) {
        (Some(one), _) if one.ethernet => (
            Level::Problem,
            "nothing is translated packet by packet: clients outside and pods' UDP reach no Service"
                .into(),
        ),
        (Some(_), _) => (
            Level::Warning,
            "devices without a link layer (tunnels, WireGuard) are not served".into(),
        ),
        (_, Some(one)) => (Level::Warning, without_socket(one).into()),
        (None, None) => (Level::Warning, "this version knows no such program".into()),
    }
}

/// What isn't served without a program of a cgroup.
pub(super) fn without_socket(program: SocketProgram) -> &'static str {
    use SocketProgram as P;
    match program {
        P::Connect4 | P::Connect6 => {
            "processes of the node reach no Service of this family by connect(); pods are served \
             packet by packet"
        }
        P::Sendmsg4 | P::Sendmsg6 | P::Recvmsg4 | P::Recvmsg6 => {
            "unconnected UDP sockets of the node reach no Service of this family"
        }
        P::Getpeername4 | P::Getpeername6 => {
            "getpeername() tells the endpoint in place of the Service"
        }
        P::SockRelease => {
            "what is remembered of a socket goes when its table needs room, not when it is closed"
        }
        P::Bind4 | P::Bind6 => "processes of the node may bind a NodePort",
    }
}
