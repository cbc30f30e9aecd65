//! What an operator sees and does: `bpftool`, the tables of `sluice`, and `cleanup`.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context as _, Result};
use lab::{AgentFlags, Bpftool, Family, Node, Sluice, Wiring};
use proxy_common::layout::MAPS;

use crate::cluster::{Cluster, Path, Shape, eventually};

const SHAPE: Shape = Shape { wiring: Wiring::Ptp, path: Path::Packet };

#[test]
fn bpftool_shows_every_map_with_named_fields() -> Result<()> {
    let (cluster, web, _agent) = Cluster::serving(SHAPE)?;
    use_everything(&cluster, web)?;
    for map in MAPS {
        let pin = cluster.a.map_pin(map.name);
        let shown = Bpftool::map(&pin)?;
        assert!(shown["btf_id"].is_u64(), "{} carries no BTF: {shown}", map.name);
        let Some(element) = Bpftool::dump_first(&pin)? else { continue };
        let formatted = &element["formatted"];
        assert!(formatted.is_object(), "{} is dumped without BTF: {element}", map.name);
        let value = match formatted.get("values") {
            Some(per_cpu) => &per_cpu[0]["value"],
            None => &formatted["value"],
        };
        for (part, kind) in [(&formatted["key"], map.key), (value, map.value)] {
            let is_number = matches!(kind, "u32" | "u64");
            assert!(
                if is_number { part.is_number() } else { part.is_object() },
                "{} shows {part} for a {kind}",
                map.name
            );
        }
    }
    Ok(())
}

#[test]
fn bpftool_shows_frontends_as_an_operator_reads_them() -> Result<()> {
    let (cluster, _, _agent) = Cluster::serving(SHAPE)?;
    let services = Bpftool::dump(&cluster.a.map_pin("SERVICES_V4"))?;
    let http = services
        .iter()
        .map(|element| &element["formatted"])
        .find(|element| element["key"].to_string().contains("[10,96,0,10]"))
        .with_context(|| format!("10.96.0.10 is not among {services:?}"))?;
    for field in ["address", "port", "protocol"] {
        assert!(http["key"].get(field).is_some(), "no {field} in {http}");
    }
    for field in ["id", "flags", "kind", "cluster", "local", "affinity"] {
        assert!(http["value"].get(field).is_some(), "no {field} in {http}");
    }
    Ok(())
}

#[test]
fn every_table_is_json_too_with_and_without_an_agent() -> Result<()> {
    let (cluster, web, agent) = Cluster::serving(SHAPE)?;
    use_everything(&cluster, web)?;
    let sluice = Sluice::of_workspace()?;
    let tables = ["status", "services", "backends", "flows", "affinity", "devices"];
    for command in tables {
        sluice.json(&cluster.a, &[command])?;
        assert!(!sluice.text(&cluster.a, &[command])?.trim().is_empty());
    }
    let services = sluice.json(&cluster.a, &["services"])?.to_string();
    for part in ["10.96.0.10", "fd00:10:96::a", "web", "http", "dns"] {
        assert!(services.contains(part), "{part} is not in {services}");
    }
    let near = cluster.near.host().address(Family::V4).to_string();
    assert!(sluice.json(&cluster.a, &["backends"])?.to_string().contains(&near));
    let client = cluster.client.address(Family::V4).to_string();
    assert!(sluice.json(&cluster.a, &["flows"])?.to_string().contains(&client));
    agent.kill()?;
    for command in tables {
        sluice.json(&cluster.a, &[command])?;
        sluice.text(&cluster.a, &[command])?;
    }
    Ok(())
}

#[test]
fn the_monitor_tells_of_flows_and_refusals_as_they_happen() -> Result<()> {
    let (cluster, web, _agent) = Cluster::serving(SHAPE)?;
    let sluice = Sluice::of_workspace()?;
    // Three looks, and what happens between the first and the last of them.
    let monitor = ["monitor", "--interval=1s", "--count=3", "-o", "json"];
    let (told, client) = std::thread::scope(|scope| -> Result<_> {
        let told = scope.spawn(|| sluice.text(&cluster.a, &monitor));
        std::thread::sleep(Duration::from_millis(1_200));
        let (_connection, answer) = cluster.client.tcp(web.http(Family::V4)).open()?;
        cluster.client.tcp(web.at(Family::V4, 9)).refusal()?;
        let told = told.join().expect("the monitor's thread panicked")?;
        Ok((told, answer.local))
    })?;
    let news: Vec<serde_json::Value> =
        told.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let opened = news
        .iter()
        .find(|news| news["event"] == "opened" && news["client"]["port"] == client.port())
        .with_context(|| format!("{client} is not among {told}"))?;
    assert_eq!(opened["service"]["name"], "web");
    assert!(
        news.iter().any(|news| news["event"] == "counted" && news["kind"] == "reject"),
        "no refusal: {told}"
    );
    Ok(())
}

