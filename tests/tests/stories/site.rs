//! The site that rows are checked on: the cluster, a server in the host network of the node that
//! runs the agent, an outside host that routes Services to that node, and a Service for every kind
//! of endpoint and policy, each with every kind of frontend.

use std::{collections::BTreeSet, fmt, net::SocketAddr};

use anyhow::{Context as _, Result, ensure};
use lab::{
    Agent, AgentFlags, Family, Host, SERVICE_PREFIXES, Server, Uplink, Wiring,
    manifest::{Protocol, Service},
    probe::{Answer, Failure, Trouble},
};

use crate::{
    cluster::{Cluster, Exposed, Path},
    errnos::{Call, Errnos, Verdict, on_the_wire},
};

/// Attempts until every endpoint of a set must have answered.
const PICKS_MAX: usize = 200;
/// Attempts that all have to be answered by endpoints that may.
const PICKS: usize = 8;
/// How long to wait for an answer that must not come.
pub(crate) const SILENCE_MS: u64 = 60;

/// How pods are wired, what uplinks are, and which path serves pods.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) wiring: Wiring,
    pub(crate) uplink: Uplink,
    pub(crate) path: Path,
}

impl Place {
    /// Processes of the node are always served at their sockets: they have no other path.
    pub(crate) fn flags(self) -> AgentFlags {
        let scope = match self.path {
            Path::Packet => "host",
            Path::Socket => "all",
        };
        AgentFlags::new().socket_lb_tcp(scope).socket_lb_udp(scope)
    }
}

impl Place {
    /// Whether what pods send to nodes is masqueraded by the CNI.
    pub(crate) fn masquerades(self) -> bool {
        self.uplink == Uplink::Vxlan
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} pods, {} uplinks, {:?} path", self.wiring, self.uplink, self.path)
    }
}

/// The site. Fields are dropped in order: the agent first, the cluster last.
pub(crate) struct Site {
    agent: Option<Agent>,
    errnos: Errnos,
    /// A server in the host network of the node that runs the agent.
    pub(crate) own: Server,
    /// Endpoints of every kind.
    pub(crate) everywhere: Exposed,
    /// One endpoint: a pod of the node; the node itself; a pod of the other node; the other node.
    pub(crate) by_endpoint: [Exposed; 4],
    /// `internalTrafficPolicy: Local`, an endpoint on each node.
    pub(crate) inner: Exposed,
    /// `externalTrafficPolicy: Local`, an endpoint on each node.
    pub(crate) outer: Exposed,
    /// `internalTrafficPolicy: Local`, an endpoint on the other node only.
    pub(crate) inner_remote: Exposed,
    /// `externalTrafficPolicy: Local`, an endpoint on the other node only.
    pub(crate) outer_remote: Exposed,
    /// No endpoint.
    pub(crate) empty: Exposed,
    pub(crate) outside: Host,
    pub(crate) cluster: Cluster,
    pub(crate) place: Place,
}

impl Site {
    pub(crate) fn new(place: Place) -> Result<Self> {
        let cluster = Cluster::on(place.wiring, place.uplink)?;
        let outside = cluster.lab.outside("outside")?;
        cluster.lab.route(&SERVICE_PREFIXES, &cluster.a)?;
        let own = cluster.a.serve(crate::cluster::HTTP.1, crate::cluster::DNS.1)?;
        let (near, far, remote) = (&cluster.near, &cluster.far, &cluster.host_network);
        let local = |field: &'static str| move |service: Service| service.with(field, "Local");
        let (inner, outer) = ("internalTrafficPolicy", "externalTrafficPolicy");
        let plain = |service| service;
        let everywhere = cluster.expose("everywhere", 1, &[near, &own, far, remote], plain)?;
        let by_endpoint = [
            cluster.expose("at-near", 2, &[near], plain)?,
            cluster.expose("at-own", 3, &[&own], plain)?,
            cluster.expose("at-far", 4, &[far], plain)?,
            cluster.expose("at-host-network", 5, &[remote], plain)?,
        ];
        let inner_remote = cluster.expose("inner-remote", 8, &[far], local(inner))?;
        let outer_remote = cluster.expose("outer-remote", 9, &[far], local(outer))?;
        let inner = cluster.expose("inner", 6, &[near, far], local(inner))?;
        let outer = cluster.expose("outer", 7, &[near, far], local(outer))?;
        let empty = cluster.expose("empty", 10, &[], plain)?;
        crate::rows::frontends::furnish(&cluster)?;
        crate::rows::paths::furnish(&cluster)?;
        crate::rows::ranges::furnish(&cluster, &outside)?;
        let agent = cluster.a.start_agent(&place.flags())?;
        let errnos = Errnos::of(&agent.json(&cluster.a, &["status"])?)?;
        Ok(Self {
            agent: Some(agent),
            errnos,
            own,
            everywhere,
            by_endpoint,
            inner,
            outer,
            inner_remote,
            outer_remote,
            empty,
            outside,
            cluster,
            place,
        })
    }

