//! Flow tables of another size and maps of another layout: a new agent takes over what they hold, and
//! no connection notices.

use std::{fs, path::PathBuf, time::Duration};

use anyhow::{Context as _, Result, ensure};
use lab::{AgentFlags, Family, Node, Sluice, Wiring, manifest::Protocol};

use crate::{
    cluster::{Cluster, Kind, Path, Shape, eventually},
    growing::{left_beside, room_of},
};

const LASTS: Duration = Duration::from_secs(12);

#[test]
fn flow_tables_of_another_size_keep_their_connections() -> Result<()> {
    connections_outlive_other_sizes("tcx")
}

/// Linux before 6.6 has nothing else.
#[test]
fn flow_tables_of_another_size_keep_their_connections_with_clsact() -> Result<()> {
    connections_outlive_other_sizes("clsact")
}

fn connections_outlive_other_sizes(hook: &str) -> Result<()> {
    let cluster = Cluster::new(Wiring::Ptp)?;
    let outside = cluster.lab.outside("outside")?;
    let busy = cluster.expose("busy", 100, &cluster.all(), |it| it)?;
    let flags = |main: u32, new: u32| {
        AgentFlags::new()
            .with("--flow-table-size", &main.to_string())
            .with("--new-flow-table-size", &new.to_string())
            .with("--device-hook", hook)
            .socket_lb_tcp("off")
    };
    let agent = cluster.a.start_agent(&flags(1 << 17, 1 << 12))?;
    let (mut loads, mut lasting) = (Vec::new(), Vec::new());
    for (client, kind, family) in [
        (&outside, Kind::NodePort, Family::V4),
        (&outside, Kind::NodePort, Family::V6),
        (&cluster.client, Kind::ClusterIp, Family::V4),
        (&cluster.client, Kind::ClusterIp, Family::V6),
    ] {
        let to = busy.at(kind, family, Protocol::Tcp);
        for _ in 0..5 {
            let (mut connection, _) = client.tcp(to).open()?;
            connection.ask()?;
            lasting.push(connection);
        }
        loads.push(client.load(to, LASTS)?);
    }
    agent.kill()?;
    // Larger, then smaller again, and the table of new flows with it.
    let agent = cluster.a.start_agent(&flags(1 << 18, 1 << 12))?;
    expect_rooms(&cluster.a, 1 << 18, 1 << 12)?;
    for connection in &mut lasting {
        connection.ask()?;
    }
    agent.kill()?;
    let agent = cluster.a.start_agent(&flags(1 << 16, 1 << 13))?;
    expect_rooms(&cluster.a, 1 << 16, 1 << 13)?;
    for connection in &mut lasting {
        connection.ask()?;
    }
    for load in loads {
        let made = load.finish()?;
        println!("{} connections", made.endpoints.len());
        ensure!(made.failures.is_empty(), "{:?}", made.failures);
    }
    for connection in &mut lasting {
        connection.ask()?;
    }
    ensure!(left_beside(&cluster.a)?.is_empty(), "{:?}", left_beside(&cluster.a)?);
    ensure!(agent.log()?.contains("content moved to a new map"));
    // Nothing is held any longer.
    for family in Family::BOTH {
        outside.tcp(busy.at(Kind::NodePort, family, Protocol::Tcp)).ask()?;
    }
    Ok(())
}

#[test]
fn a_flow_table_that_holds_more_than_it_is_to_have_room_for_stays() -> Result<()> {
    let cluster = Cluster::new(Wiring::Ptp)?;
    let busy = cluster.expose("busy", 100, &[&cluster.near], |it| it)?;
    let flags = |main: &str| AgentFlags::new().with("--flow-table-size", main).socket_lb_tcp("off");
    let agent = cluster.a.start_agent(&flags("4096"))?;
    let to = busy.at(Kind::ClusterIp, Family::V4, Protocol::Tcp);
    let (mut crowd, _) = cluster.client.crowd(to, 400, 20_000)?;
    crowd.ask()?;
    agent.kill()?;
    let agent = cluster.a.start_agent(&flags("256"))?;
    ensure!(room_of(&cluster.a, "DST_FLOWS_V4")? == 4096);
    ensure!(room_of(&cluster.a, "DST_FLOWS_V6")? == 256, "it holds nothing");
    ensure!(agent.log()?.contains("keeps its room"), "it goes without saying");
    let answer = crowd.ask()?;
    ensure!(answer.failures.is_empty(), "{:?}", answer.failures);
    Ok(())
}

fn expect_rooms(node: &Node, main: u64, new: u64) -> Result<()> {
    for (map, room) in [
        ("DST_FLOWS_V4", main),
        ("SRC_FLOWS_V4", main),
        ("DST_FLOWS_V6", main),
        ("SRC_FLOWS_V6", main),
        ("NEW_DST_FLOWS_V4", new),
        ("NEW_SRC_FLOWS_V6", new),
    ] {
        let found = room_of(node, map)?;
        ensure!(found == room, "{map} has room for {found}");
    }
    Ok(())
}

