//! How lists are asked for: streamed where the server can, in pages where it can't.

use anyhow::{Result, ensure};
use lab::control_plane::{Etcd, Settings};
use serde_json::json;

use crate::site::Site;

/// Enough for several pages, and for a list that takes its time.
const MANY: u16 = 1200;

#[test]
fn lists_are_streamed_where_the_server_can() -> Result<()> {
    let site = Site::new(Settings::default())?;
    let web = site.publish("web", 10, &[&site.near])?;
    let _agent = site.start_agent()?;
    site.assert_answers(&web, &site.near)?;
    let asked = site.plane.asked_by_agent()?;
    ensure!(!asked.iter().any(|it| it.verb == "list"), "{asked:?}");
    let streamed = asked.iter().filter(|it| it.uri.contains("sendInitialEvents=true")).count();
    ensure!(streamed == 4, "one for each kind: {asked:?}");
    Ok(())
}

#[test]
fn lists_come_in_pages_where_an_old_etcd_can_not_stream_them() -> Result<()> {
    let site = Site::new(Settings { etcd: Etcd::Old, ..Settings::default() })?;
    create_many(&site)?;
    let web = site.publish("web", 10, &[&site.near])?;
    let agent = site.start_agent()?;
    site.assert_answers(&web, &site.near)?;
    site.point(&web, &[&site.far])?;
    site.until_answers(&web, &site.far)?;

    let asked = site.plane.asked_by_agent()?;
    let lists = |kind: &str| {
        let of = |it: &&lab::control_plane::Asked| {
            it.verb == "list" && it.uri.contains(&format!("/{kind}?"))
        };
        asked.iter().filter(of).count()
    };
    // An etcd that could stream lists would not have led here.
    ensure!(lists("nodes") == 1 && lists("services") > 2, "{asked:?}");
    let served = agent.json(&site.a, &["services"])?;
    let served = served.as_array().map_or(0, Vec::len);
    ensure!(served >= usize::from(MANY), "{served} Services");
    Ok(())
}

/// Many Services that nobody uses.
pub(crate) fn create_many(site: &Site) -> Result<()> {
    let service = |number: u16| {
        let [high, low] = number.to_be_bytes();
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": { "name": format!("idle-{number}") },
            "spec": {
                "clusterIP": format!("10.96.{}.{low}", 64 + high),
                "ports": [{ "port": 80 }],
            },
        })
    };
    let services: Vec<_> = (1..=MANY).map(service).collect();
    site.plane.api().create(&services)
}
