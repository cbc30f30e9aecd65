//! How programs are attached, and whose programs are at the same hooks.

use super::{
    super::{
        Finding,
        facts::{DeviceNeighbour, Hooks, Kernel},
    },
    programs::without_socket,
};
use crate::{
    datapath::{
        DeviceHook,
        probe::{Attached, CgroupHook, Probe},
        program::{DeviceProgram, SocketProgram},
    },
    options::Options,
};

/// Service proxies by the names of their programs: what they begin with, whose they are, what to
/// do.
const PROXIES: &[(&str, &str, &str)] = &[
    (
        "cil_",
        "Cilium",
        "two proxies translate the same connections unless its replacement of kube-proxy and its \
         socket load balancer are off: docs/cni/cilium.md",
    ),
    (
        "cali",
        "Calico's eBPF dataplane",
        "it translates Services itself: run Calico with another dataplane, or do without Sluice \
         (docs/cni/calico.md)",
    ),
];

/// The feature of a kernel, by name.
pub(super) const TCX: &str = "tcx";

pub(super) fn judge(kernel: &Kernel, hooks: &Hooks, options: &Options) -> Vec<Finding> {
    let mut findings = vec![tcx(kernel, options.device_hook)];
    findings.extend(cgroup(hooks, options));
    findings.extend(devices(hooks));
    findings
}

fn tcx(kernel: &Kernel, hook: DeviceHook) -> Finding {
    const CHECK: &str = "device-hook";
    let Some(tcx) = kernel.features.iter().find(|feature| feature.feature == TCX) else {
        return Finding::note(CHECK, "the kernel could not be asked for TCX")
            .then("the agent tries it, and clsact if it isn't there");
    };
    let none = format!("this kernel has no TCX (Linux {})", tcx.since);
    match (hook, tcx.present) {
        (DeviceHook::Clsact, _) => Finding::ok(CHECK, "clsact, as --device-hook says"),
        (_, true) => Finding::ok(CHECK, "TCX links"),
        (DeviceHook::Tcx, false) => {
            Finding::problem(CHECK, format!("--device-hook tcx, and {none}"))
                .then("leave the flag out: clsact is used then")
        }
        (DeviceHook::Auto, false) => Finding::note(CHECK, none).then(tcx.way.as_str()),
    }
}

fn cgroup(hooks: &Hooks, options: &Options) -> Vec<Finding> {
    const HOOKS: &str = "cgroup-hooks";
    const PROGRAMS: &str = "cgroup-programs";
    let wanted = |program: &SocketProgram| match program.protects_binds() {
        true => options.bind_protection,
        false => options.services.has_socket_path(),
    };
    let mut findings = Vec::new();
    let mut there = 0;
    let mut neighbours = 0;
    for (program, looked) in hooks.cgroup.iter().filter(|(program, _)| wanted(program)) {
        let name = program.name();
        match looked {
            Ok(hook) => {
                there += 1;
                neighbours += hook.programs.len();
                findings.extend(neighbour(*program, hook));
            }
            Err(Probe::Unknown(why)) => findings.push(Finding::note(
                HOOKS,
                format!("whether there is the hook {name} can't be told: {why}"),
            )),
            Err(_) => findings.push(
                Finding::warning(HOOKS, format!("this kernel has no hook {name}"))
                    .then(without_socket(*program)),
            ),
        }
    }
    if there > 0 {
        findings.insert(0, Finding::ok(HOOKS, format!("{there} hooks of the cgroup are there")));
        if neighbours == 0 {
            findings.insert(1, Finding::ok(PROGRAMS, "no programs of others are at them"));
        }
    }
    findings
}

fn neighbour(program: SocketProgram, hook: &CgroupHook) -> Option<Finding> {
    const CHECK: &str = "cgroup-programs";
    if hook.programs.is_empty() {
        return None;
    }
    let name = program.name();
    let names: Vec<String> = hook.programs.iter().map(named).collect();
    let found = format!("at {name} of the cgroup: {}", names.join(", "));
    let proxy = hook.programs.iter().find_map(|it| proxy(it.name.as_deref()));
    Some(if !hook.shared {
        Finding::warning(CHECK, format!("{found}, attached so that nobody may be beside"))
            .then(format!("{}; have it attached with BPF_F_ALLOW_MULTI", without_socket(program)))
    } else if let Some((whose, then)) = proxy {
        Finding::warning(CHECK, format!("{found}: {whose}")).then(then)
    } else {
        Finding::note(CHECK, found).then(
            "programs of a hook run one after the other; those that were attached before see the \
             Service, those after see the endpoint",
        )
    })
}

fn devices(hooks: &Hooks) -> Vec<Finding> {
    const CHECK: &str = "device-programs";
    if let Some(why) = &hooks.unknown {
        return vec![Finding::note(CHECK, format!("devices can't be looked at: {why}"))];
    }
    if hooks.devices.is_empty() {
        return vec![Finding::ok(CHECK, "no programs of others are at devices")];
    }
    // A node has hundreds of pods' devices: one finding for each program name.
    let mut groups: Vec<(Option<&str>, Vec<&DeviceNeighbour>)> = Vec::new();
    for neighbour in &hooks.devices {
        let name = neighbour.name.as_deref();
        match groups.iter_mut().find(|(other, _)| *other == name) {
            Some((_, group)) => group.push(neighbour),
            None => groups.push((name, vec![neighbour])),
        }
    }
    groups.iter().map(|(name, group)| device_group(*name, group)).collect()
}

fn device_group(name: Option<&str>, group: &[&DeviceNeighbour]) -> Finding {
    const CHECK: &str = "device-programs";
    const SHOWN: usize = 3;
    let mut places: Vec<String> = group
        .iter()
        .take(SHOWN)
        .map(|it| format!("{} {} ({}, id {})", it.device, it.direction.name(), it.by, it.id))
        .collect();
    if group.len() > SHOWN {
        places.push(format!("and {} more", group.len() - SHOWN));
    }
    let found = format!("{} at {}", name.unwrap_or("a program without a name"), places.join(", "));
    if name.is_some_and(|name| DeviceProgram::ALL.iter().any(|one| one.name() == name)) {
        Finding::warning(CHECK, format!("{found}: Sluice's, under another --pin-path"))
            .then("two Sluices translate the same packets: run `sluice cleanup` on the other one")
    } else if let Some((whose, then)) = proxy(name) {
        Finding::warning(CHECK, format!("{found}: {whose}")).then(then)
    } else {
        Finding::note(CHECK, found).then(
            "Sluice comes first at ingress and last at egress, so that it sees client and \
             endpoint; what it passes on by itself is not translated any more: `bpftool net` shows \
             the order",
        )
    }
}

fn named(program: &Attached) -> String {
    match &program.name {
        Some(name) => format!("{name} (id {})", program.id),
        None => format!("id {}", program.id),
    }
}

fn proxy(name: Option<&str>) -> Option<(&'static str, &'static str)> {
    let name = name?;
    PROXIES
        .iter()
        .find(|(prefix, _, _)| name.starts_with(prefix))
        .map(|(_, whose, then)| (*whose, *then))
}
