//! The kernel, and what this process may ask of it.

use super::{
    super::{
        Finding,
        facts::{Capabilities, Kernel},
    },
    hooks::TCX,
};
use crate::datapath::kernel::Finding as Feature;

pub(super) fn judge(kernel: &Kernel, capabilities: Capabilities) -> Vec<Finding> {
    let mut findings = vec![Finding::ok("kernel", format!("Linux {}", kernel.release))];
    findings.push(if kernel.btf {
        Finding::ok("btf", "/sys/kernel/btf/vmlinux is there")
    } else {
        Finding::note("btf", "/sys/kernel/btf/vmlinux is not there")
            .then("nothing of Sluice needs it; maps carry type information of their own")
    });
    findings.extend(features(kernel));
    findings.extend(capability_findings(capabilities));
    findings
}

/// What not every kernel has. TCX is looked at where it is asked for, see [`super::hooks`].
fn features(kernel: &Kernel) -> Vec<Finding> {
    const CHECK: &str = "kernel-features";
    if kernel.features.is_empty() {
        return vec![
            Finding::note(CHECK, "the kernel could not be asked what it has")
                .then("CAP_BPF and CAP_NET_ADMIN are needed for that"),
        ];
    }
    let others = kernel.features.iter().filter(|feature| feature.feature != TCX);
    others
        .map(|Feature { feature, since, present, way }| match present {
            true => Finding::ok(CHECK, format!("{feature}: {way}")),
            false => Finding::note(CHECK, format!("this kernel has no {feature} (Linux {since})"))
                .then(way.as_str()),
        })
        .collect()
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