    /// Kills the agent, and starts one with these flags.
    pub(crate) fn restart_agent(&mut self, flags: &AgentFlags) -> Result<()> {
        if let Some(agent) = self.agent.take() {
            agent.kill()?;
        }
        self.agent = Some(self.cluster.a.start_agent(flags)?);
        Ok(())
    }

    /// Servers in the order of [`Self::by_endpoint`].
    pub(crate) fn servers(&self) -> [&Server; 4] {
        let Cluster { near, far, host_network, .. } = &self.cluster;
        [near, &self.own, far, host_network]
    }

    /// Everyone that may be a client: an outside host, a pod of the node, a process of the node.
    pub(crate) fn clients(&self) -> [&Host; 3] {
        [&self.outside, &self.cluster.client, &self.cluster.a]
    }

    /// Whether `client` is on the node that runs the agent.
    pub(crate) fn is_inside(&self, client: &Host) -> bool {
        client.name() != self.outside.name()
    }
}

impl Site {
    /// Whether packets of `client` carry the frontend's address, and not the endpoint's.
    pub(crate) fn is_translated_on_the_wire(&self, client: &Host) -> bool {
        !self.is_inside(client) || self.place.path == Path::Packet
    }

    /// What `call` of `client` fails with that meets `verdict`.
    pub(crate) fn trouble(&self, client: &Host, call: Call, verdict: Verdict) -> Trouble {
        let node = client.name() == self.cluster.a.name();
        let pod_in_scope = self.is_inside(client) && self.place.path == Path::Socket;
        // A pod's packet is dropped on the packet path, whatever its scope.
        if node || pod_in_scope && verdict == Verdict::Reject {
            self.errnos.at_the_socket(call, verdict)
        } else {
            on_the_wire(verdict)
        }
    }
}

/// Asks once. The answer has to come from where the question went.
pub(crate) fn ask(client: &Host, to: SocketAddr, protocol: Protocol) -> Result<Answer> {
    let answer = match protocol {
        Protocol::Tcp => client.tcp(to).ask(),
        _ => client.udp(to).ask(),
    }
    .with_context(|| format!("{} asks {to}, {protocol:?}", client.name()))?;
    let heard = answer.received_from.or(answer.peer);
    ensure!(heard == Some(to), "{} asked {to} and heard {heard:?}", client.name());
    Ok(answer)
}

/// Asks once, where nobody should answer.
pub(crate) fn fail(
    client: &Host,
    to: SocketAddr,
    protocol: Protocol,
    patience_ms: u64,
) -> Result<Failure> {
    match protocol {
        Protocol::Tcp => client.tcp(to).patience_ms(patience_ms).refusal(),
        _ => client.udp(to).patience_ms(patience_ms).refusal(),
    }
    .with_context(|| format!("{} asks {to}, {protocol:?}", client.name()))
}

/// The call that [`ask`] and [`fail`] ask by.
pub(crate) fn call(protocol: Protocol) -> Call {
    if protocol == Protocol::Tcp { Call::Connect } else { Call::Sendmsg }
}

/// Asks until each of `servers` has answered, and a few times more; nobody else may.
pub(crate) fn reach(
    client: &Host,
    to: SocketAddr,
    protocol: Protocol,
    servers: &[&Server],
) -> Result<Vec<Answer>> {
    let expected: BTreeSet<&str> = servers.iter().map(|server| server.name()).collect();
    let mut answered = BTreeSet::new();
    let mut answers = Vec::new();
    while answers.len() < PICKS || answered != expected {
        let answer = ask(client, to, protocol)?;
        let name = expected.get(answer.server.as_str()).with_context(|| {
            format!("{} asked {to} and {} answered", client.name(), answer.server)
        })?;
        answered.insert(*name);
        answers.push(answer);
        ensure!(answers.len() < PICKS_MAX, "only {answered:?} of {expected:?} answer at {to}");
    }
    Ok(answers)
}

/// Does `check` for both families, over TCP and UDP.
pub(crate) fn by_all_means(mut check: impl FnMut(Family, Protocol) -> Result<()>) -> Result<()> {
    for family in Family::BOTH {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            check(family, protocol).with_context(|| format!("{family}, {protocol:?}"))?;
        }
    }
    Ok(())
}
