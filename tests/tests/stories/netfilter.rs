//! Beside netfilter: its connection tracking sees client and endpoint, and nothing invalid.

use anyhow::{Context as _, Result};
use lab::{Family, Node};
use serde_json::Value;

use crate::cluster::{Cluster, Shape};

/// What a CNI and a firewall set up on many nodes: masquerade what leaves the cluster, drop what
/// connection tracking finds invalid.
const RULESET: &str = "
table inet cni {
    counter invalid {}
    chain forward {
        type filter hook forward priority filter;
        ct state invalid counter name invalid drop
    }
    chain postrouting {
        type nat hook postrouting priority srcnat;
        ip saddr 10.244.0.0/16 ip daddr != 10.244.0.0/16 masquerade
        ip6 saddr fd00:10:244::/48 ip6 daddr != fd00:10:244::/48 masquerade
    }
}
";

in_every_shape![a_firewall_that_drops_what_is_invalid_drops_nothing];

fn a_firewall_that_drops_what_is_invalid_drops_nothing(shape: Shape) -> Result<()> {
    let cluster = Cluster::new(shape.wiring)?;
    cluster.a.namespace().nft(RULESET)?;
    let web = cluster.web(&[&cluster.near, &cluster.far])?;
    let _agent = cluster.a.start_agent(&shape.flags())?;
    for family in Family::BOTH {
        for _ in 0..10 {
            let tcp = cluster.client.tcp(web.http(family)).ask()?;
            assert_eq!(tcp.client_seen, tcp.local);
            let udp = cluster.client.udp(web.dns(family)).ask()?;
            assert_eq!(udp.received_from, Some(web.dns(family)));
            assert_eq!(udp.client_seen.ip(), cluster.client.address(family));
        }
        let bulk = cluster.client.tcp(web.http(family)).bulk(4 << 20, 4 << 20)?;
        assert_eq!((bulk.upload_fault, bulk.download_fault), (None, None));
    }
    let invalid = counted(&cluster.a, "invalid")?;
    assert_eq!(invalid, 0, "packets that connection tracking finds invalid");
    Ok(())
}

fn counted(node: &Node, counter: &str) -> Result<u64> {
    let output =
        node.command("nft")?.args(["-j", "list", "counter", "inet", "cni", counter]).output()?;
    let listed: Value = serde_json::from_slice(&output.stdout)?;
    let objects = listed["nftables"].as_array().context("nft lists nothing")?;
    objects
        .iter()
        .find_map(|object| object["counter"]["packets"].as_u64())
        .with_context(|| format!("no counter in {listed}"))
}
