//! The kernel, and what this process may ask of it.

use super::super::{
    Finding,
    facts::{Capabilities, Kernel},
};

pub(super) fn judge(kernel: &Kernel, capabilities: Capabilities) -> Vec<Finding> {
    let mut findings = vec![Finding::ok("kernel", format!("Linux {}", kernel.release))];
    findings.push(if kernel.btf {
        Finding::ok("btf", "/sys/kernel/btf/vmlinux is there")
    } else {
        Finding::note("btf", "/sys/kernel/btf/vmlinux is not there")
            .then("nothing of Sluice needs it; maps carry type information of their own")
    });
    findings.push(match &kernel.no_netns_cookie {
        None => Finding::ok("network-namespace", "SO_NETNS_COOKIE tells the node from its pods"),
        Some(error) => Finding::problem("network-namespace", format!("SO_NETNS_COOKIE: {error}"))
            .then("run Linux 5.14 or later"),
    });
    findings.extend(capability_findings(capabilities));
    findings
}

fn capability_findings(capabilities: Capabilities) -> Vec<Finding> {
    let mut findings = Vec::new();
    let all = [
        ("BPF", capabilities.bpf, "no map can be created and no program loaded"),
        ("NET_ADMIN", capabilities.net_admin, "no program can be loaded for a network hook"),
    ];
    for (name, _, without) in all.into_iter().filter(|(_, has, _)| !has) {
        findings.push(
            Finding::problem("capabilities", format!("CAP_{name} is missing, so that {without}"))
                .then("run as root, or with the capabilities that docs/security.md lists"),
        );
    }
    if !capabilities.perfmon {
        findings.push(
            Finding::warning("capabilities", "CAP_PERFMON is missing")
                .then("the verifier refuses some programs without it: add it (docs/security.md)"),
        );
    }
    if findings.is_empty() {
        findings.push(Finding::ok("capabilities", "CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON"));
    }
    findings
}
