//! Where traffic for a Service arrives: every kind of frontend, from everyone it is meant for.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use lab::{
    Addresses, Family, Host,
    manifest::{Protocol, service},
    probe::Trouble,
};

use crate::{
    cluster::{Cluster, DNS, HTTP, Kind, eventually},
    rows::rows,
    site::{SILENCE_MS, Site, ask, by_all_means, fail, reach},
};

rows![Site:
    a_cluster_ip_serves_pods_and_the_node,
    external_ips_serve_anyone,
    load_balancer_ips_serve_anyone,
    a_load_balancer_that_is_a_proxy_is_left_alone,
    node_ports_serve_anyone,
    node_ports_are_served_at_every_address_of_the_node,
    loopback_node_ports_serve_processes_of_the_node,
    a_pods_loopback_is_its_own,
    tcp_and_udp_on_one_number_are_independent,
    node_ports_follow_addresses_that_come_and_go,
];

/// A load balancer that is a proxy.
const PROXIED: u8 = 30;
/// Two Services that share one NodePort, one for each protocol.
const TCP_ONLY: u8 = 31;
const UDP_ONLY: u8 = 32;
const SHARED_PORT: u16 = 30_500;
/// An address that the node gets later.
const LATE: Addresses = Addresses {
    v4: Ipv4Addr::new(172, 18, 0, 111),
    v6: Ipv6Addr::new(0xfd00, 0x172, 0x18, 0, 0, 0, 0, 111),
};

/// Writes the Services that only these rows are about.
pub(crate) fn furnish(cluster: &Cluster) -> Result<()> {
    let proxied = service("proxied", Addresses::cluster_ips(PROXIED))
        .port("http", HTTP.0, Protocol::Tcp)
        .port("dns", DNS.0, Protocol::Udp)
        .proxying_load_balancer(Addresses::load_balancer_ips(PROXIED));
    cluster.write("proxied", &proxied, &[&cluster.near])?;
    let tcp_only = service("tcp-only", Addresses::cluster_ips(TCP_ONLY))
        .port("http", HTTP.0, Protocol::Tcp)
        .node_port(SHARED_PORT);
    cluster.write("tcp-only", &tcp_only, &[&cluster.near])?;
    let udp_only = service("udp-only", Addresses::cluster_ips(UDP_ONLY))
        .port("dns", DNS.0, Protocol::Udp)
        .node_port(SHARED_PORT);
    cluster.write("udp-only", &udp_only, &[&cluster.far])
}

fn a_cluster_ip_serves_pods_and_the_node(site: &Site) -> Result<()> {
    serves(site, Kind::ClusterIp, &[&site.cluster.client, &site.cluster.a])
}

fn external_ips_serve_anyone(site: &Site) -> Result<()> {
    serves(site, Kind::ExternalIp, &site.clients())
}

fn load_balancer_ips_serve_anyone(site: &Site) -> Result<()> {
    serves(site, Kind::LoadBalancer, &site.clients())
}

fn node_ports_serve_anyone(site: &Site) -> Result<()> {
    serves(site, Kind::NodePort, &site.clients())
}

/// Every endpoint answers at the frontend, whoever asks.
fn serves(site: &Site, kind: Kind, clients: &[&Host]) -> Result<()> {
    by_all_means(|family, protocol| {
        let to = site.everywhere.at(kind, family, protocol);
        for client in clients {
            reach(client, to, protocol, &site.servers())?;
        }
        Ok(())
    })
}

fn a_load_balancer_that_is_a_proxy_is_left_alone(site: &Site) -> Result<()> {
    by_all_means(|family, protocol| {
        let port = if protocol == Protocol::Tcp { HTTP.0 } else { DNS.0 };
        let to = SocketAddr::new(Addresses::load_balancer_ips(PROXIED).of(family), port);
        for client in [&site.cluster.client, &*site.cluster.a] {
            let leaving = site.cluster.lab.watch_fabric("node-a")?;
            let failure = fail(client, to, protocol, SILENCE_MS)?;
            ensure!(failure.trouble == Trouble::TimedOut, "{failure}");
            leaving
                .expect(Duration::from_secs(1), |seen| seen.destination() == to)
                .with_context(|| format!("{} asks {to}", client.name()))?;
        }
        Ok(())
    })
}

