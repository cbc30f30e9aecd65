//! The cluster that most stories happen in: two nodes, a client pod, and servers on the same node,
//! on the other node, and in the other node's host network.
//!
//! Node `a` runs the agent; node `b` only forwards, unless a story starts an agent there too.

use std::{
    collections::BTreeMap,
    fmt,
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use lab::{
    Addresses, Agent, AgentFlags, Family, Host, Lab, Node, Server, Uplink, Wiring,
    manifest::{self, Protocol, Service, endpoint_slice, service},
    probe::Answer,
};

pub(crate) use crate::exposed::{Exposed, Kind};

/// Port of the TCP Service port, and of the endpoints behind it.
pub(crate) const HTTP: (u16, u16) = (80, 8080);
/// Port of the UDP Service port, and of the endpoints behind it.
pub(crate) const DNS: (u16, u16) = (53, 5353);
/// Long enough to be sure that each of three endpoints is picked (odds of a miss: 1 in 10^15).
const PICKS: usize = 90;

/// Which programs do the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Path {
    /// The socket path is off: every packet is translated at tc.
    Packet,
    /// The socket path serves everyone: sockets are translated at connect() and sendmsg().
    Socket,
}

/// How pods are wired, and which path serves them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) wiring: Wiring,
    pub(crate) path: Path,
}

impl Shape {
    pub(crate) fn flags(self) -> AgentFlags {
        let scope = match self.path {
            Path::Packet => "off",
            Path::Socket => "all",
        };
        AgentFlags::new().socket_lb_tcp(scope).socket_lb_udp(scope)
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} pods, {:?} path", self.wiring, self.path)
    }
}

/// Runs a story (a function of a [`Shape`]) for every shape, as a module of tests.
macro_rules! in_every_shape {
    ($($story:ident),* $(,)?) => { $(
        mod $story {
            in_every_shape!(@test $story ptp_packet_path Ptp Packet);
            in_every_shape!(@test $story ptp_socket_path Ptp Socket);
            in_every_shape!(@test $story bridge_packet_path Bridge Packet);
            in_every_shape!(@test $story bridge_socket_path Bridge Socket);
            in_every_shape!(@test $story routed_packet_path Routed Packet);
            in_every_shape!(@test $story routed_socket_path Routed Socket);
        }
    )* };
    (@test $story:ident $name:ident $wiring:ident $path:ident) => {
        #[test]
        fn $name() -> anyhow::Result<()> {
            let (wiring, path) = (lab::Wiring::$wiring, $crate::cluster::Path::$path);
            super::$story($crate::cluster::Shape { wiring, path })
        }
    };
}

/// Runs a story (a function of a [`Shape`]) on both paths, as a module of tests, where the wiring of
/// pods makes no difference.
macro_rules! on_both_paths {
    ($($story:ident),* $(,)?) => { $(
        mod $story {
            in_every_shape!(@test $story ptp_packet_path Ptp Packet);
            in_every_shape!(@test $story bridge_socket_path Bridge Socket);
        }
    )* };
}

/// The cluster. Fields are dropped in order: agents first, the lab last.
pub(crate) struct Cluster {
    pub(crate) near: Server,
    pub(crate) far: Server,
    pub(crate) host_network: Server,
    pub(crate) client: Host,
    pub(crate) a: Node,
    pub(crate) b: Node,
    pub(crate) lab: Lab,
}

impl Cluster {
    /// Hosts and servers; manifests of the nodes and the ServiceCIDR, no Service.
    pub(crate) fn new(wiring: Wiring) -> Result<Self> {
        Self::on(wiring, Uplink::Ethernet)
    }

    /// Like [`Self::new`], with other uplinks.
    pub(crate) fn on(wiring: Wiring, uplink: Uplink) -> Result<Self> {
        let lab = Lab::with_uplinks(uplink)?;
        let (a, b) = (lab.node("node-a", wiring)?, lab.node("node-b", wiring)?);
        let client = a.pod("client")?;
        let near = a.pod("near")?.serve(HTTP.1, DNS.1)?;
        let far = b.pod("far")?.serve(HTTP.1, DNS.1)?;
        let host_network = b.serve(HTTP.1, DNS.1)?;
        let nodes = [manifest::node("node-a", &[]), manifest::node("node-b", &[])];
        manifest::write(&lab.manifests(), "nodes.yaml", &nodes)?;
        manifest::write(&lab.manifests(), "cidrs.yaml", &[manifest::service_cidr()])?;
        Ok(Self { near, far, host_network, client, a, b, lab })
    }

