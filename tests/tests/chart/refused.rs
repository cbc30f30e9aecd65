//! Values that mean nothing, or contradict each other, are refused before anything is installed.

use anyhow::{Context as _, Result};

use crate::helm;

/// What helm says of these values.
fn complaint(values: &[&str]) -> Result<String> {
    let mut arguments = Vec::new();
    for value in values {
        arguments.extend(["--set", value]);
    }
    let refused = helm::template("1.36.0", &arguments).err();
    Ok(refused.with_context(|| format!("{values:?} were taken"))?.to_string())
}

#[test]
fn a_value_that_is_not_known_is_named() -> Result<()> {
    for (value, name) in [
        ("config.socket-lb-tpc=host", "socket-lb-tpc"),
        ("config.node-name=a", "node-name"),
        ("hostnetwork=false", "hostnetwork"),
        ("security.privileged=true", "privileged"),
    ] {
        let said = complaint(&[value])?;
        assert!(said.contains(name), "{value}: {said}");
    }
    Ok(())
}

#[test]
fn a_value_of_the_wrong_kind_is_named() -> Result<()> {
    for (value, name) in [
        ("config.algorithm=fastest", "algorithm"),
        ("config.timeout-udp-stream=soon", "timeout-udp-stream"),
        ("config.external-ips=perhaps", "external-ips"),
        // Nothing else is mounted.
        ("config.pin-path=/run/pins", "pin-path"),
        ("image.digest=md5:1", "digest"),
        ("mode=uninstall", "mode"),
    ] {
        let said = complaint(&[value])?;
        assert!(said.contains(name), "{value}: {said}");
    }
    Ok(())
}

#[test]
fn metrics_are_not_off_and_scraped_at_the_same_time() -> Result<()> {
    let said =
        complaint(&["metrics.serviceMonitor.enabled=true", "config.metrics-bind-address=off"])?;
    assert!(said.contains("config.metrics-bind-address"), "{said}");
    Ok(())
}

#[test]
fn a_node_is_not_served_and_cleaned_up_at_the_same_time() -> Result<()> {
    let said = complaint(&["cleanup.matchLabels.sluice\\.dev/proxy=cleanup"])?;
    assert!(said.contains("nodes.matchLabels"), "{said}");
    Ok(())
}
