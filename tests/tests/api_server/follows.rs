//! An agent follows a real API server: what is created, changed and deleted there is served here,
//! with the rights of its service account and no others.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use lab::{
    Agent,
    control_plane::{Settings, agent_role},
};
use serde_json::{Value, json};

use crate::site::{Site, eventually};

#[test]
fn what_changes_on_the_api_server_changes_for_clients() -> Result<()> {
    let site = Site::new(Settings::default())?;
    let web = site.publish("before", 10, &[&site.near])?;
    let agent = site.start_agent()?;
    site.assert_answers(&web, &site.near)?;

    let web = site.publish("after", 11, &[&site.near])?;
    let created = site.until_answers(&web, &site.near)?;
    site.point(&web, &[&site.far])?;
    let moved = site.until_answers(&web, &site.far)?;
    println!("from the API call to a connection: created {created:?}, moved {moved:?}");

    site.plane.api().delete(&[object("Service", &web.name)])?;
    eventually("the deleted Service isn't served", || Ok(!serves(&agent, &site, &web.name)?))?;
    ensure!(serves(&agent, &site, "before")?, "the other one is");
    Ok(())
}

#[test]
fn the_role_of_the_agents_account_is_enough_and_nothing_else_is_asked_for() -> Result<()> {
    let site = Site::new(Settings::default())?;
    let web = site.publish("web", 10, &[&site.near])?;
    let agent = site.start_agent()?;
    site.assert_answers(&web, &site.near)?;
    // The API server's own Service is served too: agents and pods reach it by that.
    ensure!(serves(&agent, &site, "kubernetes")?);

    let asked = site.plane.asked_by_agent()?;
    for kind in ["services", "endpointslices", "servicecidrs", "nodes"] {
        ensure!(
            asked.iter().any(|it| it.verb == "watch" && it.uri.contains(&format!("/{kind}?"))),
            "no watch of {kind} among {asked:?}"
        );
    }
    let role = agent_role();
    for asked in &asked {
        ensure!(asked.status == 200 || asked.status == 201, "refused: {asked:?}");
        if asked.uri == "/readyz" {
            // Everybody who is known may ask that.
            continue;
        }
        let rules = role["rules"].as_array().context("a role has rules")?;
        let granted = rules.iter().any(|rule| {
            let has = |field: &str, is: &dyn Fn(&str) -> bool| {
                let values = rule[field].as_array().into_iter().flatten();
                values.filter_map(Value::as_str).any(is)
            };
            has("verbs", &|verb| verb == asked.verb)
                && has("resources", &|resource| {
                    let path = asked.uri.split('?').next().unwrap_or_default();
                    path.split('/').any(|part| part == resource)
                })
        });
        ensure!(granted, "the role doesn't say so: {asked:?}");
    }
    Ok(())
}

#[test]
fn the_node_and_the_ranges_of_services_are_followed() -> Result<()> {
    let site = Site::new(Settings::default())?;
    let web = site.publish("web", 10, &[])?;
    let zoned = |server: &lab::Server, node: &str, zone: &str| {
        json!({
            "addresses": [server.host().addresses().v4],
            "nodeName": node,
            "hints": { "forZones": [{ "name": zone }] },
        })
    };
    let mut slice = site.slices(&web, &[])[0].clone();
    slice["endpoints"] = json!([zoned(&site.near, "node-a", "x"), zoned(&site.far, "node-b", "y")]);
    site.plane.api().apply(&[slice])?;
    let _agent = site.start_agent()?;
    let from = |zone: &str, server: &lab::Server| -> Result<()> {
        let node = lab::manifest::node("node-a", &[("topology.kubernetes.io/zone", zone)]);
        site.plane.api().apply(&[node])?;
        eventually(&format!("only {} is used in the zone {zone}", server.name()), || {
            for _ in 0..12 {
                let answer = site.client.tcp(web.at(lab::Family::V4)).attempt()?;
                if !answer.is_ok_and(|answer| answer.server == server.name()) {
                    return Ok(false);
                }
            }
            Ok(true)
        })
    };
    from("x", &site.near)?;
    from("y", &site.far)?;

    let free: SocketAddr = "10.97.0.7:80".parse()?;
    ensure!(verdict(&site, free)? == "pass", "{free} is in no range yet");
    let range = json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "ServiceCIDR",
        "metadata": { "name": "more" },
        "spec": { "cidrs": ["10.97.0.0/24"] },
    });
    site.plane.api().create(std::slice::from_ref(&range))?;
    eventually("an address of the new range is dropped", || Ok(verdict(&site, free)? == "drop"))?;
    site.plane.api().delete(&[range])?;
    eventually("it is nobody's again", || Ok(verdict(&site, free)? == "pass"))
}

/// What would happen to a connection of the client pod.
fn verdict(site: &Site, to: SocketAddr) -> Result<String> {
    let source = site.client.addresses().v4.to_string();
    let to = format!("{to}/tcp");
    let line = ["explain", "--from", "pod", "--source", &source, "--to", &to];
    let answer = lab::Sluice::of_workspace()?.json(&site.a, &line)?;
    Ok(answer["verdict"].as_str().context("an explanation has a verdict")?.to_owned())
}

/// Whether the agent serves the Service `name`.
fn serves(agent: &Agent, site: &Site, name: &str) -> Result<bool> {
    let services = agent.json(&site.a, &["services"])?;
    let services = services.as_array().context("services are a list")?;
    Ok(services.iter().any(|service| service["service"]["name"] == name))
}

/// An object by its kind and name.
pub(crate) fn object(kind: &str, name: &str) -> Value {
    json!({ "kind": kind, "metadata": { "name": name } })
}
