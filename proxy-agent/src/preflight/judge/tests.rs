//! Each situation on a machine, and what is said of it.

use std::path::PathBuf;

use super::{Facts, Finding, judge};
use crate::{
    datapath::{
        DeviceHook,
        kernel::Kernel,
        object::Rejected,
        probe::{Attached, CgroupHook, Helper, Probe},
        program::{Direction, SocketProgram},
    },
    host::lock::Holder,
    kube_proxy::Process,
    options::{Flags, Options, SocketScope, UnknownConnections},
    preflight::{
        Level, Report, Verdict,
        facts::{Bpffs, Capabilities, Cgroup, DeviceNeighbour, Taken},
    },
};

fn options(flags: Flags) -> Options {
    Flags { node_name: Some("a".into()), ..flags }.resolve().unwrap()
}

/// A machine where nothing is in the way.
fn good() -> Facts {
    let mut facts = Facts::default();
    facts.kernel.release = "6.18.0".into();
    facts.kernel.btf = true;
    facts.places.cgroup =
        Some(Ok(Cgroup { path: "/sys/fs/cgroup".into(), root: true, hybrid: false }));
    facts.kernel.features = Kernel::default().findings();
    facts.hooks.cgroup = SocketProgram::ALL
        .map(|program| (program, Ok(CgroupHook { programs: Vec::new(), shared: true })))
        .to_vec();
    facts.helpers = vec![(HELPER, Probe::Yes)];
    facts.programs = Some(Ok(Vec::new()));
    facts.stack.forward_v4 = Some(true);
    facts
}

const HELPER: Helper = Helper { name: "bpf_redirect", since: "4.4", programs: "programs" };

/// The findings of a check that aren't `ok`.
fn of(facts: &Facts, flags: Flags, check: &str) -> Vec<Finding> {
    let findings = judge(facts, &options(flags));
    let told = |finding: &Finding| finding.check == check && finding.level != Level::Ok;
    findings.into_iter().filter(told).collect()
}

/// The only such finding.
#[track_caller]
fn only(facts: &Facts, flags: Flags, check: &str) -> (Level, String) {
    let found = of(facts, flags, check);
    assert_eq!(found.len(), 1, "{check}: {found:?}");
    (found[0].level, found[0].text())
}

#[test]
fn a_machine_where_nothing_is_in_the_way_is_ready_and_every_check_is_told() {
    let findings = judge(&good(), &options(Flags::default()));
    let checks: Vec<&str> = findings.iter().map(|finding| finding.check.as_str()).collect();
    assert_eq!(
        checks,
        [
            "kernel",
            "btf",
            "kernel-features",
            "kernel-features",
            "kernel-features",
            "kernel-features",
            "capabilities",
            "cgroup",
            "bpffs",
            "helpers",
            "programs",
            "device-hook",
            "cgroup-hooks",
            "cgroup-programs",
            "device-programs",
            "kube-proxy",
            "kube-proxy-rules",
            "listen-ports",
            "node-ports",
            "masquerade-ports",
            "forwarding",
            "reverse-path",
            "redirects",
            "bridges",
            "scopes",
        ]
    );
    assert!(findings.iter().all(|finding| finding.level == Level::Ok), "{findings:?}");
    assert_eq!(Report::new(findings).verdict, Verdict::Ready);
}

#[test]
fn without_capabilities_the_agent_can_not_run_and_each_is_named() {
    let mut facts = good();
    facts.capabilities =
        Capabilities { bpf: false, net_admin: true, perfmon: false, sys_admin: false };
    let found = of(&facts, Flags::default(), "capabilities");
    assert_eq!(found.len(), 2, "{found:?}");
    assert_eq!(found[0].level, Level::Problem);
    assert!(found[0].found.contains("CAP_BPF"));
    assert_eq!(found[1].level, Level::Warning);
    assert!(found[1].found.contains("CAP_PERFMON"));
}

