//! A map is full: whom it leaves out is told, by an Event to the owner, in `sluice status` and as a
//! number; with room they are served.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use lab::{Agent, AgentFlags, control_plane::Settings, page::metric};
use serde_json::Value;

use crate::{
    follows::object,
    site::{Site, Web, eventually},
};

/// More than there is room for. Each needs two elements of a map with 24: a frontend and a marker.
const SERVICES: u8 = 20;
const UNSERVED: &str = "sluice_services_unserved";

#[test]
fn owners_of_services_that_a_full_map_leaves_out_are_told() -> Result<()> {
    let site = Site::new(Settings::default())?;
    let webs = (0..SERVICES)
        .map(|number| site.publish(&format!("web-{number}"), 20 + number, &[&site.near]))
        .collect::<Result<Vec<_>>>()?;
    let flags = AgentFlags::new()
        .kubeconfig(site.plane.agent()?)
        .with("--service-map-size", "16")
        .with("--service-map-limit", "24");
    let agent = site.a.start_agent(&flags)?;
    let left_out = unserved(&agent, &site)?;
    ensure!((5..SERVICES.into()).contains(&left_out.len()), "left out: {left_out:?}");
    let agrees = || Ok(metric(&site.a, UNSERVED)? == f64::from(u32::try_from(left_out.len())?));
    eventually("the metric says how many", agrees)?;
    ensure!(metric(&site.a, "sluice_map_failures_total{map=\"SERVICES_V4\"}")? >= 1.0);
    for web in &webs {
        if !left_out.contains(&web.name) {
            site.assert_answers(web, &site.near)?;
        }
    }

    let mut events = Vec::new();
    eventually("every owner is told", || {
        events = told(&site)?;
        Ok(left_out.iter().all(|name| events.iter().any(|event| is_about(event, name))))
    })?;
    for event in &events {
        let name = event["involvedObject"]["name"].as_str().context("a name")?;
        // The API server's own, perhaps: it is as full for that.
        ensure!(left_out.contains(name) || name == "kubernetes", "{name} is served: {event}");
        ensure!(event["type"] == "Warning", "{event}");
        let message = event["message"].as_str().context("a message")?;
        ensure!(message.contains("--service-map-limit"), "it doesn't say what to do: {message}");
        if name == "kubernetes" {
            continue;
        }
        let uid = &site.plane.api().get("Service", name)?["metadata"]["uid"];
        ensure!(event["involvedObject"]["uid"] == *uid, "kubectl describe asks by uid: {event}");
    }

    // There is room: those that were left out are served.
    let (stay, go): (Vec<&Web>, Vec<&Web>) =
        webs.iter().partition(|web| left_out.contains(&web.name));
    let (more, stay) = stay.split_at(stay.len().saturating_sub(5));
    let gone: Vec<Value> = go.iter().chain(more).map(|web| object("Service", &web.name)).collect();
    site.plane.api().delete(&gone)?;
    for web in stay {
        site.until_answers(web, &site.near)?;
    }
    eventually("nobody is left out", || {
        Ok(unserved(&agent, &site)?.is_empty() && metric(&site.a, UNSERVED)? == 0.0)
    })?;
    // Another map may have been the one that was full for a moment; nobody was told who was served.
    let about_others = |event: &Value| {
        let name = event["involvedObject"]["name"].as_str().unwrap_or_default();
        !left_out.contains(name) && name != "kubernetes"
    };
    let events = told(&site)?;
    ensure!(!events.iter().any(about_others), "{events:?}");
    Ok(())
}

/// The Services of the lab's namespace that aren't served as they should be, as `sluice status` has
/// them.
fn unserved(agent: &Agent, site: &Site) -> Result<BTreeSet<String>> {
    let status = agent.json(&site.a, &["status"])?;
    let unserved = status["agent"]["says"]["unserved"].as_array().context("no list")?.clone();
    let names = unserved.iter().filter_map(Value::as_str);
    Ok(names.filter_map(|name| Some(name.strip_prefix("default/")?.to_owned())).collect())
}

/// Events of full maps.
fn told(site: &Site) -> Result<Vec<Value>> {
    let mut events = site.plane.api().list("Event")?;
    events.retain(|event| event["reportingComponent"] == "sluice" && event["reason"] == "MapFull");
    Ok(events)
}

fn is_about(event: &Value, name: &str) -> bool {
    event["involvedObject"]["name"] == name
}
