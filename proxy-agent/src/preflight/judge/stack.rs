//! Settings of the network stack, netfilter on bridges, and scopes of the socket path that leave
//! somebody out.

use proxy_common::Scope;

use super::super::{Finding, facts::Stack};
use crate::options::Options;

pub(in crate::preflight) const FORWARD_V4: &str = "net.ipv4.ip_forward";
pub(in crate::preflight) const FORWARD_V6: &str = "net.ipv6.conf.all.forwarding";

pub(super) fn judge(stack: &Stack, options: &Options) -> Vec<Finding> {
    let mut findings = forwarding(stack);
    findings.push(reverse_path(stack));
    findings.push(redirects(stack));
    findings.extend(bridges(stack));
    findings.extend(scopes(options));
    findings
}

fn forwarding(stack: &Stack) -> Vec<Finding> {
    const CHECK: &str = "forwarding";
    let settings = [(FORWARD_V4, "IPv4", stack.forward_v4), (FORWARD_V6, "IPv6", stack.forward_v6)];
    let off = settings.into_iter().filter(|(_, _, on)| *on == Some(false));
    let mut findings: Vec<Finding> = off
        .map(|(name, family, _)| {
            Finding::warning(CHECK, format!("{name} is 0: this node forwards no {family} packets"))
                .then(format!(
                    "pods and machines outside reach no endpoint on another device over {family}; \
                     set it to 1"
                ))
        })
        .collect();
    if findings.is_empty() {
        findings.push(Finding::ok(CHECK, "this node forwards packets"));
    }
    findings
}

/// Routing sees client and endpoint only, so that no filter has anything against it.
fn reverse_path(stack: &Stack) -> Finding {
    let mode = match stack.rp_filter.as_deref() {
        Some("1") => "strict",
        Some("2") => "loose",
        _ => "off",
    };
    Finding::ok("reverse-path", format!("the reverse path filter is {mode}; any mode will do"))
}

fn redirects(stack: &Stack) -> Finding {
    const CHECK: &str = "redirects";
    if stack.send_redirects == Some(true) {
        Finding::note(CHECK, "net.ipv4.conf.all.send_redirects is 1").then(
            "ICMP redirects about translated packets are dropped; 0 spares the kernel the work",
        )
    } else {
        Finding::ok(CHECK, "the node sends no ICMP redirects")
    }
}

fn bridges(stack: &Stack) -> Vec<Finding> {
    const CHECK: &str = "bridges";
    if stack.bridges.is_empty() {
        return vec![Finding::ok(CHECK, "no pods are behind a bridge")];
    }
    let names = stack.bridges.join(", ");
    let off: Vec<&str> = [
        ("net.bridge.bridge-nf-call-iptables", stack.bridge_nf_v4),
        ("net.bridge.bridge-nf-call-ip6tables", stack.bridge_nf_v6),
    ]
    .into_iter()
    .filter(|(_, on)| *on != Some(true))
    .map(|(name, _)| name)
    .collect();
    if off.is_empty() {
        return vec![Finding::ok(CHECK, format!("{names}: netfilter sees what is switched"))];
    }
    let found = format!("pods are behind {names}, and {} are not 1", off.join(" and "));
    vec![match (&stack.unknown, stack.drops_invalid.as_slice()) {
        (Some(why), _) => Finding::note(CHECK, format!("{found}; rules can't be looked at: {why}"))
            .then(
                "a ruleset that drops `ct state invalid` would break TCP between pods of one \
                 bridge on the packet path: set them to 1 (docs/cni/README.md)",
            ),
        (None, []) => {
            Finding::note(CHECK, format!("{found}; no rule of nftables drops `ct state invalid`"))
                .then("set them to 1 before such a rule comes (docs/cni/README.md)")
        }
        (None, chains) => Finding::warning(
            CHECK,
            format!("{found}; these chains drop `ct state invalid`: {}", chains.join(", ")),
        )
        .then(
            "TCP between pods of one bridge breaks where it goes packet by packet: load \
             br_netfilter and set them to 1, or remove the rules (docs/cni/README.md)",
        ),
    }]
}

fn scopes(options: &Options) -> Vec<Finding> {
    const CHECK: &str = "scopes";
    if options.shadow {
        return vec![Finding::ok(CHECK, "a shadow serves nobody")];
    }
    let scopes = [
        ("TCP", "--socket-lb-tcp", options.services.socket_lb_tcp),
        ("UDP", "--socket-lb-udp", options.services.socket_lb_udp),
    ];
    let off = scopes.into_iter().filter(|(_, _, scope)| *scope == Scope::Off);
    let mut findings: Vec<Finding> = off
        .map(|(protocol, flag, _)| {
            Finding::warning(
                CHECK,
                format!(
                    "{flag} off: processes of the node itself (kubelet, pods with hostNetwork) \
                     reach no Service over {protocol}"
                ),
            )
            .then(format!("what they send crosses no device of a pod; give {flag} host"))
        })
        .collect();
    if findings.is_empty() {
        findings.push(Finding::ok(CHECK, "processes of the node are served over TCP and UDP"));
    }
    findings
}
