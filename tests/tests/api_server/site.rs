//! Where the stories happen: two nodes, a client pod, a server on each node, a control plane. The
//! agent is on node `a`.

use std::{
    fmt,
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use lab::{
    Addresses, Agent, AgentFlags, Family, Host, Lab, Load, Node, Server, Wiring,
    control_plane::{ControlPlane, Settings},
    manifest::{self, Protocol, endpoint_slice, service},
};
use serde_json::{Value, json};

/// Port of the Service port, and of the endpoints behind it.
const HTTP: (u16, u16) = (80, 8080);
/// The servers' port for UDP, which no Service of these stories has.
const DNS: u16 = 5353;
/// Long enough for a back-off of the agent's to end, on a machine that is busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);

/// The site. Fields are dropped in order.
pub(crate) struct Site {
    pub(crate) plane: ControlPlane,
    pub(crate) near: Server,
    pub(crate) far: Server,
    pub(crate) client: Host,
    pub(crate) a: Node,
    pub(crate) b: Node,
    _lab: Lab,
}

impl Site {
    /// With both Nodes on the API server, and no Service of ours.
    pub(crate) fn new(settings: Settings) -> Result<Self> {
        let lab = Lab::new()?;
        let (a, b) = (lab.node("node-a", Wiring::Ptp)?, lab.node("node-b", Wiring::Ptp)?);
        let client = a.pod("client")?;
        let near = a.pod("near")?.serve(HTTP.1, DNS)?;
        let far = b.pod("far")?.serve(HTTP.1, DNS)?;
        let plane = ControlPlane::start(&lab, settings)?;
        for node in [&a, &b] {
            let mut object = manifest::node(node.name(), &[]);
            plane.api().create(std::slice::from_ref(&object))?;
            let addresses =
                node.addresses().both().map(|it| json!({ "type": "InternalIP", "address": it }));
            object["status"] = json!({ "addresses": addresses });
            plane.api().set_status(&[object])?;
        }
        Ok(Self { plane, near, far, client, a, b, _lab: lab })
    }

    /// An agent that follows the API server directly.
    pub(crate) fn start_agent(&self) -> Result<Agent> {
        self.a.start_agent(&AgentFlags::new().kubeconfig(self.plane.agent()?))
    }

    /// Creates or changes the Service `name` with the ClusterIPs of `number`.
    pub(crate) fn publish(&self, name: &str, number: u8, endpoints: &[&Server]) -> Result<Web> {
        let web = Web { name: name.to_owned(), addresses: Addresses::cluster_ips(number) };
        let object = service(name, web.addresses)
            .port("http", HTTP.0, Protocol::Tcp)
            .with("ipFamilyPolicy", "RequireDualStack")
            .object();
        self.plane.api().apply(&[object])?;
        self.point(&web, endpoints)?;
        Ok(web)
    }

    /// Gives the Service these endpoints.
    pub(crate) fn point(&self, web: &Web, endpoints: &[&Server]) -> Result<()> {
        self.plane.api().apply(&self.slices(web, endpoints))
    }

    /// The EndpointSlices of the Service.
    pub(crate) fn slices(&self, web: &Web, endpoints: &[&Server]) -> [Value; 2] {
        let mut slice = endpoint_slice(&web.name).port("http", HTTP.1, Protocol::Tcp);
        for server in endpoints {
            let node = if server.name() == self.far.name() { &self.b } else { &self.a };
            slice = slice.endpoint(server.host(), node);
        }
        slice.objects()
    }

    /// Waits until `server`, and nobody else, answers at the Service; says how long that took.
    pub(crate) fn until_answers(&self, web: &Web, server: &Server) -> Result<Duration> {
        let start = Instant::now();
        for family in Family::BOTH {
            eventually(&format!("{} answers at {web} over {family}", server.name()), || {
                let client = self.client.tcp(web.at(family)).patience_ms(500);
                Ok(client.attempt()?.is_ok_and(|answer| answer.server == server.name()))
            })?;
        }
        Ok(start.elapsed())
    }

    /// `server` answers at the Service, at once.
    pub(crate) fn assert_answers(&self, web: &Web, server: &Server) -> Result<()> {
        for family in Family::BOTH {
            let answer = self.client.tcp(web.at(family)).ask()?;
            anyhow::ensure!(answer.server == server.name(), "{} answers at {web}", answer.server);
        }
        Ok(())
    }

    /// One connection to the Service after the other, for so long.
    pub(crate) fn load(&self, web: &Web, duration: Duration) -> Result<Load> {
        self.client.load(web.at(Family::V4), duration)
    }
}

/// A Service.
#[derive(Clone, Debug)]
pub(crate) struct Web {
    pub(crate) name: String,
    pub(crate) addresses: Addresses,
}

impl Web {
    pub(crate) fn at(&self, family: Family) -> SocketAddr {
        SocketAddr::new(self.addresses.of(family), HTTP.0)
    }
}

impl fmt::Display for Web {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// Waits until `attempt` is true.
pub(crate) fn eventually(what: &str, mut attempt: impl FnMut() -> Result<bool>) -> Result<()> {
    let start = Instant::now();
    while !attempt()? {
        if start.elapsed() > PATIENCE {
            bail!("it did not come to pass within {PATIENCE:?} that {what}");
        }
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}
