//! Devices come and go, and the agent follows.

use std::time::Duration;

use anyhow::{Context as _, Result};
use lab::{Family, Wiring};
use serde_json::Value;

use crate::cluster::{Cluster, Path, Shape, eventually};

const PATIENCE: Duration = Duration::from_secs(20);

in_every_shape![a_pod_that_comes_later_is_served];

fn a_pod_that_comes_later_is_served(shape: Shape) -> Result<()> {
    let (cluster, web, _agent) = Cluster::serving(shape)?;
    let late = cluster.a.pod("late")?;
    let (_, after) = eventually(PATIENCE, || {
        Ok(late.tcp(web.http(Family::V4)).patience_ms(20).attempt()?.ok())
    })?;
    println!("{shape}: served {after:?} after it was wired");
    for family in Family::BOTH {
        let answer = late.tcp(web.http(family)).ask()?;
        assert_eq!(answer.client_seen.ip(), late.address(family));
        let answer = late.udp(web.dns(family)).ask()?;
        assert_eq!(answer.received_from, Some(web.dns(family)));
    }
    Ok(())
}

#[test]
fn devices_are_shown_with_the_role_they_were_found_in() -> Result<()> {
    for wiring in Wiring::ALL {
        let shape = Shape { wiring, path: Path::Packet };
        let (cluster, _, agent) = Cluster::serving(shape)?;
        let links = cluster.a.namespace().ip_json(&["link", "show", "type", "veth"])?;
        let names: Vec<&str> = links
            .as_array()
            .context("links are a list")?
            .iter()
            .filter_map(|link| link["ifname"].as_str())
            .collect();
        // The client, the server, and the uplink.
        assert_eq!(names.len(), 3, "{names:?}");
        let shown = agent.json(&cluster.a, &["devices"])?;
        for name in names {
            let role = if name == "uplink" { "uplink" } else { "workload" };
            let device = find(&shown, name).with_context(|| format!("no {name} in {shown}"))?;
            assert_eq!(device["role"], role, "{wiring}: {device}");
        }
    }
    Ok(())
}

#[test]
fn a_device_that_went_is_no_longer_shown() -> Result<()> {
    let shape = Shape { wiring: Wiring::Routed, path: Path::Packet };
    let (cluster, _, agent) = Cluster::serving(shape)?;
    let brief = cluster.a.pod("brief")?;
    eventually(PATIENCE, || Ok(find(&agent.json(&cluster.a, &["devices"])?, "cali-brief")))?;
    // With the pod's namespace goes its device, and the other end of it.
    drop(brief);
    eventually(PATIENCE, || {
        let shown = agent.json(&cluster.a, &["devices"])?;
        Ok(find(&shown, "cali-brief").is_none().then_some(()))
    })?;
    Ok(())
}

/// The object in `shown`, at whatever depth, that names the device `name`.
fn find(shown: &Value, name: &str) -> Option<Value> {
    match shown {
        Value::Array(elements) => elements.iter().find_map(|element| find(element, name)),
        Value::Object(fields) if fields.values().any(|value| value == name) => Some(shown.clone()),
        Value::Object(fields) => fields.values().find_map(|value| find(value, name)),
        _ => None,
    }
}
