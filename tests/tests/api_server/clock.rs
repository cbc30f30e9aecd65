//! The node's wall clock is set, by hours and both ways, while the agent runs: the cluster is
//! followed, connections and affinity stay, flows end when they are to.
//!
//! What may go wrong with a clock that the agent doesn't set itself: a wait that becomes hours long,
//! a flow that looks hours old, a time before another that is subtracted from it.

use std::{thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use lab::{
    Addresses, Agent, AgentFlags, Family, Node, Server, WallClock,
    control_plane::Settings,
    manifest::{Protocol, service},
    page::{metric, page},
};
use serde_json::{Value, json};

use crate::site::{Site, Web, eventually};

const HOURS: i64 = 6 * 3600;
/// How the clock goes: ahead, behind, and right again.
const SETTINGS: [i64; 3] = [HOURS, -HOURS, 0];
/// How long a connection that has ended is kept.
const BRIEF: Duration = Duration::from_secs(3);
/// How many changes have been measured from the API server's clock to the maps.
const PROGRAMMED: &str = "kubeproxy_network_programming_duration_seconds_count";
/// Says when an EndpointSlice's endpoints changed, by the cluster's clock.
const TRIGGER: &str = "endpoints.kubernetes.io/last-change-trigger-time";

#[test]
fn a_wall_clock_that_is_set_by_hours_disturbs_nobody() -> Result<()> {
    let mut site = Site::new(Settings::default())?;
    let clock = WallClock::new(&site.a)?;
    // It is wrong when the agent starts.
    clock.set(2 * HOURS)?;
    let web = site.publish("web", 10, &[&site.near])?;
    let sticky = sticky(&site)?;
    let flags = AgentFlags::new()
        .kubeconfig(site.plane.agent()?)
        .wall_clock(&clock)
        .socket_lb_tcp("off")
        .socket_lb_udp("off")
        .with("--sweep-interval", "200ms")
        .with("--timeout-tcp-time-wait", &format!("{}s", BRIEF.as_secs()));
    let agent = site.a.start_agent(&flags)?;
    ensure_ahead(&site.a, 2 * HOURS)?;
    let (mut lasting, first) = site.client.tcp(web.at(Family::V4)).open()?;
    let (mut idle, _) = site.client.tcp(web.at(Family::V6)).open()?;
    let kept = site.client.tcp(sticky.at(Family::V4)).ask()?.server;
    for (number, seconds) in SETTINGS.into_iter().enumerate() {
        let at = || format!("{seconds} s ahead");
        clock.set(seconds)?;
        ensure_ahead(&site.a, seconds)?;
        for _ in 0..10 {
            let again = site.client.tcp(sticky.at(Family::V4)).ask()?.server;
            ensure!(again == kept, "{}: affinity went from {kept} to {again}", at());
        }
        let answer = lasting.ask().with_context(at)?;
        ensure!(answer.server == first.server, "{}: {} answers", at(), answer.server);
        // A change that a watch tells.
        let (here, there) =
            if number % 2 == 0 { (&site.near, &site.far) } else { (&site.far, &site.near) };
        let measured = metric(&site.a, PROGRAMMED)?;
        point_now(&site, &web, there)?;
        site.until_answers(&web, there).with_context(at)?;
        // By a clock that is ahead of the cluster's it was before the agent started.
        if seconds <= 0 {
            ensure!(metric(&site.a, PROGRAMMED)? > measured, "{}: {PROGRAMMED} stays", at());
        }
        // One that comes after errors, and waits between them in which the clock is set again.
        site.plane.kill_api_server()?;
        thread::sleep(Duration::from_secs(1));
        clock.set(-seconds)?;
        thread::sleep(Duration::from_secs(1));
        clock.set(seconds)?;
        site.plane.start_api_server()?;
        point_now(&site, &web, here)?;
        site.until_answers(&web, here).with_context(at)?;
        // What ended goes when its time is over; what is idle stays.
        let closed = site.client.tcp(web.at(Family::V4)).ask()?.local.port();
        ensure!(has_flow(&agent, &site, closed)?, "{}: no flow of what just ended", at());
        thread::sleep(BRIEF / 3);
        ensure!(has_flow(&agent, &site, closed)?, "{}: its flow went at once", at());
        eventually("its flow goes", || Ok(!has_flow(&agent, &site, closed)?)).with_context(at)?;
        ensure!(metric(&site.a, "sluice_lag_seconds")? < 1.0, "{}", at());
        ensure!(page(&site.a, "127.0.0.1:10256", "/healthz")?.status == 200, "{}", at());
    }
    idle.ask()?;
    Ok(())
}

/// A Service with affinity, longer than the test but shorter than the clock's jumps.
fn sticky(site: &Site) -> Result<Web> {
    let web = Web { name: "sticky".to_owned(), addresses: Addresses::cluster_ips(11) };
    let object = service(&web.name, web.addresses)
        .port("http", 80, Protocol::Tcp)
        .affinity(3600)
        .with("ipFamilyPolicy", "RequireDualStack")
        .object();
    site.plane.api().apply(&[object])?;
    site.point(&web, &[&site.near, &site.far])?;
    Ok(web)
}

/// The Service gets the endpoint `server`, and its EndpointSlices say that this is now.
fn point_now(site: &Site, web: &Web, server: &Server) -> Result<()> {
    let now = Timestamp::now().to_string();
    let slices = site.slices(web, &[server]).map(|mut slice| {
        slice["metadata"]["annotations"] = json!({ TRIGGER: now });
        slice
    });
    site.plane.api().apply(&slices)
}

/// The agent's wall clock is so far ahead of the machine's, which it says itself.
fn ensure_ahead(node: &Node, seconds: i64) -> Result<()> {
    let body: Value = serde_json::from_str(&page(node, "127.0.0.1:10256", "/livez")?.body)?;
    let told: Timestamp = body["currentTime"].as_str().context("no time")?.parse()?;
    let ahead = told.as_second() - Timestamp::now().as_second();
    ensure!(
        (ahead - seconds).abs() < 60,
        "the agent's clock is {ahead} s ahead, not {seconds}; is it linked statically?"
    );
    Ok(())
}

/// Whether the agent knows the flow that a client has opened from `port`.
fn has_flow(agent: &Agent, site: &Site, port: u16) -> Result<bool> {
    let flows = agent.json(&site.a, &["flows"])?;
    let rows = flows.as_array().with_context(|| format!("no list: {flows}"))?;
    Ok(rows.iter().any(|row| row["client"]["port"] == port))
}
