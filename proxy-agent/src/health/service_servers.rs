//! The servers of `healthCheckNodePort`s: one for each port, family and address, as long as a
//! Service asks for it.
//!
//! What is told comes from [`super::checks`]. A port that can't be had is retried; its Service goes
//! without a health check meanwhile, and nothing else is hurt.

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use serde::Serialize;
use tokio::{
    sync::watch,
    task::{AbortHandle, JoinSet},
};

use crate::{
    metrics::Metrics,
    model::{Family, NamespacedName},
};

use super::{
    Check, Health,
    http::{JSON, Page, serve},
    listen::listen,
};

/// How often servers that don't listen yet are counted.
const LOOK: Duration = Duration::from_secs(1);

/// Which addresses of the node are listened on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Addresses {
    /// All.
    #[default]
    All,
    /// These.
    These(Vec<IpAddr>),
}

/// What is to be served.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The checks.
    pub checks: Vec<Check>,
    /// The addresses that serve NodePorts.
    pub addresses: Addresses,
}

/// Ports of a family: who asked for each, and what is to be said there. Kubernetes gives a port to
/// one Service; should two have it, one answers.
type Answers = BTreeMap<(Family, u16), Check>;

/// Serves what is `wanted`, whatever it is, until nobody wants anything any more.
pub async fn run(mut wanted: watch::Receiver<Wanted>, health: Health, metrics: Metrics) {
    let (answers_in, answers) = watch::channel(Arc::new(Answers::new()));
    let mut running = JoinSet::new();
    let mut servers: HashMap<SocketAddr, Server> = HashMap::new();
    loop {
        let now = wanted.borrow_and_update().clone();
        let by_port: Answers =
            now.checks.iter().map(|check| ((check.family, check.port), check.clone())).collect();
        let places: HashMap<SocketAddr, NamespacedName> = by_port
            .iter()
            .flat_map(|((family, port), check)| {
                let addresses = addresses(&now.addresses, *family);
                addresses.into_iter().map(|ip| (SocketAddr::new(ip, *port), check.service.clone()))
            })
            .collect();
        answers_in.send_replace(Arc::new(by_port));
        servers.retain(|place, server| {
            let stays = places.contains_key(place);
            if !stays {
                server.task.abort();
            }
            stays
        });
        for (place, service) in places {
            servers.entry(place).or_insert_with(|| {
                let state = State { answers: answers.clone(), health: health.clone() };
                let listening = watch::Sender::new(false);
                let told = listening.subscribe();
                let task = running.spawn(server(place, service, state, listening));
                Server { task, listening: told }
            });
        }
        while running.try_join_next().is_some() {}
        let listening = servers.values().filter(|server| *server.listening.borrow()).count();
        metrics.health_checks(listening, servers.len() - listening);
        let some_begin = servers.len() > listening;
        tokio::select! {
            changed = wanted.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(LOOK), if some_begin => {}
        }
    }
}

struct Server {
    task: AbortHandle,
    listening: watch::Receiver<bool>,
}

#[derive(Clone)]
struct State {
    answers: watch::Receiver<Arc<Answers>>,
    health: Health,
}

async fn server(
    place: SocketAddr,
    service: NamespacedName,
    state: State,
    listening: watch::Sender<bool>,
) {
    let what = format!("Service {service}: spec.healthCheckNodePort");
    let listener = listen(place, &what, |_| {}).await;
    listening.send_replace(true);
    tracing::debug!(%service, address = %place, "health check");
    let key = (Family::of(place.ip()), place.port());
    let page = move |_: String| {
        let healthy = state.health.verdict(Instant::now()).healthy;
        std::future::ready(page(state.answers.borrow().get(&key), healthy))
    };
    serve(listener, page).await;
}

fn addresses(addresses: &Addresses, family: Family) -> Vec<IpAddr> {
    match (addresses, family) {
        (Addresses::All, Family::V4) => vec![Ipv4Addr::UNSPECIFIED.into()],
        (Addresses::All, Family::V6) => vec![Ipv6Addr::UNSPECIFIED.into()],
        (Addresses::These(these), family) => {
            these.iter().copied().filter(|address| Family::of(*address) == family).collect()
        }
    }
}

/// The body, with kube-proxy's fields.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    service: Name<'a>,
    local_endpoints: usize,
    service_proxy_healthy: bool,
}

#[derive(Debug, Serialize)]
struct Name<'a> {
    namespace: &'a str,
    name: &'a str,
}

fn page(check: Option<&Check>, healthy: bool) -> Page {
    let Some(check) = check else { return Page::not_found() };
    let Check { service, local_endpoints, .. } = check;
    let body = Body {
        service: Name { namespace: &service.namespace, name: &service.name },
        local_endpoints: *local_endpoints,
        service_proxy_healthy: healthy,
    };
    let status = if *local_endpoints > 0 && healthy { 200 } else { 503 };
    // There is nothing in it that can't be written.
    let body = serde_json::to_string_pretty(&body).unwrap_or_default();
    let weight = ("x-load-balancing-endpoint-weight", local_endpoints.to_string());
    Page { header: Some(weight), ..Page::new(status, JSON, body) }
}

#[cfg(test)]
#[path = "service_servers_tests.rs"]
mod tests;
