//! Beside netfilter: its connection tracking sees client and endpoint, and nothing invalid.

use anyhow::{Context as _, Result, ensure};
use lab::{AgentFlags, Family, Node, SERVICE_PREFIXES, Wiring, manifest::Protocol};
use serde_json::Value;

use crate::cluster::{Cluster, Kind, Path, Shape};

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

const NUMBER: u8 = 61;
const BRIDGE_NF: [&str; 2] = ["bridge/bridge-nf-call-iptables", "bridge/bridge-nf-call-ip6tables"];

in_every_shape![a_firewall_that_drops_what_is_invalid_drops_nothing];

fn a_firewall_that_drops_what_is_invalid_drops_nothing(shape: Shape) -> Result<()> {
    let cluster = Cluster::new(shape.wiring)?;
    cluster.a.namespace().nft(RULESET)?;
    drops_nothing(&cluster, shape)
}

fn drops_nothing(cluster: &Cluster, shape: Shape) -> Result<()> {
    let web = cluster.web(&[&cluster.near, &cluster.far])?;
    let _agent = cluster.a.start_agent(&shape.flags())?;
    for family in Family::BOTH {
        for _ in 0..10 {
            let tcp =
                cluster.client.tcp(web.http(family)).ask().with_context(|| format!("{family}"))?;
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

#[test]
fn outside_clients_pass_a_firewall_that_drops_what_is_invalid() -> Result<()> {
    for wiring in Wiring::ALL {
        let cluster = Cluster::new(wiring)?;
        for node in [&cluster.a, &cluster.b] {
            node.namespace().nft(RULESET)?;
        }
        let outside = cluster.lab.outside("outside")?;
        cluster.lab.route(&SERVICE_PREFIXES, &cluster.a)?;
        let service = cluster.expose("guarded", NUMBER, &cluster.all(), |it| it)?;
        let _agent = cluster.a.start_agent(&AgentFlags::new())?;
        for family in Family::BOTH {
            for kind in Kind::ALL {
                let to = service.at(kind, family, Protocol::Tcp);
                crate::site::reach(&outside, to, Protocol::Tcp, &cluster.all())?;
                let bulk = outside.tcp(to).bulk(1 << 20, 1 << 20)?;
                assert_eq!((bulk.upload_fault, bulk.download_fault), (None, None));
                let to = service.at(kind, family, Protocol::Udp);
                crate::site::reach(&outside, to, Protocol::Udp, &cluster.all())?;
            }
        }
        for node in [&cluster.a, &cluster.b] {
            let invalid = counted(node, "invalid")?;
            ensure!(invalid == 0, "{wiring}: {} drops {invalid} packets", node.name());
        }
    }
    Ok(())
}

#[test]
fn bridges_work_with_and_without_br_netfilter() -> Result<()> {
    for value in ["0", "1"] {
        for path in [Path::Packet, Path::Socket] {
            let cluster = Cluster::new(Wiring::Bridge)?;
            cluster.a.namespace().set_parameters(&BRIDGE_NF.map(|name| (name, value)))?;
            // Connection tracking is on, and judges nobody.
            let ruleset = RULESET.replace("counter name invalid drop", "accept");
            cluster.a.namespace().nft(&ruleset)?;
            drops_nothing(&cluster, Shape { wiring: Wiring::Bridge, path })
                .with_context(|| format!("bridge-nf-call-iptables {value}, {path:?} path"))?;
        }
    }
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
