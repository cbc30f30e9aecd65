//! EndpointSlices that the real controllers make of Pods, whose status the story sets as a kubelet
//! would.

use anyhow::Result;
use lab::{Addresses, Host, control_plane::Settings, manifest::Protocol};
use serde_json::{Value, json};

use crate::site::{Site, Web, eventually};

/// A Pod of `node`, whose namespace is `host`.
fn pod(name: &str, node: &str, host: &Host, ready: bool) -> Value {
    let addresses = host.addresses().both();
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": name, "namespace": "default", "labels": { "app": "web" } },
        "spec": { "nodeName": node, "containers": [{ "name": "web", "image": "none" }] },
        "status": {
            "phase": "Running",
            "podIP": addresses[0],
            "podIPs": addresses.map(|address| json!({ "ip": address })),
            "conditions": [{ "type": "Ready", "status": if ready { "True" } else { "False" } }],
        },
    })
}

#[test]
fn pods_become_endpoints_and_stop_being_some() -> Result<()> {
    let mut site = Site::new(Settings::default())?;
    site.plane.start_controllers()?;
    let web = Web { name: "web".to_owned(), addresses: Addresses::cluster_ips(10) };
    let service = lab::manifest::service(&web.name, web.addresses)
        .port("http", 80, Protocol::Tcp)
        .with("ipFamilyPolicy", "RequireDualStack")
        .with("selector", json!({ "app": "web" }));
    let mut service = service.object();
    service["spec"]["ports"][0]["targetPort"] = 8080.into();
    let near = pod("near", "node-a", site.near.host(), true);
    let far = pod("far", "node-b", site.far.host(), false);
    site.plane.api().create(&[service, near.clone(), far.clone()])?;
    site.plane.api().set_status(&[near.clone(), far])?;
    let _agent = site.start_agent()?;
    let ready = site.until_answers(&web, &site.near)?;

    let far = pod("far", "node-b", site.far.host(), true);
    site.plane.api().set_status(&[far])?;
    site.plane.api().delete(&[near])?;
    let moved = site.until_answers(&web, &site.far)?;
    println!("Pods: ready {ready:?}, moved {moved:?}");

    site.plane.api().delete(&[crate::follows::object("Pod", "far")])?;
    eventually("nobody is left, and clients are refused", || {
        Ok(site.client.tcp(web.at(lab::Family::V4)).attempt()?.is_err())
    })
}