#[test]
fn a_cgroup_that_is_not_the_root_or_is_missing_is_told_by_what_it_costs() {
    let mut facts = good();
    let path = PathBuf::from("/sys/fs/cgroup/pod");
    facts.places.cgroup = Some(Ok(Cgroup { path, root: false, hybrid: false }));
    let (level, text) = only(&facts, Flags::default(), "cgroup");
    assert_eq!(level, Level::Warning);
    assert!(text.contains("/sys/fs/cgroup/pod") && text.contains("--cgroup-root"), "{text}");

    facts.places.cgroup = Some(Err("no cgroup v2 is mounted".into()));
    assert_eq!(only(&facts, Flags::default(), "cgroup").0, Level::Problem);
    let off = Some(SocketScope::Off);
    let flags = Flags { socket_lb_tcp: off, socket_lb_udp: off, ..Flags::default() };
    let (level, text) = only(&facts, flags, "cgroup");
    assert_eq!(level, Level::Warning);
    assert!(text.contains("NodePorts"), "{text}");
}

#[test]
fn a_bpffs_is_mounted_by_who_may_and_asked_for_by_who_may_not() {
    let mut facts = good();
    facts.places.bpffs = Bpffs::Missing("/sys/fs/bpf".into());
    assert_eq!(only(&facts, Flags::default(), "bpffs").0, Level::Note);
    facts.capabilities.sys_admin = false;
    let (level, text) = only(&facts, Flags::default(), "bpffs");
    assert_eq!(level, Level::Problem);
    assert!(text.contains("mount -t bpf bpf /sys/fs/bpf"), "{text}");
}

#[test]
fn a_missing_helper_is_a_note_and_a_refused_program_says_what_is_not_served() {
    let mut facts = good();
    facts.helpers = vec![(HELPER, Probe::No)];
    let refused = |program: &str| Rejected {
        program: program.into(),
        reason: "Invalid argument; the verifier's last words:\nx".into(),
    };
    facts.programs = Some(Ok(vec![refused("connect4"), refused("ingress_l3"), refused("bind6")]));
    let (level, text) = only(&facts, Flags::default(), "helpers");
    assert_eq!(level, Level::Note);
    assert!(text.contains("bpf_redirect (Linux 4.4)"), "{text}");
    let found = of(&facts, Flags::default(), "programs");
    assert!(found.iter().all(|finding| finding.level == Level::Warning), "{found:?}");
    for (finding, words) in found.iter().zip(["connect()", "WireGuard", "bind a NodePort"]) {
        let text = finding.text();
        assert!(text.contains(words) && !text.contains("\nx"), "{text}");
    }
    facts.programs = Some(Ok(vec![refused("egress_l2")]));
    assert_eq!(only(&facts, Flags::default(), "programs").0, Level::Problem);
}

fn lacks(facts: &mut Facts, name: &str) {
    for feature in facts.kernel.features.iter_mut().filter(|feature| feature.feature == name) {
        feature.present = false;
        feature.way = format!("without {name}, by clsact or otherwise");
    }
}

#[test]
fn what_a_kernel_lacks_is_a_note_that_says_what_is_done_instead() {
    let mut facts = good();
    lacks(&mut facts, "set-retval");
    let (level, text) = only(&facts, Flags::default(), "kernel-features");
    assert_eq!(level, Level::Note);
    assert!(text.contains("set-retval (Linux 5.18)"), "{text}");
    assert!(text.contains("without set-retval"), "{text}");
    facts.kernel.features.clear();
    assert_eq!(only(&facts, Flags::default(), "kernel-features").0, Level::Note);
    assert_eq!(only(&facts, Flags::default(), "device-hook").0, Level::Note);
}

#[test]
fn without_tcx_clsact_is_used_unless_tcx_was_asked_for() {
    let mut facts = good();
    lacks(&mut facts, "tcx");
    let (level, text) = only(&facts, Flags::default(), "device-hook");
    assert_eq!(level, Level::Note);
    assert!(text.contains("no TCX (Linux 6.6)") && text.contains("clsact"), "{text}");
    let hook = |hook| Flags { device_hook: Some(hook), ..Flags::default() };
    assert_eq!(only(&facts, hook(DeviceHook::Tcx), "device-hook").0, Level::Problem);
    assert_eq!(of(&facts, hook(DeviceHook::Clsact), "device-hook"), []);
}

