//! The directory of manifests: edits are served, mistakes are reported and hurt nobody else.

use std::{fs, time::Duration};

use anyhow::Result;
use lab::{AgentFlags, Family, Wiring, manifest};

use crate::cluster::{Cluster, Path, Shape, eventually};

const PATIENCE: Duration = Duration::from_secs(20);
/// What is promised is 100 ms; two CPUs that run other labs may be late.
const SOON: Duration = Duration::from_secs(1);
const SHAPE: Shape = Shape { wiring: Wiring::Ptp, path: Path::Packet };

#[test]
fn an_edit_is_served_within_a_moment() -> Result<()> {
    let cluster = Cluster::new(SHAPE.wiring)?;
    let web = cluster.web(&[&cluster.near])?;
    let _agent = cluster.a.start_agent(&SHAPE.flags())?;
    let frontend = web.http(Family::V4);
    assert_eq!(cluster.client.tcp(frontend).ask()?.server, "near");
    let mut took = Vec::new();
    for _ in 0..3 {
        for server in [&cluster.far, &cluster.near] {
            cluster.web(&[server])?;
            let ((), after) = eventually(PATIENCE, || {
                let answer = cluster.client.tcp(frontend).ask()?;
                Ok((answer.server == server.name()).then_some(()))
            })?;
            took.push(after);
        }
    }
    took.sort();
    let (median, slowest) = (took[took.len() / 2], took[took.len() - 1]);
    println!("edit to traffic: median {median:?}, slowest {slowest:?}");
    assert!(slowest < SOON, "edits took {took:?}");
    Ok(())
}

#[test]
fn a_new_service_is_served_and_a_removed_one_is_not() -> Result<()> {
    let cluster = Cluster::new(SHAPE.wiring)?;
    let _agent = cluster.a.start_agent(&SHAPE.flags())?;
    for _ in 0..2 {
        let web = cluster.web(&cluster.all())?;
        for family in Family::BOTH {
            eventually(PATIENCE, || {
                Ok(cluster.client.tcp(web.http(family)).patience_ms(50).attempt()?.ok())
            })?;
        }
        manifest::remove(&cluster.lab.manifests(), "web.yaml")?;
        for family in Family::BOTH {
            eventually(PATIENCE, || {
                Ok(cluster.client.tcp(web.http(family)).patience_ms(50).attempt()?.err())
            })?;
        }
    }
    Ok(())
}

#[test]
fn an_open_connection_survives_the_removal_of_its_service() -> Result<()> {
    for path in [Path::Packet, Path::Socket] {
        let shape = Shape { wiring: Wiring::Ptp, path };
        let (cluster, web, _agent) = Cluster::serving(shape)?;
        let (mut connection, _) = cluster.client.tcp(web.http(Family::V4)).open()?;
        manifest::remove(&cluster.lab.manifests(), "web.yaml")?;
        eventually(PATIENCE, || {
            Ok(cluster.client.tcp(web.http(Family::V4)).patience_ms(50).attempt()?.err())
        })?;
        for _ in 0..5 {
            connection.ask()?;
        }
    }
    Ok(())
}

#[test]
fn a_broken_file_is_reported_and_what_was_good_stays() -> Result<()> {
    let (cluster, web, mut agent) = Cluster::serving(SHAPE)?;
    let directory = cluster.lab.manifests();
    let whole = fs::read_to_string(directory.join("web.yaml"))?;
    manifest::write_text(&directory, "broken.yaml", "kind: Service\nmetadata: [what, is, this\n")?;
    agent.wait_for_log(PATIENCE, |line| line.contains("broken.yaml"))?;
    manifest::write_text(
        &directory,
        "web.yaml",
        &whole.replace("\"port\": 80,", "\"port\": \"x\","),
    )?;
    let line = agent.wait_for_log(PATIENCE, |line| line.contains("web.yaml"))?;
    assert!(line.contains("port"), "the log names the field: {line}");
    for family in Family::BOTH {
        assert_eq!(cluster.client.tcp(web.http(family)).ask()?.peer, Some(web.http(family)));
    }
    manifest::remove(&directory, "broken.yaml")?;
    let other = cluster.service("other", 20, &[&cluster.far])?;
    eventually(PATIENCE, || {
        Ok(cluster.client.tcp(other.http(Family::V6)).patience_ms(50).attempt()?.ok())
    })?;
    Ok(())
}

#[test]
fn half_a_file_is_mended_by_the_next_write() -> Result<()> {
    let (cluster, web, _agent) = Cluster::serving(SHAPE)?;
    let path = cluster.lab.manifests().join("web.yaml");
    let whole = fs::read_to_string(&path)?;
    // An editor that truncates and writes in place, and takes its time.
    fs::write(&path, &whole[..whole.len() / 2])?;
    std::thread::sleep(Duration::from_millis(150));
    for family in Family::BOTH {
        cluster.client.tcp(web.http(family)).ask()?;
    }
    fs::write(&path, &whole)?;
    std::thread::sleep(Duration::from_millis(150));
    for family in Family::BOTH {
        cluster.client.tcp(web.http(family)).ask()?;
    }
    Ok(())
}

#[test]
fn an_agent_starts_with_an_empty_directory() -> Result<()> {
    let cluster = Cluster::new(SHAPE.wiring)?;
    for name in ["nodes.yaml", "cidrs.yaml"] {
        manifest::remove(&cluster.lab.manifests(), name)?;
    }
    let _agent = cluster.a.start_agent(&AgentFlags::new())?;
    let web = cluster.web(&[&cluster.near])?;
    eventually(PATIENCE, || {
        Ok(cluster.client.tcp(web.http(Family::V4)).patience_ms(50).attempt()?.ok())
    })?;
    Ok(())
}
