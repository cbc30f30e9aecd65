//! Connections outlive what happens to their Service: they stay with their endpoint as long as it
//! answers.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lab::{
    AgentFlags, Conversation, Family, Host, SERVICE_PREFIXES, Wiring,
    manifest::{self, Protocol},
};

use crate::cluster::{Cluster, Exposed, Kind, eventually};

const NUMBER: u8 = 52;
const PATIENCE: Duration = Duration::from_secs(20);
const FLAGS: [(&str, &str); 2] = [("--socket-lb-tcp", "host"), ("--sweep-interval", "200ms")];

#[test]
fn connections_outlive_endpoints_policies_the_service_and_the_agent() -> Result<()> {
    let cluster = Cluster::new(Wiring::Ptp)?;
    let outside = cluster.lab.outside("outside")?;
    cluster.lab.route(&SERVICE_PREFIXES, &cluster.a)?;
    let flags =
        FLAGS.iter().fold(AgentFlags::new(), |flags, (name, value)| flags.with(name, value));
    let service = cluster.expose("brief", NUMBER, &[&cluster.near, &cluster.far], |it| it)?;
    let agent = cluster.a.start_agent(&flags)?;
    let mut open = Vec::new();
    for family in Family::BOTH {
        for client in [&outside, &cluster.client, &cluster.a] {
            for kind in Kind::ALL {
                let to = service.at(kind, family, Protocol::Tcp);
                // Until there is one with each endpoint.
                for server in ["near", "far"] {
                    open.push((server, connect(client, to, server)?));
                }
            }
        }
    }
    let mut all_work = |what: &str| -> Result<()> {
        for _ in 0..2 {
            for (server, connection) in &mut open {
                let answer = connection.ask().with_context(|| what.to_owned())?;
                ensure!(answer.server == *server, "{what}: {} answered", answer.server);
            }
        }
        Ok(())
    };
    all_work("nothing has happened yet")?;

    cluster.expose("brief", NUMBER, &[&cluster.host_network], |it| it)?;
    reached(&outside, service, Some("node-b"))?;
    all_work("after the endpoints were replaced")?;

    cluster.expose("brief", NUMBER, &[&cluster.near], |it| {
        it.with("externalTrafficPolicy", "Local").with("internalTrafficPolicy", "Local")
    })?;
    reached(&outside, service, Some("near"))?;
    all_work("after the policies became Local")?;

    agent.kill()?;
    all_work("after the agent was killed")?;
    let _agent = cluster.a.start_agent(&flags)?;
    all_work("after the agent was started again")?;

    manifest::remove(&cluster.lab.manifests(), "brief.yaml")?;
    reached(&outside, service, None)?;
    // Sweeps have seen the flows without their Service by then.
    std::thread::sleep(Duration::from_millis(600));
    all_work("after the Service was deleted")
}

/// A connection to this endpoint.
fn connect(client: &Host, to: std::net::SocketAddr, server: &str) -> Result<Conversation> {
    let (connection, _) = eventually(PATIENCE, || {
        let (connection, answer) = client.tcp(to).open()?;
        Ok((answer.server == server).then_some(connection))
    })?;
    Ok(connection)
}

/// Waits until new connections are answered by `server`, or by nobody.
fn reached(client: &Host, service: Exposed, server: Option<&str>) -> Result<()> {
    for family in Family::BOTH {
        let to = service.at(Kind::LoadBalancer, family, Protocol::Tcp);
        eventually(PATIENCE, || {
            let answer = client.tcp(to).patience_ms(100).attempt()?.ok();
            let answered = answer.map(|answer| answer.server);
            Ok((answered.as_deref() == server).then_some(()))
        })?;
    }
    Ok(())
}
