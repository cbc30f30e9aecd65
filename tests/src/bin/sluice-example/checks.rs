//! The traffic, and what is expected of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use anyhow::{Result, bail};
use lab::{
    Family, Host, Server, Wire,
    probe::{Answer, Failure, Trouble},
};

use crate::stage::{Entrance, Service, Stage};

/// Requests of each check; that one of two endpoints gets none of them happens once in 8 million.
const REQUESTS: usize = 24;

/// A layer-4 protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Tcp,
    Udp,
}

/// What the answers have to be like.
enum Expected<'a> {
    /// Each of these servers answers, and no other.
    Answers(&'a [&'a Server]),
    /// Nobody answers: `ECONNREFUSED` within a second.
    Refusal,
}

/// Requests of one kind, and what came of them.
pub(crate) struct Check {
    pub(crate) from: String,
    pub(crate) what: &'static str,
    pub(crate) protocol: Protocol,
    pub(crate) to: SocketAddr,
    pub(crate) answers: BTreeMap<String, usize>,
    /// Where answers came from, as the client's socket tells it.
    pub(crate) client_saw: BTreeSet<SocketAddr>,
    /// Where the requests went, as the client's device tells it.
    pub(crate) on_the_wire: Option<SocketAddr>,
    /// Source addresses that servers saw.
    pub(crate) servers_saw: BTreeSet<IpAddr>,
    pub(crate) refusals: usize,
    pub(crate) faults: Vec<String>,
}

impl Check {
    /// Whether everything was as it should.
    pub(crate) fn passed(&self) -> bool {
        self.faults.is_empty()
    }
}

/// Pods' traffic while the socket path leaves pods alone.
pub(crate) fn on_the_packet_path(stage: &Stage) -> Result<Vec<Check>> {
    let greeters = [&stage.blue, &stage.green];
    let mut checks = Vec::new();
    for family in Family::BOTH {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let to = Service::Greeter.of(protocol, family);
            let expected = Expected::Answers(&greeters);
            checks.push(run(stage, &stage.client, "packet path", protocol, to, &expected)?);
        }
    }
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        let to = Service::Nobody.of(protocol, Family::V4);
        checks.push(run(stage, &stage.client, "packet path", protocol, to, &Expected::Refusal)?);
    }
    Ok(checks)
}

/// The same, after the agent was killed.
pub(crate) fn without_an_agent(stage: &Stage) -> Result<Vec<Check>> {
    let expected = Expected::Answers(&[&stage.blue, &stage.green]);
    let (tcp, udp) = (Service::Greeter.http(Family::V4), Service::Greeter.dns(Family::V6));
    Ok(vec![
        run(stage, &stage.client, "agent killed", Protocol::Tcp, tcp, &expected)?,
        run(stage, &stage.client, "agent killed", Protocol::Udp, udp, &expected)?,
    ])
}

/// TCP of pods, and all traffic of the node's own processes.
pub(crate) fn on_the_socket_path(stage: &Stage) -> Result<Vec<Check>> {
    let greeters = [&stage.blue, &stage.green];
    let mut checks = Vec::new();
    for family in Family::BOTH {
        let (tcp, udp) = (Service::Greeter.http(family), Service::Greeter.dns(family));
        for (host, protocol, to) in [
            (&stage.client, Protocol::Tcp, tcp),
            (&*stage.node, Protocol::Tcp, tcp),
            (&*stage.node, Protocol::Udp, udp),
        ] {
            let expected = Expected::Answers(&greeters);
            checks.push(run(stage, host, "socket path", protocol, to, &expected)?);
        }
    }
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        let to = Service::Nobody.of(protocol, Family::V6);
        checks.push(run(stage, &stage.node, "socket path", protocol, to, &Expected::Refusal)?);
    }
    let outside = Expected::Answers(&[&stage.legacy]);
    for (protocol, family) in [(Protocol::Tcp, Family::V4), (Protocol::Udp, Family::V6)] {
        let to = Service::Legacy.of(protocol, family);
        checks.push(run(stage, &stage.client, "to the outside", protocol, to, &outside)?);
    }
    Ok(checks)
}

