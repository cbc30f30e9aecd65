//! Ports that several want.

use std::ops::RangeInclusive;

use super::super::{Finding, facts::Ports};
use crate::{host::sysctl, options::Options};

/// Ports of NodePorts unless the API server says otherwise (`--service-node-port-range`).
pub(in crate::preflight) const NODE_PORTS: RangeInclusive<u16> = 30_000..=32_767;

pub(super) fn judge(ports: &Ports, options: &Options) -> Vec<Finding> {
    [listening(ports), node_ports(ports, options), masquerade(ports, options)].concat()
}

fn listening(ports: &Ports) -> Vec<Finding> {
    const CHECK: &str = "listen-ports";
    if ports.taken.is_empty() {
        return vec![Finding::ok(CHECK, "nobody else has the ports of health and metrics")];
    }
    let found = ports.taken.iter().map(|taken| {
        let found = format!("{} is used by {}", taken.address, taken.holder);
        let flag = taken.flag;
        Finding::warning(CHECK, found).then(format!(
            "the agent serves traffic without it and tries again until it has it: end the other, or \
             give another --{flag}"
        ))
    });
    found.collect()
}

fn node_ports(ports: &Ports, options: &Options) -> Vec<Finding> {
    const CHECK: &str = "node-ports";
    let (first, last) = (NODE_PORTS.start(), NODE_PORTS.end());
    let mut findings = Vec::new();
    if !ports.node_ports.is_empty() {
        let listed: Vec<String> =
            ports.node_ports.iter().map(|(protocol, port)| format!("{port}/{protocol}")).collect();
        findings.push(
            Finding::note(
                CHECK,
                format!("sockets of the node listen on {}, of {first}-{last}", listed.join(", ")),
            )
            .then(
                "a NodePort or a health check of that number hides them from other machines, or \
                 can't be had: `ss -lntup` names whose they are",
            ),
        );
    }
    if let Some(local) = &ports.local
        && let Some(both) = overlap(local, &NODE_PORTS)
        && !sysctl::covers(&ports.reserved, &both)
    {
        findings.push(
            Finding::note(
                CHECK,
                format!(
                    "{} {}-{} has ports of NodePorts: {}-{}",
                    sysctl::LOCAL_PORTS,
                    local.start(),
                    local.end(),
                    both.start(),
                    both.end()
                ),
            )
            .then(format!(
                "a connection of the node may be given one; list them in {}",
                sysctl::RESERVED_PORTS
            )),
        );
    }
    if let Some(both) = overlap(&options.services.masquerade_ports, &NODE_PORTS) {
        findings.push(
            Finding::warning(
                CHECK,
                format!(
                    "--masquerade-ports {}-{} has ports of NodePorts: {}-{}",
                    options.services.masquerade_ports.start(),
                    options.services.masquerade_ports.end(),
                    both.start(),
                    both.end()
                ),
            )
            .then("ports that are NodePorts are passed over: choose others"),
        );
    }
    if findings.is_empty() {
        findings.push(Finding::ok(CHECK, format!("nobody has ports of {first}-{last}")));
    }
    findings
}

fn masquerade(ports: &Ports, options: &Options) -> Vec<Finding> {
    const CHECK: &str = "masquerade-ports";
    let wanted = &options.services.masquerade_ports;
    let both = ports.local.as_ref().and_then(|local| {
        let both = overlap(local, wanted)?;
        (!sysctl::covers(&ports.reserved, &both)).then_some((local, both))
    });
    vec![match both {
        None => Finding::ok(CHECK, format!("{}-{} are free", wanted.start(), wanted.end())),
        Some((local, both)) => Finding::warning(
            CHECK,
            format!(
                "--masquerade-ports {}-{} and {} {}-{} have ports {}-{} in common",
                wanted.start(),
                wanted.end(),
                sysctl::LOCAL_PORTS,
                local.start(),
                local.end(),
                both.start(),
                both.end(),
            ),
        )
        .then(format!(
            "a connection of the node's own may be given one that a masqueraded flow uses; keep \
             them apart, or list the ports in {}",
            sysctl::RESERVED_PORTS
        )),
    }]
}

fn overlap(one: &RangeInclusive<u16>, other: &RangeInclusive<u16>) -> Option<RangeInclusive<u16>> {
    let (first, last) = (*one.start().max(other.start()), *one.end().min(other.end()));
    (first <= last).then_some(first..=last)
}
