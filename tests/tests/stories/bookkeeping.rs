//! What load leaves behind: nothing. Flow tables are as they were, no half of a pair survives.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, Result, ensure};
use lab::{AgentFlags, Bpftool, Family, Node, SERVICE_PREFIXES, Wiring, manifest::Protocol};

use crate::cluster::{Cluster, Kind, eventually};

const NUMBER: u8 = 57;
const FLOW_TABLES: [&str; 8] = [
    "DST_FLOWS_V4",
    "SRC_FLOWS_V4",
    "NEW_DST_FLOWS_V4",
    "NEW_SRC_FLOWS_V4",
    "DST_FLOWS_V6",
    "SRC_FLOWS_V6",
    "NEW_DST_FLOWS_V6",
    "NEW_SRC_FLOWS_V6",
];
/// Timeouts that a test can wait for.
const SOON_OVER: [(&str, &str); 8] = [
    ("--sweep-interval", "200ms"),
    ("--timeout-tcp-syn", "1s"),
    ("--timeout-tcp-close-wait", "1s"),
    ("--timeout-tcp-time-wait", "1s"),
    ("--timeout-tcp-reset", "1s"),
    ("--timeout-udp-unanswered", "1s"),
    ("--timeout-udp-stream", "1s"),
    ("--socket-lb-tcp", "host"),
];

#[test]
fn flow_tables_are_empty_again_after_load() -> Result<()> {
    let cluster = Cluster::new(Wiring::Ptp)?;
    let outside = cluster.lab.outside("outside")?;
    cluster.lab.route(&SERVICE_PREFIXES, &cluster.a)?;
    let service = cluster.expose("busy", NUMBER, &cluster.all(), |it| it)?;
    let empty = cluster.expose("nobody", NUMBER + 1, &[], |it| it)?;
    let flags =
        SOON_OVER.iter().fold(AgentFlags::new(), |flags, (name, value)| flags.with(name, value));
    let _agent = cluster.a.start_agent(&flags)?;
    let start = elements(&cluster.a)?;
    ensure!(start.values().all(|&count| count == 0), "at the start: {start:?}");
    let mut loads = Vec::new();
    for family in Family::BOTH {
        for (client, kind) in [(&outside, Kind::NodePort), (&cluster.client, Kind::ClusterIp)] {
            let to = service.at(kind, family, Protocol::Tcp);
            loads.push(client.load(to, Duration::from_millis(1500))?);
            // Connections that end by FIN, datagrams, questions that are refused.
            for _ in 0..50 {
                client.tcp(to).ask()?;
                client.udp(service.at(kind, family, Protocol::Udp)).ask()?;
                client.udp(empty.at(kind, family, Protocol::Udp)).refusal()?;
            }
        }
    }
    let busy = elements(&cluster.a)?;
    let most: usize = busy.values().sum();
    for load in loads {
        let made = load.finish()?;
        ensure!(made.failures.is_empty(), "{:?}", made.failures);
    }
    println!("{most} halves of flows under load");
    ensure!(most > 200, "under load: {busy:?}");
    eventually(Duration::from_secs(20), || {
        let now = elements(&cluster.a)?;
        Ok(now.values().all(|&count| count == 0).then_some(()))
    })
    .with_context(|| format!("left behind: {:?}", elements(&cluster.a)))?;
    Ok(())
}

/// How many elements each flow table has.
fn elements(node: &Node) -> Result<BTreeMap<&'static str, usize>> {
    FLOW_TABLES.iter().map(|&name| Ok((name, Bpftool::dump(&node.map_pin(name))?.len()))).collect()
}
