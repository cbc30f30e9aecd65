//! An agent finds its API server without kube-proxy: several addresses, and those of last time.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use lab::{
    Addresses, AgentFlags, Family, Lab, Wiring,
    control_plane::{ControlPlane, Etcd, Settings},
    manifest::{self, Protocol},
    page::{metric, page_when},
};

/// Nobody has this address: who asks it waits for ever.
const NOBODY: &str = "https://203.0.113.250:6443";

#[test]
fn an_agent_starts_by_any_server_that_answers_and_later_by_those_it_remembers() -> Result<()> {
    let lab = Lab::new()?;
    let a = lab.node("node-a", Wiring::Ptp)?;
    let plane = ControlPlane::start(&lab, Settings::default())?;
    plane.api().apply(&[manifest::node("node-a", &[])])?;
    let checkpoint = lab.directory().join("api-servers.json");
    let flags = |servers: &str| -> Result<AgentFlags> {
        Ok(AgentFlags::new()
            .kubeconfig(plane.agent()?)
            .with("--api-server", servers)
            .with("--checkpoint", &checkpoint.display().to_string()))
    };
    let refused = "https://127.0.0.1:1";
    let url = plane.url(Family::V4);
    let agent = a.start_agent(&flags(&format!("{NOBODY},{refused},{url}"))?)?;
    ensure!(metric(&a, &format!("sluice_api_server_info{{server=\"{url}/\"}}"))? >= 1.0);
    let start = Instant::now();
    while !checkpoint.exists() {
        ensure!(start.elapsed() < Duration::from_secs(10), "nothing was written down");
        thread::sleep(Duration::from_millis(20));
    }
    let written = fs::read_to_string(&checkpoint)?;
    let address = plane.host().address(Family::V4);
    ensure!(written.contains(&format!("\"{address}:6443\"")), "{written}");
    agent.kill()?;

    // Nothing that is configured answers now.
    let _agent = a.start_agent(&flags(&format!("{NOBODY},{refused}"))?)?;
    let service = manifest::service("web", Addresses::cluster_ips(7))
        .with("ipFamilyPolicy", "RequireDualStack")
        .port("http", 80, Protocol::Tcp);
    plane.api().create(&[service.object()])?;
    page_when(&a, "127.0.0.1:10249", "/metrics", |page| {
        page.body.contains("kubeproxy_sync_proxy_rules_service_changes_total 2")
    })?;
    Ok(())
}

#[test]
fn lists_come_in_pages_where_etcd_can_not_stream_them() -> Result<()> {
    let lab = Lab::new()?;
    let a = lab.node("node-a", Wiring::Ptp)?;
    let settings = Settings { etcd: Etcd::Old, ..Settings::default() };
    let plane = ControlPlane::start(&lab, settings)?;
    plane.api().apply(&[manifest::node("node-a", &[])])?;
    let _agent = a.start_agent(&AgentFlags::new().kubeconfig(plane.agent()?))?;
    for kind in ["Services", "EndpointSlices", "the Node", "ServiceCIDRs"] {
        let series = format!("sluice_lists_total{{kind=\"{kind}\",way=\"pages\"}}");
        ensure!(metric(&a, &series)? >= 1.0, "{kind}");
    }
    let service = manifest::service("web", Addresses::cluster_ips(7))
        .with("ipFamilyPolicy", "RequireDualStack")
        .port("http", 80, Protocol::Tcp);
    plane.api().create(&[service.object()])?;
    page_when(&a, "127.0.0.1:10249", "/metrics", |page| {
        page.body.contains("kubeproxy_sync_proxy_rules_service_changes_total 2")
    })?;
    Ok(())
}
