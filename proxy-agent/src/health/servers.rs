//! The agent's own pages: `/healthz`, `/livez` and `/readyz` for load balancers and the kubelet,
//! `/metrics` and `/proxyMode` for those who watch it.
//!
//! Two listeners, as kube-proxy has them: the first one is open to all, the second one by default to
//! processes of the node.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
    time::{Instant, SystemTime},
};

use jiff::Timestamp;
use serde::Serialize;

use crate::{datapath::pins::Pins, metrics::Metrics};

use super::{
    Health, Verdict,
    http::{JSON, Page, TEXT, serve},
    listen::listen,
};

/// What `/proxyMode` says: kube-proxy says `iptables` or `nftables` there.
pub const PROXY_MODE: &str = "ebpf";
/// The format of Prometheus, version 0.0.4.
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Serves `/healthz`, `/livez` and `/readyz` for ever.
pub async fn health(address: SocketAddr, health: Health, metrics: Metrics) {
    let page = move |path: String| {
        let verdict = health.verdict(Instant::now());
        std::future::ready(health_page(&path, &verdict, SystemTime::now(), &metrics))
    };
    everywhere(address, "--healthz-bind-address", page).await;
}

/// Serves `/metrics` and `/proxyMode` for ever.
pub async fn metrics(address: SocketAddr, health: Health, metrics: Metrics, pins: Pins) {
    let page = move |path: String| {
        let (health, metrics, pins) = (health.clone(), metrics.clone(), pins.clone());
        async move {
            match path.as_str() {
                "/metrics" => {
                    let text = tokio::task::spawn_blocking(move || metrics.scrape(&pins, &health));
                    match text.await {
                        Ok(text) => Page::new(200, METRICS, text),
                        Err(error) => Page::new(500, TEXT, format!("{error}\n")),
                    }
                }
                "/proxyMode" => Page::new(200, TEXT, PROXY_MODE),
                _ => Page::not_found(),
            }
        }
    };
    everywhere(address, "--metrics-bind-address", page).await;
}

/// Serves `page` at `address` for ever; at all addresses of both families where it is 0.0.0.0, as Go
/// programs do.
async fn everywhere<P, F>(address: SocketAddr, flag: &str, page: P)
where
    P: Fn(String) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Page> + Send + 'static,
{
    let one = async |place| serve(listen(place, flag, |_| {}).await, page.clone()).await;
    let all_of_v4 = address.ip() == IpAddr::from(Ipv4Addr::UNSPECIFIED);
    if all_of_v4 && Path::new("/proc/net/if_inet6").exists() {
        let other = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), address.port());
        tokio::join!(one(address), one(other));
    } else {
        one(address).await;
    }
}

/// The body of `/healthz` and `/livez`, with kube-proxy's fields.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    last_updated: Option<String>,
    current_time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    node_eligible: Option<bool>,
    healthy: bool,
}

fn health_page(path: &str, verdict: &Verdict, now: SystemTime, metrics: &Metrics) -> Page {
    let (ok, node_eligible) = match path {
        "/healthz" => (verdict.healthy && verdict.eligible, Some(verdict.eligible)),
        "/livez" => (verdict.healthy, None),
        "/readyz" if verdict.ready => return Page::new(200, TEXT, "ok"),
        "/readyz" => return Page::new(503, TEXT, "the first lists are not in the maps yet"),
        _ => return Page::not_found(),
    };
    let status = if ok { 200 } else { 503 };
    // As kube-proxy: who is well was updated just now.
    let updated = if ok { Some(now) } else { verdict.updated };
    let body = Body {
        last_updated: updated.map(rfc3339),
        current_time: rfc3339(now),
        node_eligible,
        healthy: verdict.healthy,
    };
    match node_eligible {
        Some(_) => metrics.healthz(status),
        None => metrics.livez(status),
    }
    // There is nothing in it that can't be written.
    Page::new(status, JSON, serde_json::to_string(&body).unwrap_or_default())
}

/// As RFC 3339 has it; the epoch where the clock says something before or far behind it.
fn rfc3339(time: SystemTime) -> String {
    Timestamp::try_from(time).unwrap_or_default().to_string()
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::{Verdict, health_page};
    use crate::metrics::Metrics;

    const WELL: Verdict = Verdict { healthy: true, eligible: true, ready: true, updated: None };

    fn status(path: &str, verdict: Verdict) -> u16 {
        health_page(path, &verdict, SystemTime::now(), &Metrics::new()).status
    }

    #[test]
    fn healthz_asks_for_both_livez_for_health_readyz_for_the_first_lists() {
        let lagging = Verdict { healthy: false, ..WELL };
        let leaving = Verdict { eligible: false, ..WELL };
        let starting = Verdict { ready: false, ..WELL };
        let statuses =
            |verdict| ["/healthz", "/livez", "/readyz"].map(|path| status(path, verdict));
        assert_eq!(statuses(WELL), [200, 200, 200]);
        assert_eq!(statuses(lagging), [503, 503, 200]);
        assert_eq!(statuses(leaving), [503, 200, 200]);
        assert_eq!(statuses(starting), [200, 200, 503]);
        assert_eq!(status("/", WELL), 404);
    }

    #[test]
    fn the_body_has_the_fields_of_kube_proxy() {
        let now = SystemTime::UNIX_EPOCH + std::time::Duration::from_millis(1500);
        let page = health_page("/healthz", &WELL, now, &Metrics::new());
        assert_eq!(
            page.body,
            r#"{"lastUpdated":"1970-01-01T00:00:01.5Z","currentTime":"1970-01-01T00:00:01.5Z","nodeEligible":true,"healthy":true}"#
        );
        let page = health_page("/livez", &WELL, now, &Metrics::new());
        assert!(!page.body.contains("nodeEligible"), "{}", page.body);
    }
}
