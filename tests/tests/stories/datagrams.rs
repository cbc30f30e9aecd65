//! UDP when endpoints come and go: flows and sockets that lead nowhere are let go at once, others
//! stay.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lab::{
    AgentFlags, Conversation, Family, Host, SERVICE_PREFIXES, Server, Wiring,
    manifest::{self, Protocol, endpoint_slice},
    probe::Trouble,
};
use serde_json::json;

use crate::cluster::{Cluster, DNS, Exposed, Kind, eventually};

const NUMBER: u8 = 51;
const PATIENCE: Duration = Duration::from_secs(20);
/// The port that the endpoints move to.
const OTHER_PORT: u16 = 5354;

struct Scene {
    outside: Host,
    service: Exposed,
    cluster: Cluster,
}

impl Scene {
    fn new() -> Result<Self> {
        let cluster = Cluster::new(Wiring::Ptp)?;
        let outside = cluster.lab.outside("outside")?;
        cluster.lab.route(&SERVICE_PREFIXES, &cluster.a)?;
        let service = Exposed::new(NUMBER, &cluster.a);
        let scene = Self { outside, service, cluster };
        scene.write(&[&scene.cluster.near])?;
        Ok(scene)
    }

    fn write(&self, endpoints: &[&Server]) -> Result<()> {
        self.cluster.expose("moving", NUMBER, endpoints, |service| service)?;
        Ok(())
    }

    /// A socket of each client on the packet path, through a ClusterIP and masqueraded or not through
    /// a NodePort.
    fn packet_sockets(&self, family: Family) -> Result<Vec<Conversation>> {
        let mut sockets = Vec::new();
        for (client, kind) in [
            (&self.cluster.client, Kind::ClusterIp),
            (&self.cluster.client, Kind::NodePort),
            (&self.outside, Kind::NodePort),
        ] {
            let to = self.service.at(kind, family, Protocol::Udp);
            sockets.push(client.udp(to).patience_ms(200).open()?.0);
        }
        Ok(sockets)
    }
}

#[test]
fn the_next_datagram_goes_elsewhere_when_an_endpoint_stops_serving() -> Result<()> {
    for (before, after) in [("near", "far"), ("far", "near")] {
        let scene = Scene::new()?;
        let server =
            |name: &str| if name == "near" { &scene.cluster.near } else { &scene.cluster.far };
        scene.write(&[server(before)])?;
        let _agent = scene.cluster.a.start_agent(&AgentFlags::new())?;
        let mut sockets = Vec::new();
        for family in Family::BOTH {
            sockets.extend(scene.packet_sockets(family)?);
        }
        scene.write(&[server(after)])?;
        for socket in &mut sockets {
            let (_, took) = eventually(PATIENCE, || {
                let answer = socket.attempt()?.ok();
                Ok(answer.filter(|answer| answer.server == after))
            })?;
            println!("from {before} to {after} after {took:?}");
        }
    }
    Ok(())
}

#[test]
fn flows_to_an_endpoint_that_terminates_and_serves_stay() -> Result<()> {
    let scene = Scene::new()?;
    let _agent = scene.cluster.a.start_agent(&AgentFlags::new())?;
    let mut sockets = Vec::new();
    for family in Family::BOTH {
        sockets.extend(scene.packet_sockets(family)?);
    }
    let slice = endpoint_slice("moving").port("dns", DNS.1, Protocol::Udp);
    let draining = json!({ "ready": false, "serving": true, "terminating": true });
    let [v4, v6] = slice
        .endpoint_in(scene.cluster.near.host(), &scene.cluster.a, &draining)
        .endpoint(scene.cluster.far.host(), &scene.cluster.b)
        .objects();
    // The new slices win by their names, which are the same.
    rewrite_slices(&scene, [v4, v6])?;
    for family in Family::BOTH {
        let to = scene.service.at(Kind::ClusterIp, family, Protocol::Udp);
        eventually(PATIENCE, || {
            let answer = scene.cluster.client.udp(to).ask()?;
            Ok((answer.server == "far").then_some(()))
        })?;
    }
    for socket in &mut sockets {
        ensure!(socket.ask()?.server == "near", "the flow moved");
    }
    Ok(())
}

