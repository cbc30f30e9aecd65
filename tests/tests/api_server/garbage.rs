//! Objects that make no sense, as only something that writes past the API server can leave them:
//! told with object and field, and no obstacle to anything that makes sense.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lab::control_plane::Settings;
use serde_json::{Value, json};

use crate::site::Site;

#[test]
fn what_makes_no_sense_is_told_and_everything_else_is_served() -> Result<()> {
    let site = Site::new(Settings::default())?;
    let web = site.publish("web", 10, &[&site.near])?;
    site.publish("broken", 11, &[&site.near])?;
    let mut agent = site.start_agent()?;

    let mut service = stored(&site, "Service", "broken")?;
    service["metadata"]["annotations"] = json!({
        "sluice.dev/algorithm": "fastest\u{0}",
        "sluice.dev/weights": "=3, 10.1.0.7, near=-1, ;;, \u{202e}",
    });
    service["spec"]["externalIPs"] = json!(["203.0.113.300", "::ffff:203.0.113.7", "0.0.0.0"]);
    // Two of its endpoints are addresses, of which one can't be an endpoint's.
    let name = site.slices(&web, &[&site.near])[0]["metadata"]["name"].clone();
    let mut slice = stored(&site, "EndpointSlice", name.as_str().context("a name")?)?;
    let good = slice["endpoints"][0].clone();
    let with = |addresses: &[&str]| json!({ "addresses": addresses, "conditions": {} });
    slice["endpoints"] = json!([
        with(&["10.1.2.300"]),
        with(&["010.1.2.3"]),
        with(&["not an address"]),
        with(&["127.0.0.1"]),
        with(&[]),
        good,
    ]);
    slice["metadata"]["annotations"] = json!({
        "endpoints.kubernetes.io/last-change-trigger-time": "the day after tomorrow",
    });
    site.plane.store(&[service, slice])?;

    let told = Duration::from_secs(20);
    for (object, field, value) in [
        ("default/broken", "sluice.dev/algorithm", "fastest"),
        ("default/broken", "sluice.dev/weights", "near=-1"),
        ("default/broken", "spec.externalIPs[0]", "203.0.113.300"),
        ("default/broken", "spec.externalIPs[1]", "203.0.113.7"),
        ("default/web", "endpoints[0].addresses[0]", "10.1.2.300"),
        ("default/web", "endpoints[1].addresses[0]", "010.1.2.3"),
        ("default/web", "endpoints[2].addresses[0]", "not an address"),
        ("default/web", "endpoints[3].addresses[0]", "127.0.0.1"),
    ] {
        agent
            .wait_for_log(told, |line| {
                line.contains("WARN")
                    && [object, field, value].iter().all(|word| line.contains(word))
            })
            .with_context(|| format!("nothing of {object}, {field}, {value}"))?;
    }
    // The good endpoint is used, the broken Service is served, and changes are followed.
    site.until_answers(&web, &site.near)?;
    let broken =
        crate::site::Web { name: "broken".to_owned(), addresses: lab::Addresses::cluster_ips(11) };
    site.until_answers(&broken, &site.near)?;
    site.point(&broken, &[&site.far])?;
    site.until_answers(&broken, &site.far)?;
    let status = agent.json(&site.a, &["status"])?;
    ensure!(status.to_string().contains("fastest"), "status tells too: {status}");
    Ok(())
}

/// An object, to be written past the API server.
fn stored(site: &Site, kind: &str, name: &str) -> Result<Value> {
    let mut object = site.plane.api().get(kind, name)?;
    object["metadata"].as_object_mut().context("metadata")?.remove("resourceVersion");
    Ok(object)
}
