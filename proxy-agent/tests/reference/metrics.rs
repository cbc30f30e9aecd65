//! docs/reference/metrics.md: every metric.

use proxy_agent::metrics::table;

use crate::page;

#[test]
fn every_metric_is_on_its_page() {
    page::check("docs/reference/metrics.md", &table::markdown());
}

#[test]
fn what_is_said_about_watching_names_metrics_that_exist() {
    let text = page::read("docs/reference/metrics.md");
    let names: Vec<&str> = table::ALL.iter().map(|row| row.name).collect();
    let mentioned = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|word| {
        ["sluice_", "kubeproxy_", "process_"].iter().any(|prefix| word.starts_with(prefix))
    });
    for word in mentioned.filter(|word| !word.ends_with('_')) {
        let word = word.trim_end_matches("_bucket");
        assert!(names.contains(&word), "docs/reference/metrics.md: {word} is no metric");
    }
}
