//! Checksums are right, whether a device offloads them or they are finished in software.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lab::{Family, Host, Wiring, packet};

use crate::cluster::{Cluster, Path, Shape, Web};

#[test]
fn checksums_of_translated_packets_are_right_with_and_without_offload() -> Result<()> {
    for wiring in Wiring::ALL {
        for offloaded in [true, false] {
            let cluster = Cluster::new(wiring)?;
            let web = cluster.web(&[&cluster.near])?;
            let _agent = cluster.a.start_agent(&Shape { wiring, path: Path::Packet }.flags())?;
            for pod in [&cluster.client, cluster.near.host()] {
                if !offloaded {
                    pod.finish_checksums_on("eth0")?;
                }
                // What leaves towards a pod is finished, so that it can be checked there.
                let host_side = pod.peer_of("eth0", &cluster.a)?;
                cluster.a.finish_checksums_on(&host_side)?;
            }
            for family in Family::BOTH {
                assert_right_at_both_ends(&cluster, web, family)
                    .with_context(|| format!("{wiring}, {family}, offload {offloaded}"))?;
            }
        }
    }
    Ok(())
}

fn assert_right_at_both_ends(cluster: &Cluster, web: Web, family: Family) -> Result<()> {
    let (client, server) = (&cluster.client, cluster.near.host());
    let at_client = client.wire("eth0")?;
    let at_server = server.wire("eth0")?;
    client.tcp(web.http(family)).ask()?;
    client.tcp(web.http(family)).bulk(100_000, 100_000)?;
    client.udp(web.dns(family)).size(1001).ask()?;
    for (host, wire) in [(client, &at_client), (server, &at_server)] {
        let arrived =
            wire.collect(Duration::from_millis(50), |seen| arrives(seen, host, family))?;
        ensure!(arrived.len() > 10, "{} received {arrived:?}", host.name());
        for seen in arrived {
            ensure!(seen.checksum_is_right(), "at {}: {seen:?}", host.name());
        }
    }
    Ok(())
}

fn arrives(seen: &packet::Seen, host: &Host, family: Family) -> bool {
    seen.destination().ip() == host.address(family)
        && matches!(seen.protocol(), packet::TCP | packet::UDP)
}