#[test]
fn a_change_of_the_target_port_takes_flows_along() -> Result<()> {
    let scene = Scene::new()?;
    let second = scene.cluster.near.host().serve_as("second", 8081, OTHER_PORT)?;
    let _agent = scene.cluster.a.start_agent(&AgentFlags::new())?;
    let mut sockets = Vec::new();
    for family in Family::BOTH {
        sockets.extend(scene.packet_sockets(family)?);
    }
    let slice = endpoint_slice("moving").port("dns", OTHER_PORT, Protocol::Udp);
    rewrite_slices(&scene, slice.endpoint(second.host(), &scene.cluster.a).objects())?;
    for socket in &mut sockets {
        eventually(PATIENCE, || {
            let answer = socket.attempt()?.ok();
            Ok(answer.filter(|answer| answer.server == "second"))
        })?;
    }
    Ok(())
}

#[test]
fn flows_stay_where_no_endpoint_serves() -> Result<()> {
    let scene = Scene::new()?;
    let _agent = scene.cluster.a.start_agent(&AgentFlags::new())?;
    let mut sockets = Vec::new();
    for family in Family::BOTH {
        sockets.extend(scene.packet_sockets(family)?);
    }
    scene.write(&[])?;
    for family in Family::BOTH {
        let to = scene.service.at(Kind::ClusterIp, family, Protocol::Udp);
        eventually(PATIENCE, || Ok(scene.cluster.client.udp(to).attempt()?.err()))?;
    }
    for socket in &mut sockets {
        ensure!(socket.ask()?.server == "near", "the flow moved");
    }
    Ok(())
}

#[test]
fn connected_sockets_of_the_node_are_destroyed_when_their_endpoint_stops_serving() -> Result<()> {
    let scene = Scene::new()?;
    let _agent = scene.cluster.a.start_agent(&AgentFlags::new())?;
    let node = &*scene.cluster.a;
    let mut stale = Vec::new();
    for family in Family::BOTH {
        let to = scene.service.at(Kind::ClusterIp, family, Protocol::Udp);
        stale.push(node.udp(to).connected().patience_ms(200).open()?.0);
    }
    let to = scene.service.at(Kind::ClusterIp, Family::V4, Protocol::Udp);
    stale.push(node.udp(to).mapped().connected().patience_ms(200).open()?.0);
    let (mut unconnected, first) = node.udp(to).patience_ms(200).open()?;
    ensure!(first.server == "near");
    // To the endpoint itself, without a Service: nobody's business.
    let direct = scene.cluster.near.udp(Family::V4);
    let (mut directly, _) = node.udp(direct).connected().open()?;
    scene.write(&[&scene.cluster.far])?;
    for socket in &mut stale {
        let (_, took) = eventually(PATIENCE, || {
            let failure = socket.attempt()?.err();
            Ok(failure.filter(|failure| is_destroyed(failure.trouble)))
        })
        .context("a connected socket was left to its endpoint")?;
        println!("destroyed after {took:?}");
    }
    eventually(PATIENCE, || {
        Ok(unconnected.attempt()?.ok().filter(|answer| answer.server == "far"))
    })
    .context("an unconnected socket goes on to the new endpoint")?;
    ensure!(directly.ask()?.server == "near", "a socket without a Service was hurt");
    Ok(())
}

/// What a process hears of a socket that was destroyed: at once, or that it has no destination any
/// more when it sends on.
fn is_destroyed(trouble: Trouble) -> bool {
    matches!(trouble, Trouble::Other(libc::ECONNABORTED | libc::EDESTADDRREQ))
}

/// Puts `slices` in the place of those of the Service.
fn rewrite_slices(scene: &Scene, slices: [serde_json::Value; 2]) -> Result<()> {
    let directory = scene.cluster.lab.manifests();
    let written = std::fs::read_to_string(directory.join("moving.yaml"))?;
    let (service, _) = written.split_once("\n---\n").context("the Service comes first")?;
    let service = serde_json::from_str(service)?;
    let [v4, v6] = slices;
    manifest::write(&directory, "moving.yaml", &[service, v4, v6])
}
