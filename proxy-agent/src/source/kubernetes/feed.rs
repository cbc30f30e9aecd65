//! One kind of object, followed for ever: watcher, back-off, batches, and the first list.

use std::{
    fmt::Debug,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::StreamExt;
use k8s_openapi::serde::de::DeserializeOwned;
use kube::{
    Api,
    runtime::{WatchStreamExt, watcher},
};
use tokio::sync::mpsc;

use crate::{
    model::{Object, Problem, Trouble},
    source::{Change, Event},
};

use super::lister::{Convert, Lister};

/// Changes that are ready at once are told at once, up to so many.
const BATCH: usize = 1024;
/// How often to ask whether the server serves a kind that it did not.
const ASK_AGAIN: Duration = Duration::from_mins(10);

/// Whether a cluster may do without a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    Required,
    Optional,
}

/// A kind of object.
pub(super) struct Feed<K, T: Object> {
    pub(super) api: Api<K>,
    pub(super) config: watcher::Config,
    /// What it is called in messages.
    pub(super) kind: &'static str,
    pub(super) presence: Presence,
    pub(super) convert: Convert<K, T>,
    pub(super) event: fn(Change<T>) -> Event,
}

impl<K, T> Feed<K, T>
where
    K: kube::Resource + Clone + DeserializeOwned + Debug + Send + 'static,
    T: Object,
{
    /// Tells of every change, until nobody listens.
    pub(super) async fn run(self, first: &FirstLists, events: &mpsc::Sender<Vec<Event>>) {
        let mut lister = Lister::new(self.convert, self.event);
        let mut listed = false;
        loop {
            let unserved = self.follow(&mut lister, &mut listed, first, events).await;
            if !unserved {
                return;
            }
            // What was known of it stays.
            if !std::mem::replace(&mut listed, true) {
                first.done().await;
            }
            tokio::select! {
                () = tokio::time::sleep(ASK_AGAIN) => {}
                () = events.closed() => return,
            }
        }
    }

    /// Watches until nobody listens, or, where the kind is optional, the server says that it isn't
    /// served: then true.
    async fn follow(
        &self,
        lister: &mut Lister<K, T>,
        listed: &mut bool,
        first: &FirstLists,
        events: &mpsc::Sender<Vec<Event>>,
    ) -> bool {
        let stream = watcher(self.api.clone(), self.config.clone()).default_backoff();
        let mut stream = std::pin::pin!(stream.ready_chunks(BATCH));
        let mut told = String::new();
        loop {
            let chunk = tokio::select! {
                chunk = stream.next() => chunk.unwrap_or_default(),
                () = events.closed() => return false,
            };
            let (mut batch, mut complete, mut unserved) = (Vec::new(), false, false);
            for event in chunk {
                match event {
                    Ok(event) => {
                        let done = lister.take(event, &mut batch);
                        complete |= done;
                        if done {
                            told.clear();
                        }
                    }
                    Err(error) => {
                        unserved |= self.is_unserved(&error);
                        batch.extend(self.problem(&error, &mut told).filter(|_| !unserved));
                    }
                }
            }
            if !batch.is_empty() && events.send(batch).await.is_err() {
                return false;
            }
            if complete && !std::mem::replace(listed, true) {
                first.done().await;
            }
            if unserved {
                return true;
            }
        }
    }

    fn is_unserved(&self, error: &watcher::Error) -> bool {
        let answer = match error {
            watcher::Error::InitialListFailed(kube::Error::Api(status))
            | watcher::Error::WatchStartFailed(kube::Error::Api(status)) => status,
            _ => return false,
        };
        self.presence == Presence::Optional && answer.is_not_found()
    }

    /// A problem, unless it is what was told last. That a watch ran into its end or has to list
    /// anew is nothing to tell.
    fn problem(&self, error: &watcher::Error, told: &mut String) -> Option<Event> {
        if matches!(error, watcher::Error::WatchError(status) if status.code == 410) {
            return None;
        }
        let reason = error.to_string();
        if *told == reason {
            return None;
        }
        told.clone_from(&reason);
        Some(Event::Problem(Problem {
            location: None,
            object: None,
            field: String::new(),
            value: self.kind.to_owned(),
            trouble: Trouble::Api { reason: reason.into() },
        }))
    }
}

/// Counts first lists.
#[derive(Clone)]
pub(super) struct FirstLists {
    left: Arc<AtomicUsize>,
    events: mpsc::Sender<Vec<Event>>,
}

impl FirstLists {
    /// `count` lists are to come; [`Event::Synced`] goes to `events` after the last.
    pub(super) fn of(count: usize, events: mpsc::Sender<Vec<Event>>) -> Self {
        Self { left: Arc::new(AtomicUsize::new(count)), events }
    }

    /// One of them is complete, and was sent.
    pub(super) async fn done(&self) {
        if self.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            // Who doesn't listen doesn't need to know.
            let _ = self.events.send(vec![Event::Synced]).await;
        }
    }
}
