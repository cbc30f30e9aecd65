//! A Kubernetes API server as a source of objects: lists and watches of Services, EndpointSlices,
//! ServiceCIDRs and the own Node.
//!
//! What is not ours is left out by the server (label and field selectors), what does not decide how
//! traffic goes is left out on arrival. A list counts when it is complete: what it lacks is gone
//! then, and not before. While the server can't be reached, or answers with errors, everything
//! known stays. Permissions needed: list and watch of these kinds (SEMANTICS §8).
//!
//! Called by the agent when it serves a cluster. What objects mean is decided elsewhere.

mod feed;
mod lister;

use std::{convert::Infallible, path::Path, sync::Arc};

use k8s_openapi::api::{
    core::v1::{Node, Service},
    discovery::v1::EndpointSlice,
    networking::v1::ServiceCIDR,
};
use kube::{
    Api, Client, Config,
    config::{InferConfigError, KubeConfigOptions, Kubeconfig, KubeconfigError},
    runtime::watcher,
};
use tokio::sync::mpsc;

use super::{
    Event,
    convert::{Converter, HEADLESS_LABEL, PROXY_LABEL, SERVICE_NAME_LABEL},
};

use feed::{Feed, FirstLists, Presence};

/// Why the API server could not be followed at all.
#[derive(Debug, thiserror::Error)]
pub enum KubernetesError {
    /// The kubeconfig can't be used.
    #[error("the kubeconfig file can't be used: {0}")]
    Kubeconfig(#[from] KubeconfigError),
    /// There is no configuration.
    #[error(
        "no cluster is configured ({0}): give --kubeconfig, set KUBECONFIG, or run inside a pod with a service account"
    )]
    NoConfig(#[from] InferConfigError),
    /// No client can be made of the configuration.
    #[error("no client can be made of the cluster's configuration: {0}")]
    Client(#[from] kube::Error),
    /// Nobody receives events any more.
    #[error("nobody receives the events of the API server")]
    Closed,
}

/// A client for the cluster that `kubeconfig` names; without it the one that `KUBECONFIG` names, or
/// the one that this process runs in.
///
/// # Errors
/// When there is no usable configuration. The server isn't asked anything yet.
pub async fn client(kubeconfig: Option<&Path>) -> Result<Client, KubernetesError> {
    let config = match kubeconfig {
        Some(path) => {
            let kubeconfig = Kubeconfig::read_from(path)?;
            Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?
        }
        None => Config::infer().await?,
    };
    Ok(Client::try_from(config)?)
}

/// Lists and watches for ever. A list arrives as one batch; [`Event::Synced`] follows when every
/// kind has been listed once.
///
/// # Errors
/// When the receiver is gone.
pub async fn run(
    client: Client,
    node_name: Arc<str>,
    events: mpsc::Sender<Vec<Event>>,
) -> Result<Infallible, KubernetesError> {
    let ours = format!("!{PROXY_LABEL},!{HEADLESS_LABEL}");
    let first = FirstLists::of(4, events.clone());
    let services = Feed::<Service, _> {
        api: Api::all(client.clone()),
        config: watcher::Config::default().labels(&ours),
        kind: "Services",
        presence: Presence::Required,
        convert: Converter::service,
        event: Event::Service,
    };
    let slices = Feed::<EndpointSlice, _> {
        api: Api::all(client.clone()),
        config: watcher::Config::default().labels(&format!("{ours},{SERVICE_NAME_LABEL}")),
        kind: "EndpointSlices",
        presence: Presence::Required,
        convert: Converter::endpoint_slice,
        event: Event::EndpointSlice,
    };
    let node = Feed::<Node, _> {
        api: Api::all(client.clone()),
        config: watcher::Config::default().fields(&format!("metadata.name={node_name}")),
        kind: "the Node",
        presence: Presence::Required,
        convert: Converter::node,
        event: Event::Node,
    };
    let cidrs = Feed::<ServiceCIDR, _> {
        api: Api::all(client),
        config: watcher::Config::default(),
        kind: "ServiceCIDRs",
        // Served since Kubernetes 1.33; elsewhere addresses that no Service owns aren't dropped.
        presence: Presence::Optional,
        convert: Converter::service_cidr,
        event: Event::ServiceCidr,
    };
    tokio::join!(
        services.run(&first, &events),
        slices.run(&first, &events),
        node.run(&first, &events),
        cidrs.run(&first, &events),
    );
    Err(KubernetesError::Closed)
}

#[cfg(test)]
mod tests;