#[test]
fn a_hook_that_the_kernel_lacks_counts_only_where_it_is_wanted() {
    let mut facts = good();
    facts.hooks.cgroup = vec![(SocketProgram::Bind4, Err(Probe::No))];
    let (level, text) = only(&facts, Flags::default(), "cgroup-hooks");
    assert_eq!(level, Level::Warning);
    assert!(text.contains("bind4"), "{text}");
    let flags = Flags { bind_protection: Some(false), ..Flags::default() };
    assert_eq!(of(&facts, flags, "cgroup-hooks"), []);
}

#[test]
fn programs_of_others_at_a_cgroup_are_named_and_judged_by_whose_they_are() {
    let with = |name: &str, shared| {
        let mut facts = good();
        let programs = vec![Attached { id: 7, name: Some(name.into()) }];
        let hook = CgroupHook { programs, shared };
        facts.hooks.cgroup = vec![(SocketProgram::Connect4, Ok(hook))];
        only(&facts, Flags::default(), "cgroup-programs")
    };
    let (level, text) = with("audit", true);
    assert_eq!(level, Level::Note);
    assert!(text.contains("at connect4 of the cgroup: audit (id 7)"), "{text}");
    let (level, text) = with("cil_sock4_connect", true);
    assert_eq!(level, Level::Warning);
    assert!(text.contains("docs/cni/cilium.md"), "{text}");
    let (level, text) = with("audit", false);
    assert_eq!(level, Level::Warning);
    assert!(text.contains("BPF_F_ALLOW_MULTI"), "{text}");
}

#[test]
fn programs_of_others_at_devices_are_told_once_a_name() {
    let at = |device: &str, name: &str, id| DeviceNeighbour {
        device: device.into(),
        direction: Direction::Ingress,
        by: "tcx",
        id,
        name: Some(name.into()),
    };
    let mut facts = good();
    facts.hooks.devices =
        (1..=5).map(|id| at(&format!("lxc{id}"), "cil_from_container", id)).collect();
    facts.hooks.devices.push(at("eth0", "shaper", 9));
    facts.hooks.devices.push(at("eth1", "ingress_l2", 10));
    let found = of(&facts, Flags::default(), "device-programs");
    assert_eq!(found.len(), 3, "{found:?}");
    assert_eq!(found[0].level, Level::Warning);
    assert!(found[0].found.contains("lxc1 ingress (tcx, id 1)"), "{found:?}");
    assert!(found[0].found.contains("and 2 more"), "{found:?}");
    assert_eq!(found[1].level, Level::Note);
    assert!(found[2].found.contains("another --pin-path"), "{found:?}");
}

#[test]
fn a_running_kube_proxy_is_a_warning_and_its_rules_are_a_note_with_the_cure() {
    let mut facts = good();
    facts.kube_proxy.rules = vec!["nftables table ip kube-proxy".into()];
    let pass = Flags { unknown_connections: Some(UnknownConnections::Pass), ..Flags::default() };
    let (level, text) = only(&facts, pass.clone(), "kube-proxy-rules");
    assert_eq!(level, Level::Note);
    assert!(text.contains("sluice cleanup --kube-proxy"), "{text}");
    let found = of(&facts, Flags::default(), "kube-proxy-rules");
    assert!(found[1].text().contains("--unknown-connections pass"), "{found:?}");

    facts.kube_proxy.running = vec![Process { pid: 42, command: "kube-proxy --v=2".into() }];
    let (level, text) = only(&facts, pass.clone(), "kube-proxy");
    assert_eq!(level, Level::Warning);
    assert!(text.contains("process 42 (`kube-proxy --v=2`)"), "{text}");
    let shadow = Flags { shadow: Some(true), ..pass };
    assert_eq!(of(&facts, shadow, "kube-proxy"), []);
}

