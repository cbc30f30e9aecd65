//! `sluice preflight` on nodes where something is in the way, and the same words from the agent.

use std::{process::Output, time::Duration};

use anyhow::{Context as _, Result, ensure};
use lab::{AgentFlags, Node, Sluice, Wiring};
use serde_json::Value;

use crate::cluster::{Cluster, eventually};

const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn programs_of_others_are_named_with_device_and_hook_and_ones_own_are_not() -> Result<()> {
    for (hook, by) in [("tcx", "tcx"), ("clsact", "clsact")] {
        let cluster = Cluster::new(Wiring::Ptp)?;
        let _agent = cluster.a.start_agent(&AgentFlags::new().with("--device-hook", hook))?;
        let own = Preflight::of(&cluster.a, &[])?;
        for check in ["device-programs", "cgroup-programs"] {
            ensure!(own.levels(check) == ["ok"], "{:?}", own.about(check));
        }
        // To this one, they are another's.
        let pins = cluster.a.pin_path().with_file_name("elsewhere");
        let pins = pins.to_str().context("UTF-8")?;
        let other = Preflight::run(&cluster.a, &["--pin-path", pins])?;
        let devices = other.text("device-programs");
        for part in ["ingress_l2 at ", &format!("({by}, id "), "another --pin-path"] {
            ensure!(devices.contains(part), "{part} is not in {devices}");
        }
        let sockets = other.text("cgroup-programs");
        ensure!(sockets.contains("at connect4 of the cgroup: connect4 (id "), "{sockets}");
    }
    Ok(())
}

#[test]
fn the_agent_says_what_preflight_says_and_status_shows_it() -> Result<()> {
    let cluster = Cluster::new(Wiring::Ptp)?;
    cluster.a.namespace().set_parameters(&[("ipv4/ip_forward", "0")])?;
    let agent = cluster.a.start_agent(&AgentFlags::new().socket_lb_udp("off"))?;
    let (says, _) = eventually(PATIENCE, || {
        let status = agent.json(&cluster.a, &["status"])?;
        Ok(Some(status).filter(|status| status["agent"]["says"]["findings"].is_array()))
    })?;
    let preflight = Preflight::of(&cluster.a, &["--socket-lb-udp", "off"])?;
    let mut expected = preflight.findings.clone();
    expected.retain(|finding| finding["level"] != "ok");
    let found = says["agent"]["says"]["findings"].as_array().context("no findings")?;
    ensure!(*found == expected, "{found:?} are not {expected:?}");
    let problems = says["problems"].to_string();
    let log = agent.log()?;
    for words in ["net.ipv4.ip_forward is 0", "--socket-lb-udp off: processes of the node"] {
        ensure!(problems.contains(words), "{words} is not in {problems}");
        ensure!(log.contains(words), "{words} is not in the log: {log}");
    }
    // The agent's ports are its own. To an agent on other pins they would be another's.
    ensure!(preflight.levels("listen-ports") == ["ok"], "{:?}", preflight.about("listen-ports"));
    let pins = cluster.a.pin_path().with_file_name("elsewhere");
    let other = Preflight::run(&cluster.a, &["--pin-path", pins.to_str().context("UTF-8")?])?;
    let ports = other.text("listen-ports");
    ensure!(ports.contains(&format!("process {}", agent.pid())), "{ports}");
    Ok(())
}

