//! `sessionAffinity: ClientIP`: a client's new connections go where its last ones went.

use std::{collections::BTreeSet, net::Ipv4Addr, time::Duration};

use anyhow::{Context as _, Result, ensure};
use lab::{AgentFlags, Family, Host, SERVICE_PREFIXES, Server, Wiring, manifest::Protocol};

use crate::{
    cluster::{Cluster, Exposed, Kind, eventually},
    site::{ask, by_all_means},
};

const NUMBER: u8 = 50;
/// Long enough for every test, and short enough to be waited for where a test wants that.
const LONG: u32 = 600;
const SHORT: u32 = 1;
const PATIENCE: Duration = Duration::from_secs(20);
/// New connections that all have to go to one of three endpoints (odds of chance: 1 in 59,049).
const CONNECTIONS: usize = 11;

struct Sticky {
    outside: Host,
    cluster: Cluster,
}

impl Sticky {
    fn new(timeout: u32) -> Result<Self> {
        let cluster = Cluster::new(Wiring::Ptp)?;
        let outside = cluster.lab.outside("outside")?;
        cluster.lab.route(&SERVICE_PREFIXES, &cluster.a)?;
        let sticky = Self { outside, cluster };
        sticky.write(&sticky.cluster.all(), Some(timeout))?;
        Ok(sticky)
    }

    fn write(&self, endpoints: &[&Server], timeout: Option<u32>) -> Result<Exposed> {
        self.cluster.expose("sticky", NUMBER, endpoints, |service| match timeout {
            Some(seconds) => service.affinity(seconds),
            None => service,
        })
    }

    fn service(&self) -> Exposed {
        Exposed::new(NUMBER, &self.cluster.a)
    }

    fn clients(&self) -> [&Host; 3] {
        [&self.outside, &self.cluster.client, &self.cluster.a]
    }

    /// Who answers the client's next connection.
    fn next(
        &self,
        client: &Host,
        kind: Kind,
        family: Family,
        protocol: Protocol,
    ) -> Result<String> {
        Ok(ask(client, self.service().at(kind, family, protocol), protocol)?.server)
    }

    /// The one server that all of the client's connections go to, through every frontend.
    fn stays(&self, client: &Host, family: Family, protocol: Protocol) -> Result<String> {
        let mut servers = BTreeSet::new();
        for number in 0..CONNECTIONS {
            let kind = Kind::ALL[number % Kind::ALL.len()];
            servers.insert(self.next(client, kind, family, protocol)?);
        }
        let first = servers.pop_first().context("somebody answered")?;
        ensure!(servers.is_empty(), "{} reaches {first} and {servers:?}", client.name());
        Ok(first)
    }
}

#[test]
fn a_client_stays_with_its_endpoint_across_frontends_and_restarts() -> Result<()> {
    // On the socket path everything but pods' connections to such a Service is translated.
    for scope in ["host", "all"] {
        let sticky = Sticky::new(LONG)?;
        let flags = AgentFlags::new().socket_lb_tcp(scope).socket_lb_udp(scope);
        let agent = sticky.cluster.a.start_agent(&flags)?;
        let mut before = Vec::new();
        by_all_means(|family, protocol| {
            for client in sticky.clients() {
                before.push(sticky.stays(client, family, protocol)?);
            }
            Ok(())
        })?;
        agent.kill()?;
        let _agent = sticky.cluster.a.start_agent(&flags)?;
        let mut after = Vec::new();
        by_all_means(|family, protocol| {
            for client in sticky.clients() {
                after.push(sticky.stays(client, family, protocol)?);
            }
            Ok(())
        })?;
        ensure!(before == after, "before the restart {before:?}, after it {after:?}");
    }
    Ok(())
}

