//! A directory of manifests as a source of objects: ordinary Service, EndpointSlice, Node and
//! ServiceCIDR YAML or JSON, one or many documents a file, lists included.
//!
//! The directory is watched; an edit is told within a few milliseconds of its writer closing the
//! file. Nothing that was understood once is given up because it can't be read just now: only a
//! document that is gone, or a file that is gone, takes its objects with it. A directory that is
//! gone takes nothing.
//!
//! Called by the agent for `--manifests`. What objects mean is decided elsewhere.

mod catalog;
mod document;
mod follow;
mod object;
mod once;
mod path;
mod scan;
mod settle;
mod watch;

use std::{convert::Infallible, io, path::PathBuf, thread};

use tokio::sync::oneshot;

use super::Outlet;

pub use catalog::{Catalog, Writer};
pub use once::read;

use follow::Follower;

/// Why the directory is no longer followed.
#[derive(Debug, thiserror::Error)]
pub enum ManifestsError {
    /// No thread could be started.
    #[error("no thread could be started to follow the manifest directory")]
    Thread(#[source] io::Error),
    /// Nobody receives events any more.
    #[error("nobody receives the events of the manifest directory")]
    Closed,
}

/// Reads `directory` and follows it for ever. Each batch of events is what was seen at once;
/// [`super::Event::Synced`] ends the first. A directory that isn't there yet is waited for.
///
/// # Errors
/// When the receiver is gone.
pub async fn run(directory: PathBuf, events: Outlet) -> Result<Infallible, ManifestsError> {
    let (ended, end) = oneshot::channel::<()>();
    // File systems block; a thread of its own keeps that away from everything else.
    thread::Builder::new()
        .name(String::from("manifests"))
        .spawn(move || {
            follow(directory, &events);
            drop(ended);
        })
        .map_err(ManifestsError::Thread)?;
    // The thread never sends: it ends, and that ends the wait.
    let _ = end.await;
    Err(ManifestsError::Closed)
}

fn follow(directory: PathBuf, events: &Outlet) {
    let (mut follower, mut batch) = Follower::new(directory);
    while !events.is_closed() {
        batch.extend(follower.look());
        if !batch.is_empty() && events.blocking_send(std::mem::take(&mut batch)).is_err() {
            return;
        }
        follower.wait();
    }
}

#[cfg(test)]
mod tests;
