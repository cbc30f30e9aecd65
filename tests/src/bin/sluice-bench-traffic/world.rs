//! Where it is measured: a node for each mode with a client pod and a server pod, one more node with
//! the far server, a client outside, and one API server that all proxies follow.
//!
//! All proxies run all the time and are idle but for the one whose turn it is.

use std::{
    env,
    net::SocketAddr,
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use lab::{
    Agent, AgentFlags, Family, Host, Lab, Node, Process, Sluice, Wiring,
    bench::seed::Seed,
    control_plane::{ControlPlane, KubeProxy, Settings},
    manifest, probe,
};
use serde_json::{Value, json};

use crate::{
    Plan,
    load::{Seen, Work},
    modes::{Case, Mode, Way},
};

/// So many objects are made at a time.
const PIECE: u32 = 2_000;
/// How long a proxy may take to serve, and to be idle again: with an nft before 1.1 kube-proxy takes many
/// minutes for 30,000 Services.
const PATIENCE: Duration = Duration::from_mins(30);
/// A proxy that has taken no more of the CPU than this in a period is idle.
const IDLE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_millis(10));
const FAR: Names = Names { name: "far", cluster_ip: 100, node_ports: 31_000 };

/// A Service: its name, the last byte of its ClusterIP, the first of its NodePorts.
#[derive(Clone, Copy)]
struct Names {
    name: &'static str,
    cluster_ip: u8,
    node_ports: u16,
}

enum Proxy {
    None,
    Sluice { _agent: Box<Agent> },
    KubeProxy(KubeProxy),
}

struct Place {
    mode: Mode,
    names: Names,
    proxy: Proxy,
    client: Host,
    near: Host,
    node: Node,
}

/// All of it. Fields are dropped in order: processes first, the lab last.
pub(crate) struct World {
    places: Vec<Place>,
    _servers: Vec<Process>,
    plane: ControlPlane,
    far: Host,
    outside: Host,
    far_node: Node,
    seed: Seed,
    filled: u32,
    cpu: usize,
    lab: Lab,
}

impl World {
    pub(crate) fn new(plan: &Plan, modes: &[Mode], cpu: usize) -> Result<Self> {
        let lab = Lab::with_probe(probe::ProbeProgram::in_this_program("probe")?)?;
        let (far_node, outside) = (lab.node("node-b", Wiring::Ptp)?, lab.outside("outside")?);
        let far = far_node.pod("far")?;
        let mut servers = vec![serve(&far, cpu)?];
        let mut places = Vec::new();
        for (number, &mode) in (0..).zip(modes) {
            let node = lab.node(mode.node(), Wiring::Ptp)?;
            let client = node.pod(&format!("client-{}", mode.node()))?;
            let near = node.pod(&format!("near-{}", mode.node()))?;
            servers.push(serve(&near, cpu)?);
            let names = Names {
                name: mode.node(),
                cluster_ip: 101 + number,
                node_ports: 31_100 + 100 * u16::from(number),
            };
            places.push(Place { mode, names, proxy: Proxy::None, client, near, node });
        }
        let plane = ControlPlane::start(&lab, Settings::default())?;
        let mut objects = service(FAR, &far, &far_node);
        for place in &places {
            let node = &place.node;
            let object = manifest::node_with_addresses(node.name(), &node.addresses().both());
            plane.api().create(std::slice::from_ref(&object))?;
            plane.api().set_status(&[object])?;
            objects.extend(service(place.names, &place.near, node));
        }
        plane.api().create(&objects)?;
        let seed = Seed {
            service: template(&plane, "Service", FAR.name)?,
            slice: template(&plane, "EndpointSlice", &slice_name(FAR.name))?,
            endpoints: 1,
        };
        let mut world = Self {
            places,
            _servers: servers,
            plane,
            far,
            outside,
            far_node,
            seed,
            filled: 0,
            cpu,
            lab,
        };
        world.lead_far_through_a_node()?;
        world.start(&Sluice::at(plan.sluice.as_deref().context("--sluice")?))?;
        Ok(world)
    }

    /// Without a proxy too, what goes to the far server from outside crosses a node on both ways.
    fn lead_far_through_a_node(&self) -> Result<()> {
        let place = self.place(Mode::None)?;
        place.node.namespace().set_parameters(&[
            ("ipv4/conf/all/send_redirects", "0"),
            ("ipv4/conf/uplink/send_redirects", "0"),
        ])?;
        self.lab.route(&[&format!("{}/32", self.far.address(Family::V4))], &place.node)?;
        let (outside, node) = (self.outside.address(Family::V4), place.node.address(Family::V4));
        self.far_node.namespace().ip(&format!("route add {outside}/32 via {node}"))
    }

    fn start(&mut self, sluice: &Sluice) -> Result<()> {
        for place in &mut self.places {
            let flags = || -> Result<_> { Ok(AgentFlags::new().kubeconfig(self.plane.agent()?)) };
            let agent = |flags| -> Result<_> {
                let agent = Agent::start_by(sluice, &place.node, &flags)?;
                Ok(Proxy::Sluice { _agent: Box::new(agent) })
            };
            let kube_proxy = |mode| -> Result<_> {
                let proxy = self.plane.serve_by_kube_proxy(&place.node, mode, None)?;
                Ok(Proxy::KubeProxy(proxy))
            };
            place.proxy = match place.mode {
                Mode::None => Proxy::None,
                Mode::SluiceSocket => agent(flags()?)?,
                Mode::SluicePacket => agent(flags()?.socket_lb_tcp("host").socket_lb_udp("host"))?,
                Mode::KubeProxyNftables => kube_proxy("nftables")?,
                Mode::KubeProxyIptables => kube_proxy("iptables")?,
            };
        }
        Ok(())
    }

