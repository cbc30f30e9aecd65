//! `loadBalancerSourceRanges`: who may use a load balancer's frontends.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Result, ensure};
use lab::{Addresses, Family, Host, manifest::Protocol, probe::Trouble};

use crate::{
    cluster::{Cluster, Exposed, Kind},
    errnos::Verdict,
    rows::rows,
    site::{SILENCE_MS, Site, ask, by_all_means, call, fail},
};

rows![Site:
    a_source_inside_a_range_is_served_at_the_load_balancer_ip,
    a_source_outside_all_ranges_is_dropped_at_the_load_balancer_ip,
    ranges_do_not_filter_other_frontends,
    pods_and_the_node_are_filtered_like_anyone,
    a_blocked_source_is_dropped_even_without_endpoints,
    an_external_ip_that_is_a_load_balancer_ip_too_is_filtered,
    ranges_of_the_other_family_filter_nothing,
];

/// The outside host's first address is in the ranges.
const RANGED: u8 = 40;
/// Likewise, and there is no endpoint.
const RANGED_EMPTY: u8 = 41;
/// Likewise, and its externalIPs are the load balancer's IPs.
const RANGED_EXTERNAL: u8 = 42;
/// The node and its pods are in the ranges, nobody else is.
const INSIDERS: u8 = 43;
/// Only IPv4 ranges.
const RANGED_V4: u8 = 44;
/// The outside host's second address, in no range.
const STRANGER: Addresses = Addresses {
    v4: Ipv4Addr::new(172, 18, 0, 222),
    v6: Ipv6Addr::new(0xfd00, 0x172, 0x18, 0, 0, 0, 0, 222),
};

/// Gives the outside host its second address, and writes the Services that only these rows are about.
pub(crate) fn furnish(cluster: &Cluster, outside: &Host) -> Result<()> {
    cluster.lab.give_addresses(STRANGER, outside)?;
    let own: Vec<String> = outside.addresses().both().map(host_range).to_vec();
    let field = "loadBalancerSourceRanges";
    let endpoints = [&cluster.near, &cluster.far];
    // With the blanks that people leave.
    let blank = own.iter().map(|range| format!(" {range} ")).collect::<Vec<_>>();
    cluster.expose("ranged", RANGED, &endpoints, |service| service.with(field, blank))?;
    cluster
        .expose("ranged-empty", RANGED_EMPTY, &[], |service| service.with(field, own.clone()))?;
    cluster.expose("ranged-external", RANGED_EXTERNAL, &endpoints, |service| {
        service.with(field, own.clone()).external_ips(Addresses::load_balancer_ips(RANGED_EXTERNAL))
    })?;
    let mut inside: Vec<String> = cluster.a.addresses().both().map(host_range).to_vec();
    inside.extend(cluster.client.addresses().both().map(host_range));
    cluster.expose("insiders", INSIDERS, &endpoints, |service| service.with(field, inside))?;
    cluster.expose("ranged-v4", RANGED_V4, &endpoints, |service| {
        service.with(field, vec![own[0].clone()])
    })?;
    Ok(())
}

fn host_range(address: IpAddr) -> String {
    format!("{address}/{}", if address.is_ipv4() { 32 } else { 128 })
}

fn service(site: &Site, number: u8) -> Exposed {
    Exposed::new(number, &site.cluster.a)
}

fn a_source_inside_a_range_is_served_at_the_load_balancer_ip(site: &Site) -> Result<()> {
    by_all_means(|family, protocol| {
        let to = service(site, RANGED).at(Kind::LoadBalancer, family, protocol);
        ask(&site.outside, to, protocol)?;
        let to = service(site, INSIDERS).at(Kind::LoadBalancer, family, protocol);
        ask(&site.cluster.client, to, protocol)?;
        ask(&site.cluster.a, to, protocol)?;
        Ok(())
    })
}

fn a_source_outside_all_ranges_is_dropped_at_the_load_balancer_ip(site: &Site) -> Result<()> {
    by_all_means(|family, protocol| {
        stranger_hears_nothing(site, RANGED, Kind::LoadBalancer, family, protocol)?;
        let to = service(site, INSIDERS).at(Kind::LoadBalancer, family, protocol);
        let failure = fail(&site.outside, to, protocol, SILENCE_MS)?;
        ensure!(failure.trouble == Trouble::TimedOut, "{failure}");
        Ok(())
    })
}

fn stranger_hears_nothing(
    site: &Site,
    number: u8,
    kind: Kind,
    family: Family,
    protocol: Protocol,
) -> Result<()> {
    let to = service(site, number).at(kind, family, protocol);
    let from = STRANGER.of(family);
    let failure = match protocol {
        Protocol::Tcp => site.outside.tcp(to).from(from).patience_ms(SILENCE_MS).refusal()?,
        _ => site.outside.udp(to).from(from).patience_ms(SILENCE_MS).refusal()?,
    };
    ensure!(failure.trouble == Trouble::TimedOut, "{from} asks {to}: {failure}");
    Ok(())
}

fn ranges_do_not_filter_other_frontends(site: &Site) -> Result<()> {
    by_all_means(|family, protocol| {
        for kind in [Kind::ClusterIp, Kind::NodePort, Kind::ExternalIp] {
            let to = service(site, RANGED).at(kind, family, protocol);
            let from = STRANGER.of(family);
            match protocol {
                Protocol::Tcp => site.outside.tcp(to).from(from).ask()?,
                _ => site.outside.udp(to).from(from).ask()?,
            };
            ask(&site.cluster.client, to, protocol)?;
            ask(&site.cluster.a, to, protocol)?;
        }
        Ok(())
    })
}

fn pods_and_the_node_are_filtered_like_anyone(site: &Site) -> Result<()> {
    by_all_means(|family, protocol| {
        let to = service(site, RANGED).at(Kind::LoadBalancer, family, protocol);
        for client in [&site.cluster.client, &*site.cluster.a] {
            let failure = fail(client, to, protocol, SILENCE_MS)?;
            let expected = site.trouble(client, call(protocol), Verdict::Drop);
            ensure!(failure.trouble == expected, "{}: {failure}", client.name());
        }
        Ok(())
    })
}

fn a_blocked_source_is_dropped_even_without_endpoints(site: &Site) -> Result<()> {
    by_all_means(|family, protocol| {
        stranger_hears_nothing(site, RANGED_EMPTY, Kind::LoadBalancer, family, protocol)?;
        let to = service(site, RANGED_EMPTY).at(Kind::LoadBalancer, family, protocol);
        let failure = fail(&site.outside, to, protocol, 3000)?;
        ensure!(failure.trouble == Trouble::Refused, "whom a range admits: {failure}");
        Ok(())
    })
}

fn an_external_ip_that_is_a_load_balancer_ip_too_is_filtered(site: &Site) -> Result<()> {
    by_all_means(|family, protocol| {
        let to = service(site, RANGED_EXTERNAL).at(Kind::LoadBalancer, family, protocol);
        ask(&site.outside, to, protocol)?;
        stranger_hears_nothing(site, RANGED_EXTERNAL, Kind::LoadBalancer, family, protocol)
    })
}

fn ranges_of_the_other_family_filter_nothing(site: &Site) -> Result<()> {
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        let to = service(site, RANGED_V4).at(Kind::LoadBalancer, Family::V6, protocol);
        for client in site.clients() {
            ask(client, to, protocol)?;
        }
        stranger_hears_nothing(site, RANGED_V4, Kind::LoadBalancer, Family::V4, protocol)?;
    }
    Ok(())
}