#[test]
fn a_ruleset_that_drops_what_is_invalid_is_told_where_pods_are_bridged() -> Result<()> {
    let cluster = Cluster::new(Wiring::Bridge)?;
    let namespace = cluster.a.namespace();
    for family in ["iptables", "ip6tables"] {
        // Where the module isn't there, it is as good as off.
        let _ = namespace.set_parameters(&[(&format!("bridge/bridge-nf-call-{family}"), "0")]);
    }
    let before = Preflight::of(&cluster.a, &[])?;
    ensure!(before.levels("bridges") == ["note"], "{:?}", before.about("bridges"));
    namespace.nft(
        "table inet guard {
            chain calm { ct state established accept; tcp flags syn drop; }
            chain strict { type filter hook forward priority 0; ct state invalid drop; }
        }",
    )?;
    let output = cluster
        .a
        .command("iptables-nft")?
        .args(["-A", "FORWARD", "-m", "conntrack", "--ctstate", "INVALID", "-j", "DROP"])
        .output()?;
    ensure!(output.status.success(), "{output:?}");
    let after = Preflight::of(&cluster.a, &[])?;
    ensure!(after.levels("bridges") == ["warning"], "{:?}", after.about("bridges"));
    let text = after.text("bridges");
    for part in ["inet guard strict", "ip filter FORWARD", "bridge-nf-call-iptables"] {
        ensure!(text.contains(part), "{part} is not in {text}");
    }
    ensure!(!text.contains("calm"), "{text}");
    Ok(())
}

#[test]
fn the_exit_status_tells_a_script() -> Result<()> {
    let cluster = Cluster::new(Wiring::Ptp)?;
    let status = |arguments: &[&str]| -> Result<Option<i32>> {
        Ok(run(&cluster.a, "", arguments)?.status.code())
    };
    // A lab's node has a cgroup below the root: that is a restriction.
    let cgroup = cluster.a.cgroup().path().to_str().context("UTF-8")?;
    ensure!(status(&["--cgroup-root", cgroup])? == Some(0));
    ensure!(status(&["--cgroup-root", cgroup, "--strict"])? == Some(1));
    ensure!(status(&["--strict"])? == Some(0), "{:?}", run(&cluster.a, "", &[])?);
    ensure!(status(&["--cgroup-root", "/proc"])? == Some(2));
    let unable = run(&cluster.a, "-bpf,-sys_admin", &["-o", "json"])?;
    ensure!(unable.status.code() == Some(2), "{unable:?}");
    let report: Value = serde_json::from_slice(&unable.stdout)?;
    ensure!(report["verdict"] == "unable", "{report}");
    ensure!(report.to_string().contains("CAP_BPF is missing"), "{report}");
    Ok(())
}

/// Runs `sluice preflight` on a node, without the capabilities that `without` names.
fn run(node: &Node, without: &str, arguments: &[&str]) -> Result<Output> {
    let sluice = Sluice::of_workspace()?;
    let mut command = if without.is_empty() {
        node.command(sluice.program())?
    } else {
        let mut command = node.command("setpriv")?;
        command.arg(format!("--bounding-set={without}")).arg(sluice.program());
        command
    };
    Ok(command.arg("preflight").args(arguments).output()?)
}

/// What it found.
#[derive(Debug)]
struct Preflight {
    findings: Vec<Value>,
}

impl Preflight {
    /// With the flags that the node's agent has.
    fn of(node: &Node, flags: &[&str]) -> Result<Self> {
        let pins = node.pin_path();
        let pins = pins.to_str().context("UTF-8")?;
        Self::run(node, &[&["--pin-path", pins], flags].concat())
    }

    fn run(node: &Node, flags: &[&str]) -> Result<Self> {
        let cgroup = node.cgroup().path().to_str().context("UTF-8")?;
        let output = run(node, "", &[&["-o", "json", "--cgroup-root", cgroup], flags].concat())?;
        ensure!(output.status.success(), "{output:?}");
        let report: Value = serde_json::from_slice(&output.stdout)?;
        let findings = report["findings"].as_array().context("no findings")?;
        Ok(Self { findings: findings.clone() })
    }

    fn about(&self, check: &str) -> Vec<&Value> {
        self.findings.iter().filter(|finding| finding["check"] == check).collect()
    }

    fn levels(&self, check: &str) -> Vec<&str> {
        self.about(check).into_iter().filter_map(|finding| finding["level"].as_str()).collect()
    }

    fn text(&self, check: &str) -> String {
        self.about(check)
            .into_iter()
            .map(|finding| format!("{} {}\n", finding["found"], finding["then"]))
            .collect()
    }
}
