//! A Kubernetes API server as a source of objects: lists and watches of Services, EndpointSlices,
//! ServiceCIDRs and the own Node.
//!
//! What is not ours is left out by the server (label and field selectors), what does not decide how
//! traffic goes is left out on arrival. A list counts when it is complete: what it lacks is gone
//! then, and not before. While no server can be reached, or answers with errors, everything known
//! stays. Permissions needed: list and watch of these kinds (SEMANTICS §8).
//!
//! | file | what |
//! |---|---|
//! | `feed.rs` | one kind, followed for ever: what to do about each error |
//! | `follow.rs` | one list or one watch, to its end |
//! | `lister.rs` | what a complete list lacks is gone |
//! | `wire.rs`, `resource.rs` | what is read of objects, what is asked for |
//! | `servers.rs`, `learned.rs` | which server is asked |
//! | `access.rs` | how to speak with it |
//!
//! kube-rs' own watcher is not used: it lists in one way for ever, takes a watch that a server
//! closes at once up again without a pause, and knows one server.
//!
//! Called by the agent when it serves a cluster. What objects mean is decided elsewhere.

mod access;
mod backoff;
pub mod events;
mod feed;
mod first_lists;
mod follow;
mod learned;
mod lister;
mod resource;
mod servers;
mod trouble;
mod wire;

use std::{convert::Infallible, sync::Arc, time::Duration};

use http::Uri;
use kube::config::{InferConfigError, KubeconfigError};

use crate::{checkpoint::Checkpoint, events::Notices, metrics::Metrics};

use super::{
    Event, Outlet,
    convert::{Converter, HEADLESS_LABEL, PROXY_LABEL, SERVICE_NAME_LABEL},
};

pub use access::Access;

use feed::{Feed, Presence};
use first_lists::{Context, Patience};
use resource::Resource;
use servers::Servers;
use wire::{WireEndpointSlice, WireNode, WireService, WireServiceCidr};

/// A cluster, and the ways to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// Credentials.
    pub access: Access,
    /// `--api-server`: servers to ask, the best first. Where none is named it is the one of the
    /// configuration.
    pub servers: Vec<Uri>,
    /// Where the cluster's own servers are written down.
    pub checkpoint: Option<Checkpoint>,
}

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
    /// Credentials didn't come.
    #[error("the credentials' plugin took longer than {after:?}")]
    Plugin {
        /// How long was waited.
        after: Duration,
    },
    /// Making a client has panicked.
    #[error("making a client of the cluster's configuration: {0}")]
    Task(#[source] tokio::task::JoinError),
    /// Nobody receives events any more.
    #[error("nobody receives the events of the API server")]
    Closed,
}

/// Lists and watches for ever. A list arrives as one batch; [`Event::Synced`] follows when every
/// kind has been listed once. `notices` are published as Events.
///
/// # Errors
/// When there is no usable configuration, or when the receiver is gone.
pub async fn run(
    cluster: Cluster,
    node_name: Arc<str>,
    outlet: Outlet,
    metrics: Metrics,
    notices: Notices,
) -> Result<Infallible, KubernetesError> {
    let servers = Servers::new(cluster, outlet.clone(), metrics.clone());
    serve(servers, node_name, outlet, metrics, notices, Patience::default()).await
}

async fn serve(
    servers: Servers,
    node_name: Arc<str>,
    outlet: Outlet,
    metrics: Metrics,
    notices: Notices,
    patience: Patience,
) -> Result<Infallible, KubernetesError> {
    // A mistake in the configuration is told before anything is tried.
    servers.config().await?;
    let ours = format!("!{PROXY_LABEL},!{HEADLESS_LABEL}");
    let resource = |kind, paths, labels, fields| Resource { kind, paths, labels, fields };
    let services = Feed::<WireService, _> {
        resource: resource("Services", &["/api/v1/services"], Some(ours.clone()), None),
        presence: Presence::Required,
        convert: Converter::service,
        event: Event::Service,
    };
    let slices = Feed::<WireEndpointSlice, _> {
        resource: resource(
            "EndpointSlices",
            &["/apis/discovery.k8s.io/v1/endpointslices"],
            Some(format!("{ours},{SERVICE_NAME_LABEL}")),
            None,
        ),
        presence: Presence::Required,
        convert: Converter::endpoint_slice,
        event: Event::EndpointSlice,
    };
    let node = Feed::<WireNode, _> {
        resource: resource(
            "the Node",
            &["/api/v1/nodes"],
            None,
            Some(format!("metadata.name={node_name}")),
        ),
        presence: Presence::Required,
        convert: Converter::node,
        event: Event::Node,
    };
    let cidrs = Feed::<WireServiceCidr, _> {
        // Served since Kubernetes 1.33 (beta since 1.31); elsewhere addresses that no Service owns
        // aren't dropped.
        resource: resource(
            "ServiceCIDRs",
            &[
                "/apis/networking.k8s.io/v1/servicecidrs",
                "/apis/networking.k8s.io/v1beta1/servicecidrs",
            ],
            None,
            None,
        ),
        presence: Presence::Optional,
        convert: Converter::service_cidr,
        event: Event::ServiceCidr,
    };
    let [for_services, for_slices, for_node, for_cidrs] =
        Context::of(&servers, &outlet, &metrics, patience);
    let feeds = async {
        tokio::join!(
            services.run(for_services),
            slices.run(for_slices),
            node.run(for_node),
            cidrs.run(for_cidrs),
        )
    };
    tokio::select! {
        _ = feeds => {}
        () = events::publish(&servers, &node_name, notices, &metrics) => {}
    }
    Err(KubernetesError::Closed)
}

#[cfg(test)]
mod fake;
#[cfg(test)]
mod servers_tests;
#[cfg(test)]
mod tests;
