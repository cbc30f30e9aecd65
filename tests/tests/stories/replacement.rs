//! Replacing a set of a thousand endpoints over and over: a connection sees the old set or the new
//! one, and none fails.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use lab::{
    Addresses, AgentFlags, Family, Host, Wiring,
    manifest::{self, Protocol, endpoint_slice},
};

use crate::cluster::{Cluster, DNS, HTTP, Kind};

const NUMBER: u8 = 60;
const ENDPOINTS: u16 = 1000;
/// Sets of 1,024 addresses that a 16-bit prefix has room for.
const SETS_MAX: u16 = 64;
const LASTS: Duration = Duration::from_secs(6);

#[test]
fn a_connection_sees_the_old_set_or_the_new_one_and_none_fails() -> Result<()> {
    let cluster = Cluster::new(Wiring::Ptp)?;
    let outside = cluster.lab.outside("outside")?;
    let many = cluster.a.pod("many")?;
    own_everything(&cluster, &many)?;
    let _server = many.serve_anywhere(HTTP.1, DNS.1)?;
    let service = cluster.expose("many", NUMBER, &[], |it| it)?;
    replace(&cluster, 0)?;
    let _agent = cluster.a.start_agent(&AgentFlags::new())?;
    let mut loads = Vec::new();
    for (client, kind, family) in [
        (&outside, Kind::NodePort, Family::V4),
        (&outside, Kind::NodePort, Family::V6),
        // At the socket.
        (&cluster.client, Kind::ClusterIp, Family::V4),
    ] {
        client.tcp(service.at(kind, family, Protocol::Tcp)).ask()?;
        loads.push(client.load(service.at(kind, family, Protocol::Tcp), LASTS)?);
    }
    let (start, mut generation) = (Instant::now(), 0);
    while start.elapsed() < LASTS && generation + 1 < SETS_MAX {
        generation += 1;
        replace(&cluster, generation)?;
        std::thread::sleep(Duration::from_millis(100));
    }
    for load in loads {
        let made = load.finish()?;
        ensure!(made.failures.is_empty(), "{:?}", made.failures);
        let mut newest = 0;
        for endpoint in &made.endpoints {
            let seen = generation_of(*endpoint);
            ensure!(seen >= newest, "{endpoint} is of set {seen}, after set {newest} was seen");
            newest = seen;
        }
        println!("{} connections, {newest} of {generation} sets", made.endpoints.len());
        ensure!(newest >= 2, "only {newest} sets were seen");
    }
    Ok(())
}

/// Has the pod answer for every address of every set.
fn own_everything(cluster: &Cluster, pod: &Host) -> Result<()> {
    pod.namespace().ip("route add local 10.245.0.0/16 dev lo
         route add local fd00:10:245::/48 dev lo")?;
    let Addresses { v4, v6 } = pod.addresses();
    let device = pod.peer_of("eth0", &cluster.a)?;
    cluster.a.namespace().ip(&format!(
        "route add 10.245.0.0/16 via {v4} dev {device} onlink
         route add fd00:10:245::/48 via {v6} dev {device} onlink"
    ))
}

/// Endpoint `number` of a set. Sets have no address in common.
fn endpoint(generation: u16, number: u16) -> Addresses {
    let [high, low] = number.to_be_bytes();
    let [_, of] = generation.to_be_bytes();
    let third = of * 4 + high;
    Addresses {
        v4: Ipv4Addr::new(10, 245, third, low),
        v6: Ipv6Addr::new(0xfd00, 0x10, 0x245, generation, 0, 0, 0, number),
    }
}

fn generation_of(endpoint: SocketAddr) -> u16 {
    match endpoint.ip() {
        IpAddr::V4(address) => u16::from(address.octets()[2] / 4),
        IpAddr::V6(address) => address.segments()[3],
    }
}

fn replace(cluster: &Cluster, generation: u16) -> Result<()> {
    ensure!(generation < SETS_MAX, "more sets than there are addresses for");
    let slice = endpoint_slice("many").port("http", HTTP.1, Protocol::Tcp);
    let slice = (0..ENDPOINTS)
        .fold(slice, |slice, number| slice.endpoint_at(endpoint(generation, number), &cluster.a));
    let directory = cluster.lab.manifests();
    let written = std::fs::read_to_string(directory.join("many.yaml"))?;
    let (service, _) = written.split_once("\n---\n").context("the Service comes first")?;
    let [v4, v6] = slice.objects();
    manifest::write(&directory, "many.yaml", &[serde_json::from_str(service)?, v4, v6])
}
