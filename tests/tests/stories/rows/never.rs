//! What must never happen, whatever else was asked of the site before.

use std::{collections::HashSet, time::Duration};

use anyhow::{Result, ensure};
use lab::Family;

use crate::{
    cluster::Kind,
    rows::rows,
    site::{Site, ask, by_all_means},
};

rows![Site:
    the_uplink_never_shows_an_endpoint_to_the_client,
    an_endpoint_never_answers_for_another_service,
];

fn the_uplink_never_shows_an_endpoint_to_the_client(site: &Site) -> Result<()> {
    let uplink = site.outside.wire("uplink")?;
    let (mut ports, mut frontends) = (HashSet::new(), HashSet::new());
    by_all_means(|family, protocol| {
        for service in site.by_endpoint {
            for kind in Kind::ALL {
                let to = service.at(kind, family, protocol);
                ports.insert(ask(&site.outside, to, protocol)?.local.port());
                frontends.insert(to);
            }
        }
        Ok(())
    })?;
    // The last packets of an earlier row's connections may arrive too.
    let arrived = uplink.collect(Duration::from_millis(50), |seen| {
        let to = seen.destination();
        let is_client = Family::BOTH.iter().any(|&family| to.ip() == site.outside.address(family));
        is_client && ports.contains(&to.port())
    })?;
    ensure!(arrived.len() > 100, "only {} packets arrived", arrived.len());
    for seen in arrived {
        ensure!(frontends.contains(&seen.source()), "the client received {seen:?}");
    }
    Ok(())
}

fn an_endpoint_never_answers_for_another_service(site: &Site) -> Result<()> {
    by_all_means(|family, protocol| {
        for client in site.clients() {
            for (service, server) in site.by_endpoint.into_iter().zip(site.servers()) {
                for kind in Kind::ALL {
                    let answer = ask(client, service.at(kind, family, protocol), protocol)?;
                    ensure!(answer.server == server.name(), "{} answered", answer.server);
                }
            }
        }
        Ok(())
    })
}
