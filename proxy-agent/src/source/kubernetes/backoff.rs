//! How long to wait before trying again: twice as long each time, and never in step with others.
//!
//! Ten thousand agents that lost one API server must not come back to it in one moment.

use std::time::Duration;

/// Waits that grow, with jitter.
#[derive(Clone, Debug)]
pub(super) struct Backoff {
    first: Duration,
    most: Duration,
    next: Duration,
}

impl Backoff {
    /// The first wait is about `first`, none is longer than `most`.
    pub(super) const fn new(first: Duration, most: Duration) -> Self {
        Self { first, most, next: first }
    }

    /// The next wait: between a half and the whole of what it would be without jitter.
    pub(super) fn wait(&mut self) -> Duration {
        let whole = self.next;
        self.next = (whole * 2).min(self.most);
        whole.mul_f64(0.5 + fastrand::f64() / 2.0)
    }

    /// It went well.
    pub(super) const fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Backoff;

    #[test]
    fn waits_grow_to_a_limit_and_are_not_the_same() {
        let (first, most) = (Duration::from_millis(100), Duration::from_secs(5));
        let mut backoff = Backoff::new(first, most);
        let mut whole = first;
        for _ in 0..20 {
            let wait = backoff.wait();
            assert!(wait >= whole / 2 && wait <= whole, "{wait:?} of {whole:?}");
            whole = (whole * 2).min(most);
        }
        backoff.reset();
        assert!(backoff.wait() <= first);
        let waits: Vec<Duration> = (0..8).map(|_| Backoff::new(first, most).wait()).collect();
        assert!(waits.iter().any(|wait| *wait != waits[0]));
    }
}
