//! What a Service's owner must know: problems of a Service, as notices that the cluster shows.
//!
//! Only what concerns one Service and what its owner can act on. The same notice is not repeated
//! for an hour. The agent's writer tells; [`crate::source::kubernetes`] publishes, if objects come
//! from a cluster.

mod notice;
mod repeats;

use std::time::Instant;

use tokio::sync::mpsc;

use crate::{metrics::Metrics, model::Problem, reconcile::Failure};

pub use notice::{Notice, Reason};

use repeats::Repeats;

/// Notices that may wait to be published; more are dropped, and counted.
const WAITING: usize = 1024;

/// A way for notices.
#[must_use]
pub fn channel(metrics: Metrics) -> (Notifier, Notices) {
    let (sender, receiver) = mpsc::channel(WAITING);
    (Notifier { sender, repeats: Repeats::default(), metrics }, Notices { receiver })
}

/// The end that tells.
#[derive(Debug)]
pub struct Notifier {
    sender: mpsc::Sender<Notice>,
    repeats: Repeats,
    metrics: Metrics,
}

impl Notifier {
    /// Tells the owner of the Service that `problem` is about, if there is one.
    pub fn problem(&mut self, problem: &Problem, now: Instant) {
        if let Some(notice) = Notice::of_problem(problem) {
            self.tell(notice, now);
        }
    }

    /// Tells the owners of the Services that `failure` keeps from being served.
    pub fn failure(&mut self, failure: &Failure, now: Instant) {
        for notice in Notice::of_failure(failure) {
            self.tell(notice, now);
        }
    }

    fn tell(&mut self, notice: Notice, now: Instant) {
        if !self.repeats.is_new(&notice, now) {
            return;
        }
        // Without a cluster nobody publishes, and nothing is lost.
        if let Err(mpsc::error::TrySendError::Full(notice)) = self.sender.try_send(notice) {
            self.repeats.forget(&notice);
            self.metrics.notice("dropped");
        }
    }
}

/// The end that publishes.
#[derive(Debug)]
pub struct Notices {
    receiver: mpsc::Receiver<Notice>,
}

impl Notices {
    /// The next notice; `None` when there will be none.
    pub async fn next(&mut self) -> Option<Notice> {
        self.receiver.recv().await
    }
}