#[test]
fn clients_are_told_apart_by_their_address() -> Result<()> {
    let sticky = Sticky::new(LONG)?;
    let _agent = sticky.cluster.a.start_agent(&AgentFlags::new())?;
    let to = sticky.service().at(Kind::NodePort, Family::V4, Protocol::Tcp);
    let mut servers = BTreeSet::new();
    for number in 210..240 {
        let address = Ipv4Addr::new(172, 18, 0, number);
        sticky.outside.namespace().ip(&format!("address add {address}/24 dev uplink"))?;
        servers.insert(sticky.outside.tcp(to).from(address.into()).ask()?.server);
    }
    ensure!(servers.len() == 3, "thirty clients reach {servers:?} only");
    Ok(())
}

#[test]
fn a_client_that_comes_back_too_late_is_sent_anywhere() -> Result<()> {
    let sticky = Sticky::new(SHORT)?;
    let _agent = sticky.cluster.a.start_agent(&AgentFlags::new())?;
    by_all_means(|family, protocol| {
        for client in sticky.clients() {
            let first = sticky.next(client, Kind::NodePort, family, protocol)?;
            eventually(Duration::from_secs(60), || {
                std::thread::sleep(Duration::from_millis(1100));
                let next = sticky.next(client, Kind::NodePort, family, protocol)?;
                Ok((next != first).then_some(()))
            })
            .with_context(|| format!("{} stays with {first}", client.name()))?;
        }
        Ok(())
    })
}

#[test]
fn packets_of_a_connection_keep_the_client_with_its_endpoint() -> Result<()> {
    let sticky = Sticky::new(2)?;
    let _agent = sticky.cluster.a.start_agent(&AgentFlags::new())?;
    for family in Family::BOTH {
        let to = sticky.service().at(Kind::NodePort, family, Protocol::Tcp);
        for client in [&sticky.outside, &sticky.cluster.client] {
            let (mut connection, first) = client.tcp(to).open()?;
            // Twice as long as a client that says nothing would be remembered.
            for _ in 0..16 {
                std::thread::sleep(Duration::from_millis(250));
                connection.ask()?;
            }
            for _ in 0..CONNECTIONS {
                let next = sticky.next(client, Kind::NodePort, family, Protocol::Tcp)?;
                ensure!(next == first.server, "{} went on to {next}", client.name());
            }
        }
    }
    Ok(())
}

#[test]
fn when_its_endpoint_leaves_the_client_gets_another_one_and_keeps_its_connections() -> Result<()> {
    let sticky = Sticky::new(LONG)?;
    let _agent = sticky.cluster.a.start_agent(&AgentFlags::new())?;
    for client in sticky.clients() {
        sticky.write(&sticky.cluster.all(), Some(LONG))?;
        let to = sticky.service().at(Kind::NodePort, Family::V4, Protocol::Tcp);
        eventually(PATIENCE, || Ok(client.tcp(to).attempt()?.ok()))?;
        let (mut connection, first) = client.tcp(to).open()?;
        let left: Vec<&Server> =
            sticky.cluster.all().into_iter().filter(|one| one.name() != first.server).collect();
        sticky.write(&left, Some(LONG))?;
        eventually(PATIENCE, || {
            let next = sticky.next(client, Kind::NodePort, Family::V4, Protocol::Tcp)?;
            Ok((next != first.server).then_some(()))
        })?;
        let second = sticky.stays(client, Family::V4, Protocol::Tcp)?;
        ensure!(second != first.server, "{} is back at {second}", client.name());
        ensure!(connection.ask()?.server == first.server, "the old connection moved");
    }
    Ok(())
}

#[test]
fn turning_affinity_off_counts_from_the_next_connection_on() -> Result<()> {
    let sticky = Sticky::new(LONG)?;
    let _agent = sticky.cluster.a.start_agent(&AgentFlags::new())?;
    let mut before = Vec::new();
    for client in sticky.clients() {
        before.push(sticky.stays(client, Family::V6, Protocol::Tcp)?);
    }
    sticky.write(&sticky.cluster.all(), None)?;
    for (client, first) in sticky.clients().into_iter().zip(before) {
        eventually(PATIENCE, || {
            let next = sticky.next(client, Kind::NodePort, Family::V6, Protocol::Tcp)?;
            Ok((next != first).then_some(()))
        })?;
    }
    Ok(())
}
