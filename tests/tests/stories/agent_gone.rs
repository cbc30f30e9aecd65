//! The datapath goes on when the agent is down, and the next agent adopts what is there.

use std::{collections::BTreeSet, path::PathBuf};

use anyhow::Result;
use lab::{Bpftool, Family, Node};

use crate::cluster::{Cluster, Shape};

on_both_paths![
    killing_the_agent_interrupts_nothing,
    a_new_agent_adopts_what_it_finds,
    a_service_that_went_while_no_agent_ran_is_removed,
];

fn killing_the_agent_interrupts_nothing(shape: Shape) -> Result<()> {
    let (cluster, web, agent) = Cluster::serving(shape)?;
    for family in Family::BOTH {
        cluster.client.tcp(web.http(family)).ask()?;
    }
    let (mut old_v4, _) = cluster.client.tcp(web.http(Family::V4)).open()?;
    let (mut old_v6, _) = cluster.client.tcp(web.http(Family::V6)).open()?;
    let (mut datagrams, first) = cluster.client.udp(web.dns(Family::V4)).connected().open()?;
    agent.kill()?;
    for _ in 0..10 {
        old_v4.ask()?;
        old_v6.ask()?;
        assert_eq!(datagrams.ask()?.server, first.server);
        for family in Family::BOTH {
            let answer = cluster.client.tcp(web.http(family)).ask()?;
            assert_eq!(answer.peer, Some(web.http(family)));
            let answer = cluster.client.udp(web.dns(family)).ask()?;
            assert_eq!(answer.received_from, Some(web.dns(family)));
        }
    }
    Ok(())
}

fn a_new_agent_adopts_what_it_finds(shape: Shape) -> Result<()> {
    let (cluster, web, agent) = Cluster::serving(shape)?;
    let (mut connection, first) = cluster.client.tcp(web.http(Family::V4)).open()?;
    let (mut datagrams, _) = cluster.client.udp(web.dns(Family::V6)).connected().open()?;
    let services = agent.json(&cluster.a, &["services"])?;
    let maps = map_ids(&cluster.a)?;
    agent.kill()?;
    let agent = cluster.a.start_agent(&shape.flags())?;
    assert_eq!(connection.ask()?.server, first.server);
    datagrams.ask()?;
    for family in Family::BOTH {
        assert_eq!(cluster.client.tcp(web.http(family)).ask()?.peer, Some(web.http(family)));
    }
    assert_eq!(agent.json(&cluster.a, &["services"])?, services);
    assert_eq!(map_ids(&cluster.a)?, maps);
    Ok(())
}

fn a_service_that_went_while_no_agent_ran_is_removed(shape: Shape) -> Result<()> {
    let (cluster, web, agent) = Cluster::serving(shape)?;
    let other = cluster.service("other", 20, &[&cluster.far])?;
    agent.kill()?;
    lab::manifest::remove(&cluster.lab.manifests(), "web.yaml")?;
    let _agent = cluster.a.start_agent(&shape.flags())?;
    for family in Family::BOTH {
        assert_eq!(cluster.client.tcp(other.http(family)).ask()?.server, "far");
        cluster.client.tcp(web.http(family)).patience_ms(200).refusal()?;
    }
    Ok(())
}

/// Ids of the maps that are pinned for `node`.
fn map_ids(node: &Node) -> Result<BTreeSet<(PathBuf, u64)>> {
    let mut ids = BTreeSet::new();
    for map in proxy_common::layout::MAPS {
        let pin = node.map_pin(map.name);
        if let Some(id) = Bpftool::map(&pin)?["id"].as_u64() {
            ids.insert((pin, id));
        }
    }
    Ok(ids)
}
