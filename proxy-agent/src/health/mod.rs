//! Whether the agent does its work, for those who ask: load balancers, the kubelet, people.
//!
//! The meaning is kube-proxy's (SEMANTICS §8). The proxy is **healthy** unless something that the
//! API said has been waiting for the maps for longer than `--max-lag`. While it starts it is healthy:
//! to restart it wouldn't help. The node is **eligible** unless it is about to go.
//!
//! | file | what |
//! |---|---|
//! | `mod.rs` | [`Health`]: what is pending since when |
//! | `checks.rs`, `census.rs` | health checks of Services: which port says what; pure |
//! | `servers.rs` | `/healthz`, `/livez`, `/readyz`; `/metrics`, `/proxyMode` |
//! | `service_servers.rs` | the servers of `healthCheckNodePort`s |
//! | `http.rs`, `listen.rs`, `holder.rs` | serving, listening, and who has a port that is taken |
//!
//! Nothing here touches a map: a port that can't be had is retried for ever, and traffic goes on.

mod census;
mod checks;
mod holder;
mod http;
mod listen;
pub mod servers;
pub mod service_servers;

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

pub use census::Census;
pub use checks::{Check, NoLocal, checks, no_local};

use crate::{host::lock::Holder, source::Waiting};

/// Who listens where `address` can't be listened on for that, if anybody does.
#[must_use]
pub fn holder(address: SocketAddr) -> Option<Holder> {
    holder::of(address)
}

/// The agent's health. Clones share it.
#[derive(Clone, Debug)]
pub struct Health {
    waiting: Waiting,
    max_lag: Duration,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// What the writer has taken and not written: when the oldest of it was seen.
    in_hand: Option<Instant>,
    synced: bool,
    ready: bool,
    leaving: bool,
    updated: Option<SystemTime>,
}

/// What is told of the agent's health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Nothing waits for too long.
    pub healthy: bool,
    /// The node stays.
    pub eligible: bool,
    /// Everything has been in place once.
    pub ready: bool,
    /// When the maps were last in step.
    pub updated: Option<SystemTime>,
}

impl Health {
    /// The health of an agent that takes what is `waiting`, and may take `max_lag` for it.
    #[must_use]
    pub fn new(waiting: Waiting, max_lag: Duration) -> Self {
        Self { waiting, max_lag, state: Arc::default() }
    }

    /// The writer has taken what was seen at `seen`.
    pub fn taken(&self, seen: Instant) {
        self.with(|state| {
            state.in_hand = Some(state.in_hand.map_or(seen, |oldest| oldest.min(seen)));
        });
    }

    /// All that was taken is in the maps.
    pub fn in_step(&self, synced: bool, now: SystemTime) {
        self.with(|state| {
            state.in_hand = None;
            state.synced = synced;
            state.updated = synced.then_some(now).or(state.updated);
        });
    }

    /// Everything is in place.
    pub fn ready(&self) {
        self.with(|state| state.ready = true);
    }

    /// Whether the node is about to go.
    pub fn leaving(&self, leaving: bool) {
        self.with(|state| state.leaving = leaving);
    }

    /// How long the oldest change has been waiting for the maps.
    #[must_use]
    pub fn lag(&self, now: Instant) -> Duration {
        let oldest = self.with(|state| {
            // What waits for the rest of a first list waits for nobody here.
            let in_channel = self.waiting.oldest();
            if state.synced { state.in_hand.into_iter().chain(in_channel).min() } else { None }
        });
        oldest.map_or(Duration::ZERO, |oldest| now.saturating_duration_since(oldest))
    }

    /// How it is now.
    #[must_use]
    pub fn verdict(&self, now: Instant) -> Verdict {
        let healthy = self.lag(now) <= self.max_lag;
        self.with(|state| Verdict {
            healthy,
            eligible: !state.leaving,
            ready: state.ready,
            updated: state.updated,
        })
    }

    fn with<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant, SystemTime};

    use super::Health;
    use crate::source::{Event, channel};

    const MAX: Duration = Duration::from_secs(60);

    #[test]
    fn while_it_starts_it_is_healthy_and_not_ready() {
        let (_, inlet) = channel(1);
        let (health, now) = (Health::new(inlet.waiting(), MAX), Instant::now());
        health.taken(now);
        let verdict = health.verdict(now + 10 * MAX);
        assert!(verdict.healthy && verdict.eligible && !verdict.ready);
        assert_eq!(verdict.updated, None);
        health.ready();
        assert!(health.verdict(now).ready);
    }

    #[test]
    fn what_was_taken_and_is_not_written_makes_it_unhealthy_in_time() {
        let (_, inlet) = channel(1);
        let (health, now) = (Health::new(inlet.waiting(), MAX), Instant::now());
        health.in_step(true, SystemTime::now());
        health.taken(now);
        health.taken(now + MAX);
        assert!(health.verdict(now + MAX).healthy);
        assert!(!health.verdict(now + MAX + Duration::from_millis(1)).healthy);
        assert_eq!(health.lag(now + MAX), MAX, "the oldest counts");
        health.in_step(true, SystemTime::now());
        assert!(health.verdict(now + 10 * MAX).healthy);
    }

    #[tokio::test]
    async fn a_writer_that_hangs_is_noticed() {
        let (outlet, inlet) = channel(1);
        let health = Health::new(inlet.waiting(), MAX);
        health.in_step(true, SystemTime::now());
        outlet.send(vec![Event::Synced]).await.unwrap();
        assert!(health.verdict(Instant::now()).healthy);
        assert!(!health.verdict(Instant::now() + 2 * MAX).healthy);
    }

    #[test]
    fn a_node_that_leaves_is_not_eligible_and_healthy_all_the_same() {
        let (_, inlet) = channel(1);
        let health = Health::new(inlet.waiting(), MAX);
        health.leaving(true);
        let verdict = health.verdict(Instant::now());
        assert!(verdict.healthy && !verdict.eligible);
        health.leaving(false);
        assert!(health.verdict(Instant::now()).eligible);
    }
}
