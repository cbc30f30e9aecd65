//! How an endpoint is picked: what each algorithm promises, on the packet path and at the socket.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use lab::{
    AgentFlags, Family, Host, SERVICE_PREFIXES, Wiring,
    manifest::{Protocol, Service},
};

use crate::cluster::{Cluster, Exposed, Kind, eventually, tally};

const NUMBER: u8 = 56;
const ANNOTATION: &str = "sluice.dev/algorithm";
const WEIGHTS: &str = "sluice.dev/weights";
const PATIENCE: Duration = Duration::from_secs(20);
/// Connections that have to be shared.
const CROWD: usize = 400;
/// Outside the range that the kernel gives to other sockets.
const CLIENT_PORTS: std::ops::Range<u16> = 20_000..20_040;

struct Scene {
    outside: Host,
    cluster: Cluster,
}

impl Scene {
    fn new() -> Result<Self> {
        let cluster = Cluster::new(Wiring::Ptp)?;
        let outside = cluster.lab.outside("outside")?;
        cluster.lab.route(&SERVICE_PREFIXES, &cluster.a)?;
        Ok(Self { outside, cluster })
    }

    fn write(
        &self,
        endpoints: &[&lab::Server],
        finish: impl FnOnce(Service) -> Service,
    ) -> Result<Exposed> {
        self.cluster.expose("picked", NUMBER, endpoints, finish)
    }
}

fn algorithm(name: &'static str) -> impl FnOnce(Service) -> Service {
    move |service| service.annotation(ANNOTATION, name)
}

#[test]
fn round_robin_takes_turns_exactly() -> Result<()> {
    let scene = Scene::new()?;
    let service = scene.write(&scene.cluster.all(), algorithm("round-robin"))?;
    let _agent = scene.cluster.a.start_agent(&AgentFlags::new().socket_lb_tcp("all"))?;
    for family in Family::BOTH {
        // The packet path, the socket path of a pod, that of the node.
        for client in [&scene.outside, &scene.cluster.client, &*scene.cluster.a] {
            let to = service.at(Kind::NodePort, family, Protocol::Tcp);
            let shares = tally(|| client.tcp(to).ask(), |_| Ok(()))?;
            let even = shares.len() == 3 && shares.values().all(|&share| share == 30);
            ensure!(even, "{}: {shares:?}", client.name());
        }
    }
    Ok(())
}

#[test]
fn least_connections_prefers_who_has_fewer() -> Result<()> {
    let scene = Scene::new()?;
    let Cluster { near, far, .. } = &scene.cluster;
    let flags = AgentFlags::new().socket_lb_tcp("all").with("--sweep-interval", "500ms");
    scene.write(&[near], algorithm("least-connections"))?;
    let _agent = scene.cluster.a.start_agent(&flags)?;
    for (client, kind) in
        [(&scene.outside, Kind::NodePort), (&scene.cluster.client, Kind::ClusterIp)]
    {
        let service = scene.write(&[near], algorithm("least-connections"))?;
        let to = service.at(kind, Family::V4, Protocol::Tcp);
        let answers = |name: &str| {
            eventually(PATIENCE, || Ok((client.tcp(to).ask()?.server == name).then_some(())))
        };
        answers("near")?;
        let (_busy, opened) = client.crowd(to, CROWD, 2000)?;
        ensure!(opened.endpoints.len() == CROWD, "{:?}", opened.failures);
        scene.write(&[near, far], algorithm("least-connections"))?;
        answers("far")?;
        // A sweep that counts while connections are made may count too few, until the next one.
        let (_, after) = eventually(PATIENCE, || {
            let (_rest, opened) = client.crowd(to, CROWD / 4, 2000)?;
            let at_near = opened.endpoints.iter().filter(|&&it| it == near.tcp(Family::V4)).count();
            println!("{}: {at_near} of {} went to the busy one", client.name(), CROWD / 4);
            // Both picks are `near` once in four times: 25, give or take 4. At random it would be 50.
            Ok((at_near < 35).then_some(()))
        })?;
        println!("after {after:?}");
    }
    Ok(())
}

#[test]
fn maglev_is_the_same_on_every_node_and_keeps_most_clients_where_they_are() -> Result<()> {
    let scene = Scene::new()?;
    let service = scene.write(&scene.cluster.all(), algorithm("maglev"))?;
    let _on_a = scene.cluster.a.start_agent(&AgentFlags::new())?;
    let _on_b = scene.cluster.b.start_agent(&AgentFlags::new())?;
    let elsewhere = Exposed::new(NUMBER, &scene.cluster.b);
    for family in Family::BOTH {
        let picks = |service: Exposed| picks(&scene.outside, service, family);
        let on_a = picks(service)?;
        ensure!(on_a == picks(elsewhere)?, "the nodes don't agree");
        let servers: BTreeSet<&String> = on_a.values().collect();
        ensure!(servers.len() == 3, "{CLIENT_PORTS:?} all reach {servers:?}");
        let left = [&scene.cluster.near, &scene.cluster.far];
        scene.write(&left, algorithm("maglev"))?;
        for node in [service, elsewhere] {
            let (now, _) = eventually(PATIENCE, || {
                let now = picks(node)?;
                Ok((!now.values().any(|server| server == "node-b")).then_some(now))
            })?;
            let moved = on_a
                .iter()
                .filter(|(port, before)| *before != "node-b" && now[port] != **before)
                .count();
            ensure!(moved <= 6, "{moved} clients moved from an endpoint that stayed");
        }
        scene.write(&scene.cluster.all(), algorithm("maglev"))?;
        eventually(PATIENCE, || Ok((picks(service)? == on_a).then_some(())))
            .context("with the same endpoints the same picks")?;
    }
    Ok(())
}

/// Who answers each of the client's ports.
fn picks(client: &Host, service: Exposed, family: Family) -> Result<BTreeMap<u16, String>> {
    let to: SocketAddr = service.at(Kind::NodePort, family, Protocol::Tcp);
    CLIENT_PORTS
        .map(|port| Ok((port, client.tcp(to).from_port(port).aborting().ask()?.server)))
        .collect()
}

#[test]
fn weights_shift_shares() -> Result<()> {
    let scene = Scene::new()?;
    let endpoints = [&scene.cluster.near, &scene.cluster.far];
    let agent = scene.cluster.a.start_agent(&AgentFlags::new())?;
    for name in ["random", "round-robin", "maglev"] {
        let weights = scene.cluster.near.host().addresses().both().map(|it| format!("{it}=9"));
        let service = scene.write(&endpoints, |service| {
            service.annotation(ANNOTATION, name).annotation(WEIGHTS, &weights.join(", "))
        })?;
        for family in Family::BOTH {
            let to = service.at(Kind::NodePort, family, Protocol::Tcp);
            eventually(PATIENCE, || {
                // It may not be served yet.
                let Ok(shares) = tally(|| scene.outside.tcp(to).ask(), |_| Ok(())) else {
                    return Ok(None);
                };
                // 81 of 90 is expected, 3 is a standard deviation; without weights it would be 45.
                Ok((shares.get("near").is_some_and(|&share| share > 63)).then_some(()))
            })
            .with_context(|| format!("{name}, {family}"))?;
        }
    }
    drop(agent);
    Ok(())
}
