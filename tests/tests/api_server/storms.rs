//! A storm: hundreds of endpoints change a second. No connection is answered by a stranger, and in
//! the end the maps are what a fresh start makes of the cluster.
//!
//! Changes are written into etcd, past the API server's handlers, which would be the slowest part.

use std::{
    collections::BTreeMap,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use lab::{Agent, AgentFlags, Family, Server, control_plane::Settings};
use serde_json::{Value, json};

use crate::site::Site;

/// Services that change beside the one that is asked.
const OTHERS: u8 = 30;
const STORM: Duration = Duration::from_secs(6);
/// This many slices of each family change in a period.
const PIECE: usize = 15;
const PERIOD: Duration = Duration::from_millis(50);

#[test]
fn a_storm_of_changes_ends_where_a_fresh_start_does_and_nobody_meets_a_stranger() -> Result<()> {
    let site = Site::new(Settings::default())?;
    let stranger = site.a.pod("stranger")?.serve(8080, 5353)?;
    let web = site.publish("web", 10, &[&site.near, &site.far])?;
    let mut slices = vec![Slices::of(&site, "web", [&site.near, &site.far])?];
    for number in 0..OTHERS {
        let name = format!("other-{number}");
        site.publish(&name, 20 + number, &[&stranger])?;
        slices.push(Slices::of(&site, &name, [&stranger, &site.near])?);
    }
    let flags = AgentFlags::new().kubeconfig(site.plane.agent()?);
    let agent = site.a.start_agent(&flags)?;
    let load = site.load(&web, STORM)?;

    let (started, mut changes) = (Instant::now(), 0);
    while started.elapsed() < STORM {
        let piece: Vec<Value> = (changes..changes + PIECE)
            .flat_map(|change| slices[change * 7 % slices.len()].after(change))
            .collect();
        site.plane.store(&piece)?;
        changes += PIECE;
        let periods = u32::try_from(changes / PIECE)?;
        thread::sleep((started + PERIOD * periods).saturating_duration_since(Instant::now()));
    }
    ensure!(changes > 500, "{changes} changes are no storm");
    let answer = load.finish()?;
    ensure!(answer.failures.is_empty(), "{changes} changes: {:?}", answer.failures);
    ensure!(answer.endpoints.len() > 50, "only {} connections", answer.endpoints.len());
    for endpoint in &answer.endpoints {
        let address = endpoint.ip();
        let was_in = [&site.near, &site.far].map(|it| it.host().address(Family::V4));
        ensure!(was_in.contains(&address), "{address} was never an endpoint of {web}");
    }

    // What is told comes in order: when the last change is served, all are.
    site.plane.store(&slices[0].with(&[1]))?;
    site.until_answers(&web, &site.far)?;
    let after = plain(&agent, &site)?;
    agent.kill()?;
    lab::Sluice::of_workspace()?.text(&site.a, &["cleanup"])?;
    let agent = site.a.start_agent(&flags)?;
    let fresh = plain(&agent, &site)?;
    ensure!(after.len() > usize::from(OTHERS) * 2, "only {} frontends", after.len());
    for (frontend, endpoints) in &fresh {
        let after = after.get(frontend);
        ensure!(after == Some(endpoints), "{frontend}: {after:?}, a fresh start has {endpoints:?}");
    }
    ensure!(after.len() == fresh.len(), "a fresh start has fewer frontends");
    Ok(())
}

/// The slices of a Service, and the two endpoints that they may have.
struct Slices {
    /// With both endpoints.
    both: [Value; 2],
}

impl Slices {
    fn of(site: &Site, name: &str, servers: [&Server; 2]) -> Result<Self> {
        let web = site.publish(name, number_of(name)?, &servers)?;
        let both = site.slices(&web, &servers);
        let mut stored = Vec::new();
        for slice in both {
            let name = slice["metadata"]["name"].as_str().context("a slice has a name")?;
            let mut slice = site.plane.api().get("EndpointSlice", name)?;
            if let Some(metadata) = slice["metadata"].as_object_mut() {
                metadata.remove("resourceVersion");
            }
            stored.push(slice);
        }
        let both = stored.try_into().ok().context("a slice for each family")?;
        Ok(Self { both })
    }

    /// With one endpoint, the other, or both, in turn.
    fn after(&self, change: usize) -> [Value; 2] {
        self.with([&[0][..], &[1], &[0, 1]][change % 3])
    }

    /// With these of its endpoints.
    fn with(&self, which: &[usize]) -> [Value; 2] {
        self.both.clone().map(|mut slice| {
            let endpoints: Vec<&Value> = which.iter().map(|&it| &slice["endpoints"][it]).collect();
            slice["endpoints"] = json!(endpoints);
            slice
        })
    }
}

/// The number that a Service's addresses were made of.
fn number_of(name: &str) -> Result<u8> {
    Ok(match name.strip_prefix("other-") {
        Some(number) => 20 + number.parse::<u8>()?,
        None => 10,
    })
}

/// Frontends and their endpoints, without the numbers that an agent gives them.
fn plain(agent: &Agent, site: &Site) -> Result<BTreeMap<String, Vec<String>>> {
    let services = agent.json(&site.a, &["services"])?;
    let services = services.as_array().context("services are a list")?;
    let plain = services.iter().map(|service| {
        let sets = ["endpoints", "local_endpoints"].into_iter().flat_map(|set| {
            let endpoints = service[set].as_array().into_iter().flatten();
            endpoints
                .map(move |it| format!("{set} {}:{} {}", it["address"], it["port"], it["slots"]))
        });
        let mut endpoints: Vec<String> = sets.collect();
        endpoints.sort();
        (
            format!("{} {} {}", service["service"], service["frontend"], service["protocol"]),
            endpoints,
        )
    });
    Ok(plain.collect())
}
