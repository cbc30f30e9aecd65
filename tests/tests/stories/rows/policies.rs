//! Which endpoints are used: the policies, for traffic from inside and from outside.

use anyhow::{Result, ensure};

use crate::{
    cluster::{Cluster, Kind},
    rows::rows,
    site::{Site, ask, by_all_means, reach},
};

rows![Site:
    internal_policy_cluster_uses_the_cluster_set,
    internal_policy_local_uses_the_local_set,
    internal_policy_never_affects_other_frontends,
    external_policy_cluster_uses_the_cluster_set,
    external_policy_local_uses_the_local_set_for_outside_clients,
    external_policy_local_is_short_circuited_inside,
    external_policy_local_without_local_endpoints_is_short_circuited_inside,
    external_policy_never_affects_the_cluster_ip,
];

fn internal_policy_cluster_uses_the_cluster_set(site: &Site) -> Result<()> {
    by_all_means(|family, protocol| {
        let to = site.everywhere.at(Kind::ClusterIp, family, protocol);
        reach(&site.cluster.client, to, protocol, &site.servers())?;
        Ok(())
    })
}

fn internal_policy_local_uses_the_local_set(site: &Site) -> Result<()> {
    by_all_means(|family, protocol| {
        let to = site.inner.at(Kind::ClusterIp, family, protocol);
        for client in [&site.cluster.client, &*site.cluster.a] {
            reach(client, to, protocol, &[&site.cluster.near])?;
        }
        Ok(())
    })
}

fn internal_policy_never_affects_other_frontends(site: &Site) -> Result<()> {
    let Cluster { near, far, .. } = &site.cluster;
    by_all_means(|family, protocol| {
        for kind in Kind::EXTERNAL {
            for client in site.clients() {
                reach(client, site.inner.at(kind, family, protocol), protocol, &[near, far])?;
            }
        }
        Ok(())
    })
}

fn external_policy_cluster_uses_the_cluster_set(site: &Site) -> Result<()> {
    by_all_means(|family, protocol| {
        for kind in Kind::EXTERNAL {
            let to = site.everywhere.at(kind, family, protocol);
            reach(&site.outside, to, protocol, &site.servers())?;
        }
        Ok(())
    })
}

fn external_policy_local_uses_the_local_set_for_outside_clients(site: &Site) -> Result<()> {
    by_all_means(|family, protocol| {
        for kind in Kind::EXTERNAL {
            let to = site.outer.at(kind, family, protocol);
            for answer in reach(&site.outside, to, protocol, &[&site.cluster.near])? {
                let seen = answer.client_seen.ip();
                ensure!(seen == site.outside.address(family), "the endpoint sees {seen}");
            }
        }
        Ok(())
    })
}

fn external_policy_local_is_short_circuited_inside(site: &Site) -> Result<()> {
    let Cluster { near, far, .. } = &site.cluster;
    by_all_means(|family, protocol| {
        for kind in Kind::EXTERNAL {
            for client in [&site.cluster.client, &*site.cluster.a] {
                reach(client, site.outer.at(kind, family, protocol), protocol, &[near, far])?;
            }
        }
        Ok(())
    })
}

fn external_policy_local_without_local_endpoints_is_short_circuited_inside(
    site: &Site,
) -> Result<()> {
    by_all_means(|family, protocol| {
        for kind in Kind::EXTERNAL {
            let to = site.outer_remote.at(kind, family, protocol);
            let answer = ask(&site.cluster.client, to, protocol)?;
            let seen = answer.client_seen.ip();
            ensure!(seen == site.cluster.client.address(family), "the endpoint sees {seen}");
            ask(&site.cluster.a, to, protocol)?;
        }
        Ok(())
    })
}

fn external_policy_never_affects_the_cluster_ip(site: &Site) -> Result<()> {
    let Cluster { near, far, .. } = &site.cluster;
    by_all_means(|family, protocol| {
        let to = site.outer.at(Kind::ClusterIp, family, protocol);
        for client in site.clients() {
            reach(client, to, protocol, &[near, far])?;
        }
        Ok(())
    })
}
