//! Several agents on one kernel, each with a namespace, a cgroup and a pin path of its own, are
//! several nodes.

use anyhow::Result;
use lab::{Bpftool, Family};

use crate::cluster::{Cluster, Shape, tally};

on_both_paths![
    clients_of_both_nodes_reach_all_endpoints,
    an_agent_that_ends_takes_nothing_from_its_neighbour,
];

fn clients_of_both_nodes_reach_all_endpoints(shape: Shape) -> Result<()> {
    let cluster = Cluster::new(shape.wiring)?;
    let web = cluster.web(&cluster.all())?;
    let _on_a = cluster.a.start_agent(&shape.flags())?;
    let _on_b = cluster.b.start_agent(&shape.flags())?;
    let elsewhere = cluster.b.pod("elsewhere")?;
    // Node b's agent finds the new pod's device by itself.
    crate::cluster::eventually(std::time::Duration::from_secs(3), || {
        Ok(elsewhere.tcp(web.http(Family::V4)).patience_ms(50).attempt()?.ok())
    })?;
    for family in Family::BOTH {
        for client in [&cluster.client, &elsewhere] {
            let answers = tally(
                || client.tcp(web.http(family)).ask(),
                |answer| {
                    anyhow::ensure!(answer.client_seen.ip() == client.address(family));
                    anyhow::ensure!(answer.peer == Some(web.http(family)));
                    Ok(())
                },
            )?;
            assert_eq!(answers.len(), 3, "{} by {family}: {answers:?}", client.name());
            let answers = tally(
                || client.udp(web.dns(family)).ask(),
                |answer| {
                    anyhow::ensure!(answer.received_from == Some(web.dns(family)));
                    Ok(())
                },
            )?;
            assert_eq!(answers.len(), 3, "{} by {family}: {answers:?}", client.name());
        }
    }
    Ok(())
}

fn an_agent_that_ends_takes_nothing_from_its_neighbour(shape: Shape) -> Result<()> {
    let cluster = Cluster::new(shape.wiring)?;
    let web = cluster.web(&cluster.all())?;
    let on_a = cluster.a.start_agent(&shape.flags())?;
    let on_b = cluster.b.start_agent(&shape.flags())?;
    on_b.kill()?;
    lab::Sluice::of_workspace()?.text(&cluster.b, &["cleanup"])?;
    let left = if cluster.b.pin_path().exists() {
        Bpftool::pins(&cluster.b.pin_path())?
    } else {
        Vec::new()
    };
    assert!(left.is_empty(), "left by cleanup: {left:?}");
    for family in Family::BOTH {
        assert_eq!(cluster.client.tcp(web.http(family)).ask()?.peer, Some(web.http(family)));
        assert_eq!(cluster.client.udp(web.dns(family)).ask()?.received_from, Some(web.dns(family)));
    }
    drop(on_a);
    Ok(())
}
