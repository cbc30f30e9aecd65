//! A node from its start to its end: mounts, the agent, an agent that is killed and comes back,
//! clean-up. And what each capability is needed for.

use std::{
    fs::{self, File},
    path::PathBuf,
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use lab::{
    Addresses, Family, Host, Lab, Node, Process, Server, Wiring,
    manifest::{self, Protocol, endpoint_slice, service},
};
use serde_json::Value;

use crate::{bundle, machine::Machine, pod::Pod};

const HTTP: (u16, u16) = (80, 8080);
const DNS: (u16, u16) = (53, 5353);
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn the_image_serves_a_node_with_what_the_chart_allows_it() -> Result<()> {
    let site = Site::new()?;
    let machine = Machine::boot(&site.lab, &site.a)?;
    let pod = site.pod(&machine, &[])?;

    let said = run(&machine, &pod, "mount", &[])?;
    ensure!(said.contains("mounted bpffs at /sys/fs/bpf"), "{said}");
    ensure!(said.contains("mounted cgroup v2 at"), "{said}");

    let mut agent = Running::start(&machine, &pod, "agent", &[])?;
    agent.wait_for("ready")?;
    site.is_served()?;
    let status = agent.exec(&["sluice", "status", "-o", "json"])?;
    let status: Value = serde_json::from_str(&status)?;
    ensure!(status["agent"]["says"]["ready"] == true, "{status}");
    // With what the container may and sees, nothing is in the way of the agent.
    let command = ["sluice", "preflight", "--config=/etc/sluice/sluice.yaml", "-o", "json"];
    let report: Value = serde_json::from_str(&agent.exec(&command)?)?;
    let findings = report["findings"].as_array().context("no findings")?;
    // A node of the lab has a cgroup of its own, below the root.
    let wrong = |finding: &&Value| finding["level"] == "warning" && finding["check"] != "cgroup";
    let wrong: Vec<_> = findings.iter().filter(wrong).collect();
    ensure!(wrong.is_empty() && report["verdict"] != "unable", "{report}");
    let programs = status["programs"].as_array().context("no programs")?;
    let hooks = |wanted: &str| programs.iter().any(|program| program["hook"] == wanted);
    ensure!(hooks("connect4") && hooks("ingress"), "{programs:?}");

    agent.kill()?;
    site.is_served()?;
    let mut agent = Running::start(&machine, &pod, "agent", &[])?;
    agent.wait_for("ready")?;
    site.is_served()?;

    // `mode: cleanup`: the pod waits for the agent to end.
    let pod = site.pod(&machine, &["--set", "mode=cleanup", "--set", "cleanup.drain=1s"])?;
    let cleanup = Running::start(&machine, &pod, "cleanup", &[])?;
    thread::sleep(Duration::from_millis(500));
    site.is_served()?;
    agent.kill()?;
    let said = cleanup.end()?;
    ensure!(said.contains("detached"), "{said}");
    let said = run(&machine, &pod, "unmount", &[])?;
    ensure!(said.starts_with("unmounted"), "{said}");
    // The kernel has two files of its own in every bpffs.
    let left =
        machine.text("find", &["/sys/fs/bpf", "-mindepth", "1", "-not", "-name", "*.debug"])?;
    ensure!(left.is_empty(), "left: {left}");
    for family in Family::BOTH {
        site.client.tcp(site.http(family)).patience_ms(200).refusal()?;
    }
    Ok(())
}

#[test]
fn the_image_removes_what_kube_proxy_left_with_the_hosts_own_tools() -> Result<()> {
    let site = Site::new()?;
    let machine = Machine::boot(&site.lab, &site.a)?;
    let pod = site.pod(&machine, &["--set", "kubeProxy.removeLeftovers=true"])?;
    // Of both kinds: what the kernel is asked for by netlink, and what takes the host's iptables.
    site.a.namespace().nft("table ip kube-proxy { }")?;
    for arguments in [
        ["-t", "nat", "-N", "KUBE-SERVICES"].as_slice(),
        ["-t", "nat", "-A", "PREROUTING", "-j", "KUBE-SERVICES"].as_slice(),
    ] {
        machine.text("iptables-legacy", arguments)?;
    }
    for without in ["SYS_ADMIN", "SYS_CHROOT", "SYS_PTRACE", "NET_ADMIN", "NET_RAW"] {
        let said = Running::start(&machine, &pod, "kube-proxy", &[without])?.end_somehow()?;
        let left = machine.text("iptables-legacy-save", &[])?;
        ensure!(left.contains("KUBE-SERVICES"), "without {without} it removes all: {said}");
    }
    let said = run(&machine, &pod, "kube-proxy", &[])?;
    ensure!(said.contains("iptables-legacy nat KUBE-SERVICES"), "{said}");
    let left = machine.text("iptables-legacy-save", &[])?;
    ensure!(!left.contains("KUBE-"), "left: {left}");
    let tables = machine.text("nft", &["list", "tables"])?;
    ensure!(!tables.contains("kube-proxy"), "left: {tables}");
    Ok(())
}

#[test]
fn every_capability_of_the_agent_is_needed() -> Result<()> {
    let site = Site::new()?;
    let machine = Machine::boot(&site.lab, &site.a)?;
    let pod = site.pod(&machine, &[])?;
    run(&machine, &pod, "mount", &[])?;
    for (without, said) in [
        ("BPF", "Operation not permitted"),
        ("NET_ADMIN", "the kernel refused every program"),
        ("PERFMON", "the kernel refuses a program"),
    ] {
        let mut agent = Running::start(&machine, &pod, "agent", &[without])?;
        agent.wait_for(said).with_context(|| format!("without {without}"))?;
        agent.kill()?;
    }
    Ok(())
}

#[test]
fn every_capability_of_the_container_that_mounts_is_needed() -> Result<()> {
    let site = Site::new()?;
    let machine = Machine::boot(&site.lab, &site.a)?;
    let pod = site.pod(&machine, &[])?;
    for without in ["SYS_ADMIN", "SYS_CHROOT", "SYS_PTRACE"] {
        let said = run(&machine, &pod, "mount", &[without]);
        let said = said.err().with_context(|| format!("without {without} it mounts"))?.to_string();
        ensure!(said.contains("--namespaces"), "without {without}: {said}");
    }
    Ok(())
}

/// A node with a client and a server in pods, another server on another node, and a Service.
struct Site {
    // Dropped in this order.
    _servers: [Server; 2],
    client: Host,
    a: Node,
    _b: Node,
    lab: Lab,
}

impl Site {
    fn new() -> Result<Self> {
        let lab = Lab::new()?;
        let (a, b) = (lab.node("node-a", Wiring::Ptp)?, lab.node("node-b", Wiring::Ptp)?);
        let near = a.pod("near")?.serve(HTTP.1, DNS.1)?;
        let far = b.pod("far")?.serve(HTTP.1, DNS.1)?;
        let client = a.pod("client")?;
        let object = service("web", Addresses::cluster_ips(10))
            .port("http", HTTP.0, Protocol::Tcp)
            .port("dns", DNS.0, Protocol::Udp);
        let [v4, v6] = endpoint_slice("web")
            .port("http", HTTP.1, Protocol::Tcp)
            .port("dns", DNS.1, Protocol::Udp)
            .endpoint(near.host(), &a)
            .endpoint(far.host(), &b)
            .objects();
        manifest::write(&lab.manifests(), "web.yaml", &[object.object(), v4, v6])?;
        let nodes = [manifest::node("node-a", &[]), manifest::node("node-b", &[])];
        manifest::write(&lab.manifests(), "nodes.yaml", &nodes)?;
        Ok(Self { _servers: [near, far], client, a, _b: b, lab })
    }

    fn pod(&self, machine: &Machine<'_>, values: &[&str]) -> Result<Pod> {
        let manifests = self.lab.manifests();
        Pod::render(machine, manifests.to_str().context("a path that isn't text")?, values)
    }

    fn http(&self, family: Family) -> std::net::SocketAddr {
        (Addresses::cluster_ips(10).of(family), HTTP.0).into()
    }

    /// Both paths, both families: a pod over TCP and UDP, a process of the node.
    fn is_served(&self) -> Result<()> {
        for family in Family::BOTH {
            let dns = (Addresses::cluster_ips(10).of(family), DNS.0).into();
            for _ in 0..5 {
                self.client.tcp(self.http(family)).ask()?;
                self.client.udp(dns).ask()?;
                self.a.tcp(self.http(family)).ask()?;
            }
        }
        Ok(())
    }
}

/// Runs a container to its end; what it said.
fn run(machine: &Machine<'_>, pod: &Pod, name: &str, without: &[&str]) -> Result<String> {
    Running::start(machine, pod, name, without)?.end()
}

/// A container that runs.
struct Running<'a> {
    machine: &'a Machine<'a>,
    name: String,
    process: Process,
    log: PathBuf,
}

