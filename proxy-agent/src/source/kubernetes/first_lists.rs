//! What all feeds share: where they ask and tell, and how many first lists are still to come.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use crate::{
    metrics::Metrics,
    source::{Event, Outlet},
};

use super::servers::Servers;

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// A request that is not answered for so long won't be. Big lists take a server a while.
    pub(super) answer: Duration,
    /// A stream that lists and goes silent for so long doesn't list: the server doesn't know how.
    pub(super) list_silence: Duration,
    /// A watch that is silent for so long may be dead. Servers send a bookmark a minute.
    pub(super) watch_silence: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            answer: Duration::from_secs(30),
            list_silence: Duration::from_secs(10),
            watch_silence: Duration::from_secs(90),
        }
    }
}

/// What a feed works with.
pub(super) struct Context {
    pub(super) servers: Servers,
    pub(super) outlet: Outlet,
    pub(super) metrics: Metrics,
    pub(super) patience: Patience,
    /// First lists that are to come; taken once this feed's is there.
    left: Option<Arc<AtomicUsize>>,
}

impl Context {
    /// Of each of `count` feeds.
    pub(super) fn of<const COUNT: usize>(
        servers: &Servers,
        outlet: &Outlet,
        metrics: &Metrics,
        patience: Patience,
    ) -> [Self; COUNT] {
        let left = Arc::new(AtomicUsize::new(COUNT));
        std::array::from_fn(|_| Self {
            servers: servers.clone(),
            outlet: outlet.clone(),
            metrics: metrics.clone(),
            patience,
            left: Some(left.clone()),
        })
    }

    /// A list of this feed is complete, and was sent. [`Event::Synced`] goes out after the last
    /// first list.
    pub(super) async fn listed(&mut self) {
        let last = self.left.take().is_some_and(|left| left.fetch_sub(1, Ordering::AcqRel) == 1);
        if last {
            // Who doesn't listen doesn't need to know.
            let _ = self.outlet.send(vec![Event::Synced]).await;
        }
    }
}