on_both_paths![an_older_layout_is_taken_over_and_nobody_notices];

fn an_older_layout_is_taken_over_and_nobody_notices(shape: Shape) -> Result<()> {
    an_older_layout_is_taken_over(shape, &shape.flags())
}

#[test]
fn an_older_layout_is_taken_over_with_clsact() -> Result<()> {
    let shape = Shape { wiring: Wiring::Ptp, path: Path::Packet };
    an_older_layout_is_taken_over(shape, &shape.flags().with("--device-hook", "clsact"))
}

fn an_older_layout_is_taken_over(shape: Shape, flags: &AgentFlags) -> Result<()> {
    let cluster = Cluster::new(shape.wiring)?;
    let web = cluster.web(&cluster.all())?;
    let agent = cluster.a.start_agent(flags)?;
    let outside = cluster.lab.outside("outside")?;
    cluster.lab.route(&lab::SERVICE_PREFIXES, &cluster.a)?;
    let (mut connection, first) = cluster.client.tcp(web.http(Family::V4)).open()?;
    connection.ask()?;
    let (mut from_outside, _) = outside.tcp(web.http(Family::V6)).open()?;
    from_outside.ask()?;
    let (mut datagrams, _) = cluster.client.udp(web.dns(Family::V4)).connected().open()?;
    let load = cluster.client.load(web.http(Family::V4), Duration::from_secs(6))?;
    let services = agent.json(&cluster.a, &["services"])?;
    agent.kill()?;
    // As if the layout before this one had been at work.
    let (this, older) = (layout(&cluster.a, 1), layout(&cluster.a, 0));
    fs::rename(&this, &older)?;
    let agent = cluster.a.start_agent(flags)?;
    assert_eq!(connection.ask()?.server, first.server);
    from_outside.ask()?;
    datagrams.ask()?;
    for family in Family::BOTH {
        assert_eq!(cluster.client.tcp(web.http(family)).ask()?.peer, Some(web.http(family)));
        outside.tcp(web.http(family)).ask()?;
    }
    assert_eq!(agent.json(&cluster.a, &["services"])?, services, "ids and all");
    let made = load.finish()?;
    ensure!(made.failures.is_empty(), "{:?}", made.failures);
    ensure!(!older.exists(), "the older layout is still pinned");
    ensure!(agent.log()?.contains("maps of an older layout are migrated"));
    Ok(())
}

#[test]
fn an_older_layout_without_its_services_serves_until_the_cluster_is_known() -> Result<()> {
    let shape = Shape { wiring: Wiring::Ptp, path: Path::Packet };
    let (cluster, web, agent) = Cluster::serving(shape)?;
    let (mut connection, first) = cluster.client.tcp(web.http(Family::V4)).open()?;
    connection.ask()?;
    agent.kill()?;
    let (this, older) = (layout(&cluster.a, 1), layout(&cluster.a, 0));
    fs::rename(&this, &older)?;
    // As if they had found no place in this layout.
    fs::remove_file(older.join("SERVICES_V4"))?;
    let agent = cluster.a.start_agent(&shape.flags())?;
    assert_eq!(connection.ask()?.server, first.server);
    for family in Family::BOTH {
        cluster.client.tcp(web.http(family)).ask()?;
    }
    ensure!(!older.exists(), "the older layout is still pinned");
    ensure!(agent.log()?.contains("SERVICES_V4"), "what is dropped goes without saying");
    Ok(())
}

#[test]
fn a_newer_layout_is_left_alone_and_cleanup_takes_every_layout() -> Result<()> {
    let shape = Shape { wiring: Wiring::Ptp, path: Path::Packet };
    let (cluster, web, agent) = Cluster::serving(shape)?;
    let (mut connection, _) = cluster.client.tcp(web.http(Family::V4)).open()?;
    agent.kill()?;
    let newer = layout(&cluster.a, 7);
    fs::rename(layout(&cluster.a, 1), &newer)?;
    let error = cluster.a.start_agent(&shape.flags()).err().context("it starts")?;
    let text = format!("{error:#}");
    ensure!(text.contains("a newer Sluice has pinned maps of layout 7 there"), "{text}");
    ensure!(text.contains("sluice cleanup"), "{text}");
    connection.ask()?;
    cluster.client.tcp(web.http(Family::V6)).ask()?;
    Sluice::of_workspace()?.text(&cluster.a, &["cleanup"])?;
    let gone = || Ok((!newer.exists()).then_some(()));
    eventually(Duration::from_secs(5), gone)?;
    let _agent = cluster.a.start_agent(&shape.flags())?;
    cluster.client.tcp(web.http(Family::V4)).ask()?;
    Ok(())
}

/// Where a layout is pinned.
fn layout(node: &Node, version: u32) -> PathBuf {
    node.pin_path().join(format!("v{version}"))
}
