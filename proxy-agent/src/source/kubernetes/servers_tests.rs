//! Several API servers: one that fails is left for one that answers.

use std::{fs, time::Duration};

use serde_json::json;

use super::{
    Access, Cluster,
    fake::{Fake, SERVICES},
    tests::{Followed, cluster, service},
};
use crate::{
    checkpoint::Checkpoint,
    model::NamespacedName,
    source::{Change, Event, convert::Converter},
};

/// The slice of `default/kubernetes`; converted, its loopback addresses would be left out.
fn kubernetes(server: &Fake) -> Event {
    let service = NamespacedName::new("default", "kubernetes");
    let endpoint = json!({
        "metadata": {
            "name": "kubernetes", "namespace": "default",
            "labels": {"kubernetes.io/service-name": "kubernetes"},
        },
        "addressType": "IPv4", "endpoints": [{"addresses": ["192.0.2.1"]}],
        "ports": [{"name": "https", "port": server.address.port(), "protocol": "TCP"}],
    });
    let object = serde_json::from_value(endpoint).unwrap();
    let mut slice = Converter::default().endpoint_slice(&object).0.unwrap();
    assert_eq!(slice.service, Some(service));
    slice.endpoints[0].address = server.address.ip();
    Event::EndpointSlice(Change::Applied(slice))
}

#[tokio::test]
async fn a_server_that_hangs_is_left_for_one_that_answers() {
    let (first, second) = (Fake::start().await, Fake::start().await);
    first.list(SERVICES, &[service("a"), service("b")]);
    second.list(SERVICES, &[service("b")]);
    let mut followed = Followed::new(cluster(&[&first, &second]));
    followed.until("synced").await;
    first.silence(true);
    second.compact(SERVICES);
    first.cut();
    let told = followed.until("-a").await;
    assert!(!told.iter().any(|it| it.starts_with('!')), "{told:?}");
    assert!(second.requests().len() > 4);
}

#[tokio::test]
async fn a_server_that_is_not_ready_is_asked_only_if_no_other_is() {
    let (first, second) = (Fake::start().await, Fake::start().await);
    first.fail(Some(500));
    let mut followed = Followed::new(cluster(&[&first, &second]));
    followed.until("synced").await;
    assert_eq!(first.requests(), ["/readyz"]);
}

#[tokio::test]
async fn servers_of_the_cluster_are_asked_when_those_that_were_named_are_gone() {
    let (named, other) = (Fake::start().await, Fake::start().await);
    let directory = tempfile::tempdir().unwrap();
    let checkpoint = Checkpoint::new(directory.path().join("servers.json"));
    other.list(SERVICES, &[service("from-the-other")]);
    let found = Cluster { checkpoint: Some(checkpoint.clone()), ..cluster(&[&named]) };
    let mut followed = Followed::new(found.clone());
    followed.until("synced").await;
    followed.servers.see(&[kubernetes(&other)]);
    named.kill();
    other.compact(SERVICES);
    followed.until("+from-the-other").await;
    drop(followed);

    // A later start, with nothing but the file.
    for _ in 0..100 {
        if !checkpoint.read().unwrap().is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(checkpoint.read().unwrap(), [other.address]);
    let mut followed = Followed::new(found);
    let told = followed.until("synced").await;
    assert!(told.contains(&"+from-the-other".to_owned()), "{told:?}");
}

#[tokio::test]
async fn that_no_server_answers_is_told_once_with_all_of_them() {
    let (first, second) = (Fake::start().await, Fake::start().await);
    first.kill();
    second.kill();
    let mut followed = Followed::new(cluster(&[&first, &second]));
    let told = followed.during(Duration::from_secs(2)).await;
    assert_eq!(told.len(), 1, "{told:?}");
    let ports = [&first, &second].map(|server| server.address.port().to_string());
    assert!(ports.iter().all(|port| told[0].contains(port)), "{told:?}");
    assert!(told[0].contains("refused"), "{told:?}");
}

#[tokio::test]
async fn a_token_that_was_renewed_is_read_anew() {
    let server = Fake::start().await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("kubeconfig");
    let kubeconfig = |token: &str| {
        json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": server.url().to_string()}}],
            "users": [{"name": "u", "user": {"token": token}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        })
        .to_string()
    };
    fs::write(&path, kubeconfig("old")).unwrap();
    server.demand_token("old");
    let access = Access::Kubeconfig(path.clone());
    let mut followed = Followed::new(Cluster { access, servers: Vec::new(), checkpoint: None });
    followed.until("synced").await;
    server.demand_token("new");
    server.cut();
    server.tell(SERVICES, "ADDED", &service("a"));
    tokio::time::sleep(Duration::from_millis(300)).await;
    fs::write(&path, kubeconfig("new")).unwrap();
    followed.until("+a").await;
}
