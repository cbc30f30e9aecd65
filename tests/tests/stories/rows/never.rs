//! What must never happen, whatever else was asked of the site before.

use std::time::Duration;

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
    by_all_means(|family, protocol| {
        for service in site.by_endpoint {
            for kind in Kind::ALL {
                ask(&site.outside, service.at(kind, family, protocol), protocol)?;
            }
        }
        Ok(())
    })?;
    let mut frontends = Vec::new();
    by_all_means(|family, protocol| {
        for service in site.by_endpoint {
            frontends.extend(Kind::ALL.map(|kind| service.at(kind, family, protocol)));
        }
        Ok(())
    })?;
    let arrived = uplink.collect(Duration::from_millis(50), |seen| {
        Family::BOTH.iter().any(|&family| seen.destination().ip() == site.outside.address(family))
            && seen.source().port() != 0
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
