//! Flags of the agent that change which frontends there are, and whose address an endpoint sees.
//!
//! One site; the agent is started anew with each set of flags, and adopts what the last one left.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context as _, Result, ensure};
use lab::{AgentFlags, Family, Host, Uplink, Wiring, manifest, probe::Trouble};

use crate::{
    cluster::{Kind, Path},
    site::{Place, SILENCE_MS, Site, ask, by_all_means, fail},
};

const PLACE: Place = Place { wiring: Wiring::Ptp, uplink: Uplink::Ethernet, path: Path::Packet };

/// Flags, and what they have to lead to.
type Switch = (&'static str, &'static [(&'static str, &'static str)], fn(&Site) -> Result<()>);

const SWITCHES: &[Switch] = &[
    (
        "node_port_addresses_of_one_family_leave_the_other_at_all",
        &[("--node-port-addresses", "10.244.0.0/16")],
        node_port_addresses_of_one_family_leave_the_other_at_all,
    ),
    (
        "node_port_addresses_that_match_nothing_mean_none",
        &[("--node-port-addresses", "192.0.2.0/24,2001:db8::/32")],
        node_port_addresses_that_match_nothing_mean_none,
    ),
    (
        "primary_node_port_addresses_are_those_of_the_node_object",
        &[("--node-port-addresses", "primary")],
        primary_node_port_addresses_are_those_of_the_node_object,
    ),
    (
        "external_ips_can_be_turned_off",
        &[("--external-ips", "false")],
        external_ips_can_be_turned_off,
    ),
    (
        "outside_clients_of_a_cluster_ip_can_be_refused",
        &[("--external-cluster-ip", "refuse")],
        outside_clients_of_a_cluster_ip_can_be_refused,
    ),
    (
        "masquerade_all_masquerades_cluster_ips_and_keeps_policy_local",
        &[("--masquerade-all", "true")],
        masquerade_all_masquerades_cluster_ips_and_keeps_policy_local,
    ),
];

#[test]
fn every_switch_does_what_it_says() -> Result<()> {
    let mut site = Site::new(PLACE)?;
    let internal = site.cluster.a.addresses().both();
    let nodes = [manifest::node_with_addresses("node-a", &internal), manifest::node("node-b", &[])];
    manifest::write(&site.cluster.lab.manifests(), "nodes.yaml", &nodes)?;
    for (name, flags, holds) in SWITCHES {
        let flags = flags
            .iter()
            .fold(PLACE.flags(), |flags: AgentFlags, (flag, value)| flags.with(flag, value));
        site.restart_agent(&flags)?;
        holds(&site).with_context(|| format!("{name}, {flags:?}"))?;
        println!("{name}: ok");
    }
    Ok(())
}

/// The gateway of the node's pods: an address of the node that is no primary one.
const SECONDARY: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 244, 1, 1));

/// The NodePort at `address` is the host's to answer, which has nobody there.
fn is_left_to_the_host(site: &Site, client: &Host, address: IpAddr) -> Result<()> {
    for protocol in [manifest::Protocol::Tcp, manifest::Protocol::Udp] {
        let to = (address, site.everywhere.node_port()).into();
        let failure = fail(client, to, protocol, 3000)?;
        ensure!(failure.trouble == Trouble::Refused, "{} asks {to}: {failure}", client.name());
    }
    Ok(())
}

fn node_port_addresses_of_one_family_leave_the_other_at_all(site: &Site) -> Result<()> {
    is_left_to_the_host(site, &site.outside, site.cluster.a.address(Family::V4))?;
    for protocol in [manifest::Protocol::Tcp, manifest::Protocol::Udp] {
        ask(&site.cluster.client, (SECONDARY, site.everywhere.node_port()).into(), protocol)?;
        let to = site.everywhere.at(Kind::NodePort, Family::V6, protocol);
        ask(&site.outside, to, protocol)?;
    }
    Ok(())
}

fn node_port_addresses_that_match_nothing_mean_none(site: &Site) -> Result<()> {
    for family in Family::BOTH {
        for client in [&site.outside, &site.cluster.client] {
            is_left_to_the_host(site, client, site.cluster.a.address(family))?;
        }
    }
    Ok(())
}

fn primary_node_port_addresses_are_those_of_the_node_object(site: &Site) -> Result<()> {
    by_all_means(|family, protocol| {
        ask(&site.outside, site.everywhere.at(Kind::NodePort, family, protocol), protocol)?;
        Ok(())
    })?;
    is_left_to_the_host(site, &site.cluster.client, SECONDARY)
}

fn external_ips_can_be_turned_off(site: &Site) -> Result<()> {
    by_all_means(|family, protocol| {
        for client in site.clients() {
            let to = site.everywhere.at(Kind::ExternalIp, family, protocol);
            let failure = fail(client, to, protocol, SILENCE_MS)?;
            ensure!(failure.trouble == Trouble::TimedOut, "{}: {failure}", client.name());
            ask(client, site.everywhere.at(Kind::LoadBalancer, family, protocol), protocol)?;
        }
        Ok(())
    })
}

fn outside_clients_of_a_cluster_ip_can_be_refused(site: &Site) -> Result<()> {
    by_all_means(|family, protocol| {
        let to = site.everywhere.at(Kind::ClusterIp, family, protocol);
        let failure = fail(&site.outside, to, protocol, 3000)?;
        ensure!(failure.trouble == Trouble::Refused, "{failure}");
        ask(&site.cluster.client, to, protocol)?;
        ask(&site.cluster.a, to, protocol)?;
        ask(&site.outside, site.everywhere.at(Kind::NodePort, family, protocol), protocol)?;
        Ok(())
    })
}

fn masquerade_all_masquerades_cluster_ips_and_keeps_policy_local(site: &Site) -> Result<()> {
    let own = site.cluster.a.device_addresses()?;
    by_all_means(|family, protocol| {
        let [near, _, far, host_network] = site.by_endpoint;
        // Not the endpoint in the node's own host network: what goes there leaves by no device.
        for service in [near, far, host_network] {
            for client in [&site.outside, &site.cluster.client] {
                let to = service.at(Kind::ClusterIp, family, protocol);
                let answer = ask(client, to, protocol)?;
                let seen = answer.client_seen.ip();
                ensure!(own.contains(&seen), "{} sees {seen} through {to}", answer.server);
            }
        }
        for kind in Kind::EXTERNAL {
            let answer = ask(&site.outside, site.outer.at(kind, family, protocol), protocol)?;
            let seen = answer.client_seen.ip();
            ensure!(seen == site.outside.address(family), "{} sees {seen}", answer.server);
        }
        Ok(())
    })
}