    /// A cluster with the Service `web` on all three servers, and an agent on node `a`.
    pub(crate) fn serving(shape: Shape) -> Result<(Self, Web, Agent)> {
        let cluster = Self::new(shape.wiring)?;
        let web = cluster.web(&cluster.all())?;
        let agent = cluster.a.start_agent(&shape.flags())?;
        Ok((cluster, web, agent))
    }

    pub(crate) fn all(&self) -> [&Server; 3] {
        [&self.near, &self.far, &self.host_network]
    }

    /// Writes the Service `web` with these endpoints.
    pub(crate) fn web(&self, endpoints: &[&Server]) -> Result<Web> {
        self.service("web", 10, endpoints)
    }

    /// Writes the Service `name` with the ClusterIPs of `number` and these endpoints.
    pub(crate) fn service(&self, name: &str, number: u8, endpoints: &[&Server]) -> Result<Web> {
        let addresses = Addresses::cluster_ips(number);
        let object = service(name, addresses).port("http", HTTP.0, Protocol::Tcp).port(
            "dns",
            DNS.0,
            Protocol::Udp,
        );
        self.write(name, &object, endpoints)?;
        Ok(Web { addresses })
    }

    /// Writes the Service `name` with every kind of frontend, finished by `finish`, and these
    /// endpoints.
    pub(crate) fn expose(
        &self,
        name: &str,
        number: u8,
        endpoints: &[&Server],
        finish: impl FnOnce(Service) -> Service,
    ) -> Result<Exposed> {
        let exposed = Exposed::new(number, &self.a);
        let object = service(name, Addresses::cluster_ips(number))
            .port("http", HTTP.0, Protocol::Tcp)
            .node_port(exposed.node_port())
            .port("dns", DNS.0, Protocol::Udp)
            .node_port(exposed.node_port())
            .load_balancer(Addresses::load_balancer_ips(number))
            .external_ips(Addresses::external_ips(number));
        self.write(name, &finish(object), endpoints)?;
        Ok(exposed)
    }

    /// Writes a Service with the ports `http` and `dns`, and its endpoints.
    pub(crate) fn write(&self, name: &str, object: &Service, endpoints: &[&Server]) -> Result<()> {
        let mut slice = endpoint_slice(name).port("http", HTTP.1, Protocol::Tcp).port(
            "dns",
            DNS.1,
            Protocol::Udp,
        );
        for server in endpoints {
            slice = slice.endpoint(server.host(), self.node_of(server)?);
        }
        let [v4, v6] = slice.objects();
        manifest::write(&self.lab.manifests(), &format!("{name}.yaml"), &[object.object(), v4, v6])
    }

    fn node_of(&self, server: &Server) -> Result<&Node> {
        let address = server.host().addresses().v4;
        [&self.a, &self.b]
            .into_iter()
            .find(|node| {
                node.addresses().v4 == address || {
                    let [_, pods, number, _] = address.octets();
                    pods == 244 && number == node.number()
                }
            })
            .with_context(|| format!("{} is on no node", server.name()))
    }
}

/// Addresses of a Service with the ports [`HTTP`] and [`DNS`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Web {
    pub(crate) addresses: Addresses,
}

impl Web {
    pub(crate) fn http(&self, family: Family) -> SocketAddr {
        self.at(family, HTTP.0)
    }

    pub(crate) fn dns(&self, family: Family) -> SocketAddr {
        self.at(family, DNS.0)
    }

    pub(crate) fn at(&self, family: Family, port: u16) -> SocketAddr {
        SocketAddr::new(self.addresses.of(family), port)
    }
}

/// Asks again and again, and counts how often each server answered. Every answer goes through
/// `check`.
pub(crate) fn tally(
    mut ask: impl FnMut() -> Result<Answer>,
    check: impl Fn(&Answer) -> Result<()>,
) -> Result<BTreeMap<String, usize>> {
    let mut answers = BTreeMap::new();
    for _ in 0..PICKS {
        let answer = ask()?;
        check(&answer).with_context(|| format!("{answer:?}"))?;
        *answers.entry(answer.server).or_default() += 1;
    }
    Ok(answers)
}

/// Tries until `attempt` has a result, and says how long that took.
pub(crate) fn eventually<T>(
    patience: Duration,
    mut attempt: impl FnMut() -> Result<Option<T>>,
) -> Result<(T, Duration)> {
    let start = Instant::now();
    loop {
        if let Some(result) = attempt()? {
            return Ok((result, start.elapsed()));
        }
        if start.elapsed() > patience {
            bail!("it did not come to pass within {patience:?}");
        }
        thread::sleep(Duration::from_millis(1));
    }
}