#[test]
fn a_port_that_is_taken_is_told_with_its_holder_and_its_flag() {
    let mut facts = good();
    facts.ports.taken = vec![Taken {
        flag: "healthz-bind-address",
        address: "0.0.0.0:10256".parse().unwrap(),
        holder: Holder { pid: Some(42), command: Some("kube-proxy".into()) },
    }];
    let (level, text) = only(&facts, Flags::default(), "listen-ports");
    assert_eq!(level, Level::Warning);
    assert!(text.contains("0.0.0.0:10256 is used by process 42 (`kube-proxy`)"), "{text}");
    assert!(text.contains("--healthz-bind-address"), "{text}");
}

#[test]
fn ports_that_the_kernel_hands_out_are_named_unless_they_are_reserved() {
    let mut facts = good();
    facts.ports.local = Some(29_000..=60_999);
    let (level, text) = only(&facts, Flags::default(), "masquerade-ports");
    assert_eq!(level, Level::Warning);
    assert!(text.contains("--masquerade-ports 12000-29999"), "{text}");
    assert!(text.contains("net.ipv4.ip_local_port_range 29000-60999"), "{text}");
    assert!(text.contains("29000-29999 in common"), "{text}");
    facts.ports.reserved = "29000-29500,29501-30000".into();
    assert_eq!(of(&facts, Flags::default(), "masquerade-ports"), []);
}

#[test]
fn ports_of_node_ports_that_others_use_are_notes_and_our_own_a_warning() {
    let mut facts = good();
    facts.ports.node_ports = vec![("tcp", 30_123)];
    facts.ports.local = Some(32_000..=60_999);
    let found = of(&facts, Flags::default(), "node-ports");
    assert!(found[0].found.contains("30123/tcp"), "{found:?}");
    assert!(found[1].found.contains("32000-32767"), "{found:?}");
    let ports = "32000-40000".parse().unwrap();
    let flags = Flags { masquerade_ports: Some(ports), ..Flags::default() };
    let found = of(&good(), flags, "node-ports");
    assert_eq!(found[0].level, Level::Warning, "{found:?}");
}

#[test]
fn forwarding_that_is_off_is_named_by_its_setting() {
    let mut facts = good();
    facts.stack.forward_v6 = Some(false);
    let (level, text) = only(&facts, Flags::default(), "forwarding");
    assert_eq!(level, Level::Warning);
    assert!(text.starts_with("net.ipv6.conf.all.forwarding is 0"), "{text}");
}

#[test]
fn a_ruleset_that_drops_what_is_invalid_is_a_warning_where_netfilter_misses_what_is_switched() {
    let mut facts = good();
    facts.stack.bridges = vec!["cni0".into()];
    facts.stack.bridge_nf_v4 = Some(true);
    facts.stack.bridge_nf_v6 = Some(false);
    assert_eq!(only(&facts, Flags::default(), "bridges").0, Level::Note);
    facts.stack.drops_invalid = vec!["inet filter forward".into()];
    let (level, text) = only(&facts, Flags::default(), "bridges");
    assert_eq!(level, Level::Warning);
    assert!(text.contains("cni0") && text.contains("inet filter forward"), "{text}");
    assert!(text.contains("bridge-nf-call-ip6tables") && !text.contains("call-iptables"), "{text}");
    facts.stack.bridge_nf_v6 = Some(true);
    assert_eq!(of(&facts, Flags::default(), "bridges"), []);
}

#[test]
fn processes_of_the_node_that_nobody_serves_are_named() {
    let flags = Flags { socket_lb_udp: Some(SocketScope::Off), ..Flags::default() };
    let (level, text) = only(&good(), flags, "scopes");
    assert_eq!(level, Level::Warning);
    assert!(text.starts_with("--socket-lb-udp off:"), "{text}");
}