#[test]
fn cleanup_removes_every_program_link_map_and_pin() -> Result<()> {
    let (cluster, web, agent) = Cluster::serving(SHAPE)?;
    use_everything(&cluster, web)?;
    let ours = Objects::of(&cluster.a)?;
    assert!(!ours.maps.is_empty() && !ours.programs.is_empty() && !ours.links.is_empty());
    let all = ours.maps.len() + ours.programs.len() + ours.links.len();
    assert_eq!(ours.still_there()?.len(), all, "bpftool finds each of them by its id");
    agent.kill()?;
    Sluice::of_workspace()?.text(&cluster.a, &["cleanup"])?;
    assert!(!cluster.a.pin_path().exists() || Bpftool::pins(&cluster.a.pin_path())?.is_empty());
    // The kernel frees what nobody refers to in its own time.
    eventually(Duration::from_secs(5), || Ok(ours.still_there()?.is_empty().then_some(())))
        .with_context(|| format!("left behind: {:?}", ours.still_there()))?;
    cluster.client.tcp(web.http(Family::V4)).patience_ms(200).refusal()?;
    cluster.client.tcp(cluster.near.tcp(Family::V4)).ask()?;
    Ok(())
}

#[test]
fn cleanup_of_a_node_that_has_nothing_succeeds() -> Result<()> {
    let cluster = Cluster::new(Wiring::Ptp)?;
    Sluice::of_workspace()?.text(&cluster.a, &["cleanup"])?;
    Ok(())
}

#[test]
fn an_agent_after_a_cleanup_serves_again() -> Result<()> {
    let (cluster, web, agent) = Cluster::serving(SHAPE)?;
    agent.kill()?;
    Sluice::of_workspace()?.text(&cluster.a, &["cleanup"])?;
    let _agent = cluster.a.start_agent(&AgentFlags::new())?;
    for family in Family::BOTH {
        assert_eq!(cluster.client.tcp(web.http(family)).ask()?.peer, Some(web.http(family)));
    }
    Ok(())
}

#[test]
fn a_second_agent_on_one_pin_path_is_refused_and_told_who_is_there() -> Result<()> {
    let (cluster, web, agent) = Cluster::serving(SHAPE)?;
    let error = cluster
        .a
        .start_agent(&SHAPE.flags())
        .err()
        .context("a second agent started on the same pin path")?;
    let pid = agent.pid().to_string();
    assert!(format!("{error:#}").contains(&pid), "{error:#} does not name {pid}");
    cluster.client.tcp(web.http(Family::V4)).ask()?;
    Ok(())
}

/// Has an element in as many maps as this part of the datapath can fill.
fn use_everything(cluster: &Cluster, web: crate::cluster::Web) -> Result<()> {
    for family in Family::BOTH {
        cluster.client.tcp(web.http(family)).ask()?;
        cluster.client.udp(web.dns(family)).ask()?;
        cluster.client.udp(web.at(family, 9)).refusal()?;
    }
    Ok(())
}

/// Ids of what an agent has pinned.
#[derive(Debug, Default)]
struct Objects {
    maps: BTreeSet<u64>,
    programs: BTreeSet<u64>,
    links: BTreeSet<u64>,
}

impl Objects {
    fn of(node: &Node) -> Result<Self> {
        let mut objects = Self::default();
        for map in MAPS {
            let shown = Bpftool::map(&node.map_pin(map.name))?;
            objects.maps.extend(shown["id"].as_u64());
        }
        for pin in Bpftool::pins(&node.pin_path())? {
            let path = pin.to_str().context("UTF-8")?;
            if let Ok(link) = Bpftool::json(&["link", "show", "pinned", path]) {
                objects.links.extend(link["id"].as_u64());
                objects.programs.extend(link["prog_id"].as_u64());
            }
        }
        Ok(objects)
    }

    fn still_there(&self) -> Result<Vec<(&'static str, u64)>> {
        let mut found = Vec::new();
        for (kind, ids) in [("map", &self.maps), ("prog", &self.programs), ("link", &self.links)] {
            for &id in ids {
                if Bpftool::exists(kind, id)? {
                    found.push((kind, id));
                }
            }
        }
        Ok(found)
    }
}
