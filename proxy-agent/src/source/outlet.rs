//! The way of events from a source to the control plane, and how long they have been on it.
//!
//! A bounded channel: a source that is faster than the maps has to wait. Beside it stands when each
//! batch was seen, so that a control plane that hangs is noticed by [`crate::health`] although it
//! takes nothing. Sources send, [`crate::agent`] receives.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::{Instant, SystemTime},
};

use tokio::sync::mpsc;

use super::Event;

/// Changes that a source saw together.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The changes, in order.
    pub events: Vec<Event>,
    /// When they were seen.
    pub seen: Instant,
    /// When what led to them happened in the cluster, as far as the objects say
    /// (`endpoints.kubernetes.io/last-change-trigger-time` of EndpointSlices).
    pub triggers: Vec<SystemTime>,
}

impl From<Vec<Event>> for Batch {
    fn from(events: Vec<Event>) -> Self {
        Self { events, seen: Instant::now(), triggers: Vec::new() }
    }
}

/// Nobody receives events any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nobody receives the events of the source")]
pub struct Closed;

/// A channel with room for `capacity` batches.
#[must_use]
pub fn channel(capacity: usize) -> (Outlet, Inlet) {
    let (sender, receiver) = mpsc::channel(capacity);
    let waiting = Waiting::default();
    (Outlet { sender, waiting: waiting.clone() }, Inlet { receiver, waiting })
}

/// The end of a source.
#[derive(Clone, Debug)]
pub struct Outlet {
    sender: mpsc::Sender<Batch>,
    waiting: Waiting,
}

impl Outlet {
    /// Sends `batch` when there is room.
    ///
    /// # Errors
    /// When nobody receives.
    pub async fn send(&self, batch: impl Into<Batch>) -> Result<(), Closed> {
        // What waits for room is younger than all that is in the channel.
        let batch = batch.into();
        let room = self.sender.reserve().await.map_err(|_| Closed)?;
        self.waiting.push(batch.seen);
        room.send(batch);
        Ok(())
    }

    /// Likewise, from a thread that may block.
    ///
    /// # Errors
    /// When nobody receives.
    pub fn blocking_send(&self, batch: impl Into<Batch>) -> Result<(), Closed> {
        let batch = batch.into();
        let seen = batch.seen;
        self.sender.blocking_send(batch).map_err(|_| Closed)?;
        self.waiting.push(seen);
        Ok(())
    }

    /// Whether nobody receives.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Waits until nobody receives.
    pub async fn closed(&self) {
        self.sender.closed().await;
    }
}

/// The end of the control plane.
#[derive(Debug)]
pub struct Inlet {
    receiver: mpsc::Receiver<Batch>,
    waiting: Waiting,
}

impl Inlet {
    /// The next batch; `None` when there will be none.
    pub async fn recv(&mut self) -> Option<Batch> {
        let batch = self.receiver.recv().await;
        self.taken(batch)
    }

    /// The next batch, if there is one at once.
    pub fn try_recv(&mut self) -> Option<Batch> {
        let batch = self.receiver.try_recv().ok();
        self.taken(batch)
    }

    /// What waits, for those who only look.
    #[must_use]
    pub fn waiting(&self) -> Waiting {
        self.waiting.clone()
    }

    fn taken(&self, batch: Option<Batch>) -> Option<Batch> {
        if batch.is_some() {
            self.waiting.pop();
        }
        batch
    }
}

/// What is in the channel: when each batch was seen, the oldest first.
#[derive(Clone, Debug, Default)]
pub struct Waiting {
    seen: Arc<Mutex<Stamps>>,
}

#[derive(Debug, Default)]
struct Stamps {
    stamps: VecDeque<Instant>,
    /// Batches that were taken before their stamp was there.
    ahead: usize,
}

impl Waiting {
    /// When the oldest batch in the channel was seen.
    #[must_use]
    pub fn oldest(&self) -> Option<Instant> {
        self.with(|stamps| stamps.stamps.front().copied())
    }

    fn push(&self, seen: Instant) {
        self.with(|stamps| match stamps.ahead.checked_sub(1) {
            Some(ahead) => stamps.ahead = ahead,
            None => stamps.stamps.push_back(seen),
        });
    }

    fn pop(&self) {
        self.with(|stamps| {
            if stamps.stamps.pop_front().is_none() {
                stamps.ahead += 1;
            }
        });
    }

    fn with<T>(&self, look: impl FnOnce(&mut Stamps) -> T) -> T {
        look(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::{Closed, channel};
    use crate::source::Event;

    #[tokio::test]
    async fn what_is_in_the_channel_waits_since_it_was_seen() {
        let (outlet, mut inlet) = channel(4);
        let waiting = inlet.waiting();
        assert_eq!(waiting.oldest(), None);
        outlet.send(vec![Event::Synced]).await.unwrap();
        let first = waiting.oldest().unwrap();
        outlet.send(vec![Event::Synced]).await.unwrap();
        assert_eq!(waiting.oldest(), Some(first));
        assert_eq!(inlet.recv().await.unwrap().seen, first);
        assert!(waiting.oldest().unwrap() >= first);
        assert!(inlet.try_recv().is_some());
        assert!(inlet.try_recv().is_none());
        assert_eq!(waiting.oldest(), None);
    }

    #[tokio::test]
    async fn a_thread_may_be_overtaken_by_its_own_batch() {
        let (outlet, mut inlet) = channel(64);
        let thread = std::thread::spawn(move || {
            for _ in 0..1000 {
                outlet.blocking_send(vec![Event::Synced]).unwrap();
            }
        });
        for _ in 0..1000 {
            inlet.recv().await.unwrap();
        }
        thread.join().unwrap();
        assert_eq!(inlet.waiting().oldest(), None);
    }

    #[tokio::test]
    async fn a_source_without_listener_is_told() {
        let (outlet, inlet) = channel(1);
        drop(inlet);
        assert_eq!(outlet.send(vec![Event::Synced]).await, Err(Closed));
        assert!(outlet.is_closed());
    }
}