impl<'a> Running<'a> {
    /// Starts a container of the pod, `without` some of its capabilities.
    fn start(machine: &'a Machine<'a>, pod: &Pod, name: &str, without: &[&str]) -> Result<Self> {
        let mut container = pod.container(name, machine)?;
        if let Some(added) = container.security["capabilities"]["add"].as_array_mut() {
            added.retain(|one| !without.iter().any(|name| one == name));
        }
        let bundle = bundle::make(machine, &container)?;
        let log = machine.directory().join(format!("{name}.log"));
        let output = File::create(&log)?;
        let mut command = machine.runc()?;
        command.arg("run").arg("--bundle").arg(bundle).arg(name);
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let process = Process::start(name, &mut command)?;
        Ok(Self { machine, name: name.to_owned(), process, log })
    }

    fn log(&self) -> Result<String> {
        Ok(fs::read_to_string(&self.log)?)
    }

    /// Waits until it says so.
    fn wait_for(&mut self, words: &str) -> Result<()> {
        let start = Instant::now();
        loop {
            let ended = self.process.status()?;
            let log = self.log()?;
            if log.contains(words) {
                return Ok(());
            }
            if ended.is_some() || start.elapsed() > PATIENCE {
                bail!("the container {} doesn't say {words:?} ({ended:?}): {log}", self.name);
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits for its end, which has to be a success. What it said.
    fn end(mut self) -> Result<String> {
        let status = self.process.wait(PATIENCE)?;
        let log = self.log()?;
        ensure!(status.success(), "the container {}: {status}: {log}", self.name);
        Ok(log)
    }

    /// Waits for its end, whatever it is. What it said.
    fn end_somehow(mut self) -> Result<String> {
        self.process.wait(PATIENCE)?;
        self.log()
    }

    /// What a program prints that is run in the container.
    fn exec(&self, command: &[&str]) -> Result<String> {
        let output = self.machine.runc()?.arg("exec").arg(&self.name).args(command).output()?;
        let (said, complaint) = (output.stdout, String::from_utf8_lossy(&output.stderr));
        ensure!(output.status.success(), "{command:?}: {complaint}");
        Ok(String::from_utf8(said)?)
    }

    /// Kills it with SIGKILL, if it hasn't ended.
    fn kill(mut self) -> Result<()> {
        // An error: it has ended.
        let _ = self.machine.runc()?.args(["kill", &self.name, "KILL"]).output()?;
        self.process.wait(PATIENCE)?;
        Ok(())
    }
}