fn node_ports_are_served_at_every_address_of_the_node(site: &Site) -> Result<()> {
    let addresses: BTreeSet<IpAddr> = site.cluster.a.device_addresses()?.into_iter().collect();
    let mut asked = 0;
    for address in addresses.into_iter().filter(is_for_others) {
        let family = Family::of(address);
        let on_the_fabric = address == site.cluster.a.address(family);
        for client in site.clients() {
            // Outside hosts have no way to the addresses that are for pods.
            if site.is_inside(client) || on_the_fabric {
                for protocol in [Protocol::Tcp, Protocol::Udp] {
                    ask(client, (address, site.everywhere.node_port()).into(), protocol)?;
                    asked += 1;
                }
            }
        }
    }
    ensure!(asked >= 12, "only {asked} questions were asked");
    Ok(())
}

fn loopback_node_ports_serve_processes_of_the_node(site: &Site) -> Result<()> {
    by_all_means(|family, protocol| {
        let to = (loopback(family), site.everywhere.node_port()).into();
        reach(&site.cluster.a, to, protocol, &site.servers())?;
        Ok(())
    })
}

fn a_pods_loopback_is_its_own(site: &Site) -> Result<()> {
    by_all_means(|family, protocol| {
        let to = (loopback(family), site.everywhere.node_port()).into();
        let failure = fail(&site.cluster.client, to, protocol, SILENCE_MS)?;
        ensure!(failure.trouble == Trouble::Refused, "{failure}");
        Ok(())
    })
}

fn tcp_and_udp_on_one_number_are_independent(site: &Site) -> Result<()> {
    let Cluster { near, far, .. } = &site.cluster;
    by_all_means(|family, protocol| {
        let server = if protocol == Protocol::Tcp { near } else { far };
        let to = (site.cluster.a.address(family), SHARED_PORT).into();
        for client in site.clients() {
            reach(client, to, protocol, &[server])?;
        }
        let other = if protocol == Protocol::Tcp { UDP_ONLY } else { TCP_ONLY };
        let port = if protocol == Protocol::Tcp { DNS.0 } else { HTTP.0 };
        let undefined = (Addresses::cluster_ips(other).of(family), port).into();
        let failure = fail(&site.cluster.client, undefined, protocol, 3000)?;
        ensure!(failure.trouble == Trouble::Refused, "{failure}");
        Ok(())
    })
}

fn node_ports_follow_addresses_that_come_and_go(site: &Site) -> Result<()> {
    site.cluster.lab.give_addresses(LATE, &site.cluster.a)?;
    by_all_means(|family, protocol| {
        let to = (LATE.of(family), site.everywhere.node_port()).into();
        for client in site.clients() {
            eventually(Duration::from_secs(20), || Ok(ask(client, to, protocol).ok()))?;
        }
        Ok(())
    })?;
    site.cluster.lab.take_addresses(LATE, &site.cluster.a)?;
    // The node's processes are refused by themselves, so nothing is known to be gone until then.
    let to = (LATE.v4, site.everywhere.node_port()).into();
    eventually(Duration::from_secs(20), || {
        Ok(site.cluster.client.tcp(to).patience_ms(SILENCE_MS).attempt()?.err())
    })?;
    Ok(())
}

fn is_for_others(address: &IpAddr) -> bool {
    let link_local = match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    !link_local && !address.is_loopback()
}

fn loopback(family: Family) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::LOCALHOST.into(),
        Family::V6 => Ipv6Addr::LOCALHOST.into(),
    }
}