/// Traffic of the outside host: by the node's address, and by that of a load balancer.
pub(crate) fn from_outside(stage: &Stage) -> Result<Vec<Check>> {
    let expected = Expected::Answers(&[&stage.blue, &stage.green]);
    let outside = stage.legacy.host();
    [
        ("node port", Entrance::NodePort, Protocol::Tcp, Family::V4),
        ("node port", Entrance::NodePort, Protocol::Udp, Family::V6),
        ("load balancer", Entrance::LoadBalancer, Protocol::Tcp, Family::V6),
        ("load balancer", Entrance::LoadBalancer, Protocol::Udp, Family::V4),
    ]
    .into_iter()
    .map(|(what, entrance, protocol, family)| {
        run(stage, outside, what, protocol, stage.entrance(entrance, protocol, family), &expected)
    })
    .collect()
}

/// Traffic that is no Service's.
pub(crate) fn without_a_service(stage: &Stage) -> Result<Vec<Check>> {
    let (outside, to) = (stage.legacy.host(), stage.blue.tcp(Family::V4));
    let expected = Expected::Answers(&[&stage.blue]);
    Ok(vec![run(stage, outside, "no Service", Protocol::Tcp, to, &expected)?])
}

impl Service {
    fn of(self, protocol: Protocol, family: Family) -> SocketAddr {
        match protocol {
            Protocol::Tcp => self.http(family),
            Protocol::Udp => self.dns(family),
        }
    }
}

fn run(
    stage: &Stage,
    from: &Host,
    what: &'static str,
    protocol: Protocol,
    to: SocketAddr,
    expected: &Expected<'_>,
) -> Result<Check> {
    let mut check = Check {
        from: from.name().to_owned(),
        what,
        protocol,
        to,
        answers: BTreeMap::new(),
        client_saw: BTreeSet::new(),
        on_the_wire: None,
        servers_saw: BTreeSet::new(),
        refusals: 0,
        faults: Vec::new(),
    };
    // A pod's device, or the outside host's. What the node's own processes send has many ways.
    let device = if from.name() == stage.legacy.name() { "uplink" } else { "eth0" };
    let wire = from.wire(device).ok();
    let own = from.device_addresses()?;
    for _ in 0..REQUESTS {
        if stage.end.is_wanted() {
            bail!("told to end");
        }
        let outcome = match protocol {
            Protocol::Tcp => from.tcp(to).attempt()?,
            Protocol::Udp => from.udp(to).attempt()?,
        };
        match (outcome, expected) {
            (Ok(answer), Expected::Answers(_)) => check.note_answer(answer, &own, wire.as_ref()),
            (Err(failure), Expected::Refusal) => check.note_refusal(&failure),
            (Ok(answer), Expected::Refusal) => {
                check.faults.push(format!("{} answered", answer.server));
            }
            (Err(failure), Expected::Answers(_)) => check.faults.push(failure.to_string()),
        }
    }
    if let Expected::Answers(servers) = expected {
        let names: BTreeSet<&str> = servers.iter().map(|server| server.name()).collect();
        let answered: BTreeSet<&str> = check.answers.keys().map(String::as_str).collect();
        if names != answered {
            check.faults.push(format!("{names:?} should have answered"));
        }
    }
    Ok(check)
}

impl Check {
    fn note_answer(&mut self, answer: Answer, own: &[IpAddr], wire: Option<&Wire>) {
        let client_saw = answer.received_from.or(answer.peer);
        if client_saw != Some(self.to) {
            self.faults.push(format!("the client saw {client_saw:?}"));
        }
        if !own.contains(&answer.client_seen.ip()) {
            self.faults.push(format!("{} saw {}", answer.server, answer.client_seen));
        }
        if self.on_the_wire.is_none()
            && let Some(wire) = wire
        {
            let sent =
                wire.expect(Duration::from_secs(1), |seen| seen.source() == answer.client_seen);
            self.on_the_wire = sent.ok().map(|seen| seen.destination());
        }
        self.client_saw.extend(client_saw);
        self.servers_saw.insert(answer.client_seen.ip());
        *self.answers.entry(answer.server).or_default() += 1;
    }

    fn note_refusal(&mut self, failure: &Failure) {
        self.refusals += 1;
        if failure.trouble != Trouble::Refused || failure.after() > Duration::from_secs(1) {
            self.faults.push(failure.to_string());
        }
    }
}
