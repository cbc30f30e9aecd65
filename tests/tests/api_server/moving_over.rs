//! A node moves from the real kube-proxy to Sluice, and back: nobody loses a connection.
//!
//! Connections that are open stay open, those that are made all the while are answered, inside the
//! cluster and from outside, whichever proxy set them up.

use std::{
    env,
    net::SocketAddr,
    path::PathBuf,
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use lab::{
    Addresses, Agent, AgentFlags, Crowd, Family, Host, Lab, Load, Node, Process, Server, Sluice,
    Wiring,
    control_plane::{ControlPlane, Settings},
    manifest::{self, Protocol, endpoint_slice, service},
};
use rustix::process::Signal;
use serde_json::{Value, json};

/// Port of the Service, and of the endpoints behind it.
const HTTP: (u16, u16) = (80, 8080);
const NODE_PORT: u16 = 30_080;
/// Connections that are open at each of the two frontends.
const OPEN: usize = 500;
/// How long connections are made, one after the other: longer than all the rest takes.
const LOAD: Duration = Duration::from_secs(90);
const PATIENCE_MS: u64 = 10_000;
const SOON: Duration = Duration::from_secs(60);
const FAR_TOO: &str = "SLUICE_LAB_MOVING_FAR";

#[test]
fn from_kube_proxy_and_back_no_connection_is_lost() -> Result<()> {
    let site = Site::new()?;
    let kube_proxy = site.start_kube_proxy()?;
    let mut before = site.crowds().context("by kube-proxy")?;
    let loads = site.loads()?;

    kube_proxy.stop()?;
    // Packet by packet: what a socket translates needs nobody afterwards.
    let flags = AgentFlags::new()
        .kubeconfig(site.plane.agent()?)
        .socket_lb_tcp("host")
        .with("--unknown-connections", "pass");
    let agent = site.a.start_agent(&flags)?;
    before.ask("kube-proxy's, after Sluice came")?;
    let mut amid = site.crowds().context("by Sluice")?;
    ensure!(site.flows()? > OPEN, "Sluice serves nobody");

    // The way back: first the other proxy, then Sluice goes.
    let kube_proxy = site.start_kube_proxy()?;
    agent.stop()?;
    let mut cleanup = site.clean_up()?;
    wait_for("Sluice takes no new connections", || {
        Ok(Sluice::of_workspace()?
            .json(&site.a, &["services"])?
            .as_array()
            .is_some_and(Vec::is_empty))
    })?;
    let mut after = site.crowds().context("while Sluice goes")?;
    before.ask("kube-proxy's, while Sluice goes")?;
    amid.ask("Sluice's, while Sluice goes")?;
    ensure!(cleanup.status()?.is_none(), "Sluice went while connections were open");

    drop(amid);
    let status = cleanup.wait(SOON)?;
    ensure!(status.success(), "cleanup: {status}");
    before.ask("kube-proxy's, after Sluice went")?;
    after.ask("the new kube-proxy's, after Sluice went")?;
    for (frontend, load) in loads {
        let told = load.finish()?;
        ensure!(told.failures.is_empty(), "{frontend}: {:?}", told.failures);
        ensure!(told.endpoints.len() > 100, "{frontend}: only {}", told.endpoints.len());
    }
    drop(kube_proxy);
    Ok(())
}

/// Two nodes, a client in a pod and one outside; a Service with an endpoint on each node for the
/// pod, and one with a NodePort and an endpoint on this node for the outside.
///
/// What goes from outside to another node is masqueraded by both proxies, to the same address. With
/// [`FAR_TOO`] in the environment the NodePort has an endpoint there too, where it isn't sure yet that
/// none is lost (docs/migration.md).
struct Site {
    // Dropped in this order.
    plane: ControlPlane,
    _servers: [Server; 2],
    pod: Host,
    outside: Host,
    a: Node,
    _b: Node,
    lab: Lab,
}

impl Site {
    fn new() -> Result<Self> {
        let lab = Lab::new()?;
        let plane = ControlPlane::start(&lab, Settings::default())?;
        let (a, b) = (lab.node("node-a", Wiring::Ptp)?, lab.node("node-b", Wiring::Ptp)?);
        let near = a.pod("near")?.serve(HTTP.1, HTTP.1)?;
        let far = b.pod("far")?.serve(HTTP.1, HTTP.1)?;
        let (pod, outside) = (a.pod("client")?, lab.outside("outside")?);
        let nodes = [&a, &b]
            .map(|node| manifest::node_with_addresses(node.name(), &node.addresses().both()));
        plane.api().create(&nodes)?;
        plane.api().set_status(&nodes)?;
        let web = service("web", Addresses::cluster_ips(10)).port("http", HTTP.0, Protocol::Tcp);
        let edge = service("edge", Addresses::cluster_ips(11))
            .port("http", HTTP.0, Protocol::Tcp)
            .node_port(NODE_PORT);
        let services = [web, edge].map(|service| service.single_stack(Family::V4).object());
        plane.api().create(&services)?;
        let slice = |name| endpoint_slice(name).port("http", HTTP.1, Protocol::Tcp);
        let [web, _] = slice("web").endpoint(near.host(), &a).endpoint(far.host(), &b).objects();
        let mut edge = slice("edge").endpoint(near.host(), &a);
        if env::var_os(FAR_TOO).is_some() {
            edge = edge.endpoint(far.host(), &b);
        }
        let [edge, _] = edge.objects();
        plane.api().create(&[web, edge])?;
        Ok(Self { plane, _servers: [near, far], pod, outside, a, _b: b, lab })
    }

    fn cluster_ip(&self) -> SocketAddr {
        (Addresses::cluster_ips(10).v4, HTTP.0).into()
    }

    fn node_port(&self) -> SocketAddr {
        (self.a.addresses().v4, NODE_PORT).into()
    }

    /// Connections of both clients, one crowd each.
    fn crowds(&self) -> Result<Crowds> {
        let gather = |host: &Host, to| {
            let (crowd, told) = host.crowd(to, OPEN, PATIENCE_MS)?;
            ensure!(
                told.endpoints.len() == OPEN,
                "{to}: {} of {OPEN}: {:?}",
                told.endpoints.len(),
                told.failures
            );
            Ok((to, crowd))
        };
        let (cluster_ip, node_port) = (self.cluster_ip(), self.node_port());
        Ok(Crowds([gather(&self.pod, cluster_ip)?, gather(&self.outside, node_port)?]))
    }

    fn loads(&self) -> Result<[(SocketAddr, Load); 2]> {
        let (cluster_ip, node_port) = (self.cluster_ip(), self.node_port());
        Ok([
            (cluster_ip, self.pod.load(cluster_ip, LOAD)?),
            (node_port, self.outside.load(node_port, LOAD)?),
        ])
    }

    /// How many flows Sluice knows.
    fn flows(&self) -> Result<usize> {
        let flows: Value = Sluice::of_workspace()?.json(&self.a, &["flows"])?;
        Ok(flows.as_array().context("no list of flows")?.len())
    }

    /// `sluice cleanup`, which waits for connections that are open.
    fn clean_up(&self) -> Result<Process> {
        let mut command = self.a.command(Sluice::of_workspace()?.program())?;
        command.args(["cleanup", "--wait=10s", "--drain=5m", "--pin-path"]).arg(self.a.pin_path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Process::start("sluice cleanup", &mut command)
    }

    /// kube-proxy on the node of the clients, once the Service is in its rules.
    fn start_kube_proxy(&self) -> Result<KubeProxy> {
        let programs = env::var_os("SLUICE_KUBERNETES").map(PathBuf::from).context(
            "SLUICE_KUBERNETES is not set: run `cargo xtask test --layer tests/api_server`",
        )?;
        let configuration = json!({
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": "nftables",
            "hostnameOverride": self.a.name(),
            "clientConnection": { "kubeconfig": self.plane.administrator()? },
            "clusterCIDR": "10.244.0.0/16,fd00:10:244::/48",
            "healthzBindAddress": "127.0.0.1:10356",
            "metricsBindAddress": "127.0.0.1:10349",
            // Limits of the whole machine.
            "conntrack": { "maxPerCore": 0, "min": 0 },
        });
        let file = self.lab.directory().join("kube-proxy.yaml");
        std::fs::write(&file, serde_json::to_vec(&configuration)?)?;
        let log = std::fs::File::create(self.lab.directory().join("kube-proxy.log"))?;
        let mut command = self.a.command(programs.join("kube-proxy"))?;
        command.arg("--config").arg(file);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let mut kube_proxy = KubeProxy { process: Process::start("kube-proxy", &mut command)? };
        let nft = || -> Result<bool> {
            let output =
                self.a.command("nft")?.args(["list", "table", "ip", "kube-proxy"]).output()?;
            let rules = String::from_utf8_lossy(&output.stdout).into_owned();
            Ok(rules.contains(&format!("{} . tcp . {}", self.cluster_ip().ip(), HTTP.0)))
        };
        wait_for("kube-proxy's rules", || {
            if let Some(status) = kube_proxy.process.status()? {
                let log = std::fs::read_to_string(self.lab.directory().join("kube-proxy.log"))?;
                bail!("kube-proxy ended with {status}: {log}");
            }
            nft()
        })?;
        // Its first sync may have found its own old rules there.
        thread::sleep(Duration::from_secs(2));
        Ok(kube_proxy)
    }
}

struct KubeProxy {
    process: Process,
}

impl KubeProxy {
    /// Ends it. Its rules stay.
    fn stop(mut self) -> Result<()> {
        self.process.signal(Signal::TERM)?;
        self.process.wait(SOON)?;
        Ok(())
    }
}

struct Crowds([(SocketAddr, Crowd); 2]);

impl Crowds {
    /// Asks each connection once.
    fn ask(&mut self, whose: &str) -> Result<()> {
        for (to, crowd) in &mut self.0 {
            let told = crowd.ask()?;
            let (answered, failures) = (told.endpoints.len(), told.failures);
            ensure!(answered == OPEN, "{whose}, {to}: {answered} of {OPEN} answer: {failures:?}");
        }
        Ok(())
    }
}

fn wait_for(what: &str, mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
    let start = Instant::now();
    while !is_so()? {
        ensure!(start.elapsed() < SOON, "{what}: not within {SOON:?}");
        thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

#[test]
fn without_being_asked_to_pass_them_sluice_refuses_connections_it_does_not_know() -> Result<()> {
    let site = Site::new()?;
    let kube_proxy = site.start_kube_proxy()?;
    let (mut connection, _) = site.pod.tcp(site.cluster_ip()).open()?;
    kube_proxy.stop()?;
    let flags = AgentFlags::new().kubeconfig(site.plane.agent()?);
    let _agent = site.a.start_agent(&flags)?;
    ensure!(connection.attempt()?.is_err(), "nobody refused it");
    Ok(())
}

#[test]
fn a_shadow_knows_everything_and_touches_nothing() -> Result<()> {
    let site = Site::new()?;
    let kube_proxy = site.start_kube_proxy()?;
    let flags = AgentFlags::new().kubeconfig(site.plane.agent()?);
    let shadow = site.a.start_agent(&flags.clone().with("--shadow", "true"))?;
    let json = |command| shadow.json(&site.a, &[command]);
    ensure!(json("status")?["programs"].as_array().is_some_and(Vec::is_empty), "programs");
    let frontends = json("services")?;
    let devices = json("devices")?;
    ensure!(devices.as_array().is_some_and(|devices| !devices.is_empty()), "no devices");
    // kube-proxy serves.
    site.crowds()?.ask("kube-proxy's, beside a shadow")?;
    ensure!(site.flows()? == 0, "Sluice has flows");
    shadow.stop()?;

    kube_proxy.stop()?;
    let agent = site.a.start_agent(&flags)?;
    ensure!(agent.json(&site.a, &["services"])? == frontends, "it serves something else");
    site.crowds()?.ask("Sluice's")?;
    agent.stop()?;

    // Where an agent has served, a shadow would be one no longer.
    let mut shadow =
        Agent::launch(&Sluice::of_workspace()?, &site.a, &flags.with("--shadow", "true"))?;
    shadow.wait_for_log(SOON, |line| line.starts_with("error: --shadow: programs are attached"))?;
    Ok(())
}
