//! 410 Gone: history that a watch would go on from is no longer there, for all watches at once and
//! again and again.

use std::time::Duration;

use anyhow::{Result, ensure};
use lab::{AgentFlags, control_plane::Settings};

use crate::site::{Site, eventually};

const ROUNDS: usize = 4;

#[test]
fn a_storm_of_expired_watches_is_weathered() -> Result<()> {
    let mut site = Site::new(Settings { relayed: true, ..Settings::default() })?;
    let web = site.publish("web", 10, &[&site.near])?;
    let flags = AgentFlags::new().kubeconfig(site.plane.agent()?);
    let _agent = site.a.start_agent(&flags)?;
    for round in 0..ROUNDS {
        let load = site.load(&web, Duration::from_secs(3))?;
        site.plane.relay().refuse();
        // What the agent misses, of every kind that it follows.
        let missed = site.publish(&format!("missed-{round}"), 20, &[&site.near])?;
        let zone = format!("zone-{round}");
        let node = lab::manifest::node("node-a", &[("topology.kubernetes.io/zone", &zone)]);
        site.plane.api().apply(&[node])?;
        let to = if round % 2 == 0 { &site.far } else { &site.near };
        site.point(&web, &[to])?;
        site.plane.compact()?;
        // Started anew, the server has no history of its own either.
        site.plane.kill_api_server()?;
        site.plane.start_api_server()?;
        site.plane.relay().pass();
        site.until_answers(&missed, &site.near)?;
        site.until_answers(&web, to)?;
        let answer = load.finish()?;
        ensure!(answer.failures.is_empty(), "round {round}: {:?}", answer.failures);
        site.plane.api().delete(&[crate::follows::object("Service", &missed.name)])?;
        eventually("the deletion is followed", || {
            Ok(site.client.tcp(missed.at(lab::Family::V4)).patience_ms(100).attempt()?.is_err())
        })?;
    }
    // An expired watch is told so within the watch: what shows is that all is listed again.
    let asked = site.plane.asked_by_agent()?;
    let lists = asked.iter().filter(|it| it.uri.contains("sendInitialEvents=true")).count();
    println!("{lists} of {} requests were lists", asked.len());
    ensure!(lists >= 4 + 3 * ROUNDS, "few were listed again: {asked:?}");
    Ok(())
}
