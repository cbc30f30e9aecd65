//! What is told is shown, under the names of the table.

use std::time::{Duration, Instant, SystemTime};

use super::{Metrics, Reconciled, table};

#[test]
fn every_metric_of_the_table_is_registered_once() {
    let metrics = Metrics::new();
    // Two agents in one process count for themselves.
    let _other = Metrics::new();
    let text = metrics.text().unwrap();
    for row in table::ALL.iter().filter(|row| row.labels.is_empty()) {
        assert!(text.contains(&format!("# TYPE {} {}", row.name, row.kind.name())), "{}", row.name);
    }
}

#[test]
fn what_was_seen_is_pending_until_it_is_in_the_maps() {
    let metrics = Metrics::new();
    let line = |line: &str| metrics.text().unwrap().lines().any(|it| it == line);
    metrics.changes(2, 3);
    assert!(line("kubeproxy_sync_proxy_rules_service_changes_total 2"));
    assert!(line("kubeproxy_sync_proxy_rules_service_changes_pending 2"));
    assert!(line("kubeproxy_sync_proxy_rules_endpoint_changes_pending 3"));
    let took = Duration::from_millis(2);
    metrics.reconciled(&Reconciled { took, applied: 7, unserved: 1 });
    let triggers = [SystemTime::now() - Duration::from_millis(400), SystemTime::now()];
    metrics.in_step([Instant::now()].into_iter(), &triggers);
    assert!(line("kubeproxy_sync_proxy_rules_service_changes_pending 0"));
    assert!(line("kubeproxy_sync_proxy_rules_endpoint_changes_total 3"));
    assert!(line("kubeproxy_sync_proxy_rules_duration_seconds_count 1"));
    assert!(line("kubeproxy_sync_proxy_rules_duration_seconds_bucket{le=\"0.002\"} 1"));
    assert!(line("kubeproxy_network_programming_duration_seconds_bucket{le=\"0.25\"} 1"));
    assert!(line("kubeproxy_network_programming_duration_seconds_bucket{le=\"0.5\"} 2"));
    assert!(line("sluice_programming_duration_seconds_count 1"));
    assert!(line("sluice_map_writes_total 7"));
    assert!(line("sluice_services_unserved 1"));
}

#[test]
fn one_api_server_is_asked_at_a_time() {
    let metrics = Metrics::new();
    metrics.api_server_selected("https://a:6443/");
    metrics.api_server_selected("https://b:6443/");
    let text = metrics.text().unwrap();
    assert!(!text.contains("https://a"), "{text}");
    assert!(text.contains("sluice_api_server_info{server=\"https://b:6443/\"} 1"), "{text}");
    assert!(text.contains("sluice_api_server_selections_total 2"), "{text}");
}