    /// Makes it `size` Services beside those that are asked, if there are fewer.
    pub(crate) fn fill(&mut self, size: u32) -> Result<()> {
        while self.filled < size {
            let end = size.min(self.filled + PIECE);
            let objects: Vec<Value> =
                (self.filled..end).flat_map(|number| self.seed.objects(number)).collect();
            self.plane.store(&objects)?;
            self.filled = end;
        }
        Ok(())
    }

    /// Waits until every proxy serves every case and is idle.
    pub(crate) fn settle(&mut self, cases: &[Case]) -> Result<()> {
        let start = Instant::now();
        for index in 0..self.places.len() {
            let mode = self.places[index].mode;
            for &case in cases {
                while let Err(error) = self.ask(mode, case, Duration::from_millis(1)) {
                    ensure!(start.elapsed() < PATIENCE, "{mode}, {case:?}: {error:#}");
                    thread::sleep(Duration::from_millis(200));
                }
            }
            let place = &mut self.places[index];
            let cgroup = place.node.processes().clone();
            loop {
                if let Proxy::KubeProxy(proxy) = &mut place.proxy
                    && let Some(status) = proxy.status()?
                {
                    bail!("{mode} ended with {status}:\n{}", proxy.log()?);
                }
                let before = cgroup.cpu_time()?;
                thread::sleep(IDLE.0);
                if cgroup.cpu_time()?.saturating_sub(before) <= IDLE.1 {
                    break;
                }
                ensure!(start.elapsed() < PATIENCE, "{mode} isn't idle after {PATIENCE:?}");
            }
        }
        Ok(())
    }

    /// One sample.
    pub(crate) fn ask(&self, mode: Mode, (way, work): Case, length: Duration) -> Result<Seen> {
        let place = self.place(mode)?;
        let (client, names, server) = match way {
            Way::ClusterIp => (&place.client, place.names, &place.near),
            Way::NodePortNear => (&self.outside, place.names, &place.near),
            Way::NodePortFar => (&self.outside, FAR, &self.far),
        };
        let to = match (mode, way) {
            (Mode::None, _) => SocketAddr::new(server.address(Family::V4), work.port()),
            (_, Way::ClusterIp) => SocketAddr::new(cluster_ip(names).parse()?, work.port()),
            _ => SocketAddr::new(place.node.address(Family::V4), node_port(names, work)),
        };
        let work = clap::ValueEnum::to_possible_value(&work).context("work has a name")?;
        let output = client
            .command(env::current_exe()?)?
            .args(["ask", work.get_name(), &to.to_string()])
            .args([length.as_millis().to_string(), self.cpu.to_string()])
            .stdin(Stdio::null())
            .output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "asking {to}: {}", said.trim());
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// CPU time that everything in the lab has taken.
    pub(crate) fn cpu_time(&self) -> Result<Duration> {
        self.lab.cgroup().cpu_time()
    }

    fn place(&self, mode: Mode) -> Result<&Place> {
        self.places.iter().find(|place| place.mode == mode).context("every mode has a place")
    }
}

fn serve(host: &Host, cpu: usize) -> Result<Process> {
    let mut command = host.command(env::current_exe()?)?;
    command.args(["serve", &host.address(Family::V4).to_string(), &cpu.to_string()]);
    command.stdin(Stdio::null());
    Process::start(&format!("server of {}", host.name()), &mut command)
}

fn cluster_ip(names: Names) -> String {
    format!("10.96.0.{}", names.cluster_ip)
}

fn node_port(names: Names, work: Work) -> u16 {
    names.node_ports + (work.port() - Work::Connect.port())
}

fn slice_name(service: &str) -> String {
    format!("{service}-1")
}

/// A Service with every port of the servers, and its slice with one endpoint.
fn service(names: Names, host: &Host, node: &Node) -> Vec<Value> {
    let works = [
        (Work::Connect, "TCP"),
        (Work::Request, "TCP"),
        (Work::Bulk, "TCP"),
        (Work::UdpOne, "UDP"),
    ];
    let ports = works.map(|(work, protocol)| {
        json!({
            "name": format!("port-{}", work.port()), "protocol": protocol, "port": work.port(),
            "targetPort": work.port(), "nodePort": node_port(names, work),
        })
    });
    let slice_ports = works.map(|(work, protocol)| {
        json!({ "name": format!("port-{}", work.port()), "protocol": protocol, "port": work.port() })
    });
    vec![
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": { "name": names.name },
            "spec": { "type": "NodePort", "clusterIP": cluster_ip(names), "ports": ports },
        }),
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {
                "name": slice_name(names.name),
                "labels": { "kubernetes.io/service-name": names.name },
            },
            "addressType": "IPv4",
            "ports": slice_ports,
            "endpoints": [{
                "addresses": [host.address(Family::V4)],
                "conditions": { "ready": true },
                "nodeName": node.name(),
            }],
        }),
    ]
}

/// An object as the API server has it, without what is its own. A Service is made a plain one with
/// one port, as most are.
fn template(plane: &ControlPlane, kind: &str, name: &str) -> Result<Value> {
    let mut object = plane.api().get(kind, name)?;
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("resourceVersion");
    }
    if kind == "Service" {
        let spec = object["spec"].as_object_mut().context("a Service has a spec")?;
        spec.insert("type".to_owned(), "ClusterIP".into());
        spec.remove("externalTrafficPolicy");
        let ports = spec.get_mut("ports").and_then(Value::as_array_mut).context("ports")?;
        ports.truncate(1);
        ports.iter_mut().filter_map(Value::as_object_mut).for_each(|port| {
            port.remove("nodePort");
        });
    } else {
        object["ports"].as_array_mut().context("a slice has ports")?.truncate(1);
    }
    Ok(object)
}
