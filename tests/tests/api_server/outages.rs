//! The API server, its etcd or the way there fails: what is served stays, and what changed meanwhile
//! is followed afterwards.

use std::{env, thread, time::Duration};

use anyhow::{Result, ensure};
use lab::{AgentFlags, Load, control_plane::Settings};

use crate::{
    lists::create_many,
    site::{Site, Web, eventually},
};

/// So long nothing may change for clients.
const AWAY: Duration = Duration::from_secs(4);
/// Set in the environment, it keeps the API server away for [`LONG_MINUTES`] more.
const LONG: &str = "SLUICE_LAB_LONG";
const LONG_MINUTES: usize = 10;

/// Nobody failed, and somebody asked.
fn assert_nobody_failed(load: Load) -> Result<()> {
    let answer = load.finish()?;
    ensure!(answer.failures.is_empty(), "failed: {:?}", answer.failures);
    ensure!(answer.endpoints.len() > 50, "only {} connections", answer.endpoints.len());
    Ok(())
}

/// The Service goes from the near to the far server.
fn change(site: &Site, web: &Web) -> Result<()> {
    site.point(web, &[&site.far])?;
    let took = site.until_answers(web, &site.far)?;
    println!("the change is followed after {took:?}");
    Ok(())
}

#[test]
fn services_stay_while_the_api_server_is_gone_and_changes_follow_when_it_is_back() -> Result<()> {
    let mut site = Site::new(Settings::default())?;
    let web = site.publish("web", 10, &[&site.near])?;
    let _agent = site.start_agent()?;
    let (mut lasting, _) = site.client.tcp(web.at(lab::Family::V6)).open()?;
    let load = site.load(&web, AWAY)?;
    site.plane.kill_api_server()?;
    assert_nobody_failed(load)?;
    let minutes = if env::var_os(LONG).is_some() { LONG_MINUTES } else { 0 };
    for _ in 0..minutes {
        assert_nobody_failed(site.load(&web, Duration::from_mins(1))?)?;
    }
    lasting.ask()?;
    site.plane.start_api_server()?;
    change(&site, &web)
}

#[test]
fn services_stay_while_etcd_is_gone() -> Result<()> {
    let mut site = Site::new(Settings::default())?;
    let web = site.publish("web", 10, &[&site.near])?;
    let _agent = site.start_agent()?;
    let load = site.load(&web, AWAY)?;
    site.plane.kill_etcd()?;
    assert_nobody_failed(load)?;
    site.plane.start_etcd()?;
    eventually("the API server takes changes again", || {
        Ok(site.point(&web, &[&site.near]).is_ok())
    })?;
    change(&site, &web)
}

#[test]
fn services_stay_while_the_api_server_says_nothing() -> Result<()> {
    let site = Site::new(Settings::default())?;
    let web = site.publish("web", 10, &[&site.near])?;
    let _agent = site.start_agent()?;
    let load = site.load(&web, AWAY)?;
    site.plane.freeze_api_server()?;
    assert_nobody_failed(load)?;
    site.plane.thaw_api_server()?;
    change(&site, &web)
}

/// The connections that the agent has are dead and nobody says so, as when a firewall forgets them
/// or the server's machine loses power: no FIN, no RST.
#[test]
fn a_connection_that_is_dead_on_the_other_side_is_noticed_and_made_anew() -> Result<()> {
    let site = Site::new(Settings::default())?;
    let web = site.publish("web", 10, &[&site.near])?;
    let _agent = site.start_agent()?;
    let server = site.plane.host().address(lab::Family::V4);
    let output = site.a.command("ss")?.args(["-Htn", "dst", &server.to_string()]).output()?;
    let sockets = String::from_utf8(output.stdout)?;
    let ports: Vec<&str> = sockets
        .lines()
        .filter_map(|line| line.split_whitespace().nth(3)?.rsplit_once(':').map(|(_, port)| port))
        .collect();
    ensure!(!ports.is_empty(), "the agent has no connection: {sockets}");
    let ports = ports.join(", ");
    site.a.namespace().nft(&format!(
        "table inet dead {{
            chain out {{ type filter hook output priority 0; tcp sport {{ {ports} }} drop; }}
            chain in {{ type filter hook input priority 0; tcp dport {{ {ports} }} drop; }}
        }}"
    ))?;
    site.point(&web, &[&site.far])?;
    let took = site.until_answers(&web, &site.far)?;
    println!("the dead connection is noticed after {took:?}");
    Ok(())
}

#[test]
fn an_agent_that_starts_while_the_api_server_is_gone_serves_what_it_finds() -> Result<()> {
    let mut site = Site::new(Settings::default())?;
    let web = site.publish("web", 10, &[&site.near])?;
    let gone = site.publish("gone", 11, &[&site.near])?;
    let kubeconfig = site.plane.agent()?;
    let flags = AgentFlags::new().kubeconfig(kubeconfig);
    let agent = site.a.start_agent(&flags)?;
    agent.kill()?;
    site.plane.api().delete(&[crate::follows::object("Service", &gone.name)])?;
    site.plane.kill_api_server()?;
    let sluice = lab::Sluice::of_workspace()?;
    let mut agent = lab::Agent::launch(&sluice, &site.a, &flags)?;
    let load = site.load(&web, AWAY)?;
    assert_nobody_failed(load)?;
    // What went away while nobody looked is still served: nobody knows that it is gone.
    site.assert_answers(&gone, &site.near)?;
    ensure!(!agent.log()?.contains(" ready"), "ready without a list:\n{}", agent.log()?);
    site.plane.start_api_server()?;
    agent.wait_until_ready()?;
    change(&site, &web)?;
    eventually("what went away is no longer served", || {
        let asked = site.client.tcp(gone.at(lab::Family::V4)).patience_ms(200).attempt()?;
        Ok(asked.is_err())
    })
}

#[test]
fn an_api_server_that_dies_amid_a_list_costs_no_service() -> Result<()> {
    let mut site = Site::new(Settings { relayed: true, ..Settings::default() })?;
    let web = site.publish("web", 10, &[&site.near])?;
    create_many(&site)?;
    let flags = AgentFlags::new().kubeconfig(site.plane.agent()?);
    let agent = site.a.start_agent(&flags)?;
    let served = |agent: &lab::Agent| -> Result<usize> {
        Ok(agent.json(&site.a, &["services"])?.as_array().map_or(0, Vec::len))
    };
    let before = served(&agent)?;
    agent.kill()?;

    // The next agent gets part of its first lists, and the server dies.
    site.plane.relay().hold_after(100_000);
    let sluice = lab::Sluice::of_workspace()?;
    let mut agent = lab::Agent::launch(&sluice, &site.a, &flags)?;
    eventually("a list is held", || Ok(site.plane.relay().spoilt() > 0))?;
    let load = site.load(&web, AWAY)?;
    site.plane.kill_api_server()?;
    site.plane.relay().refuse();
    assert_nobody_failed(load)?;
    ensure!(served(&agent)? == before, "half a list took Services away");

    // Lists that are cut off again and again end nothing either; then one gets through.
    site.plane.start_api_server()?;
    site.plane.relay().cut_after(100_000);
    let cut = site.plane.relay().spoilt();
    eventually("lists are cut off", || Ok(site.plane.relay().spoilt() > cut + 3))?;
    ensure!(served(&agent)? == before, "half a list took Services away");
    site.plane.relay().pass();
    agent.wait_until_ready()?;
    ensure!(served(&agent)? == before);
    thread::sleep(Duration::from_millis(200));
    change(&site, &web)
}
