//! When to try again what failed: soon, then later and later.

use proxy_common::Nanoseconds;

const FIRST_NS: u64 = 100_000_000;
const LAST_NS: u64 = 5_000_000_000;

#[derive(Debug)]
pub(super) struct Retry {
    at: Option<Nanoseconds>,
    delay_ns: u64,
}

impl Retry {
    pub(super) const fn new() -> Self {
        Self { at: None, delay_ns: FIRST_NS }
    }

    /// When, if anything has to be tried again.
    pub(super) const fn at(&self) -> Option<Nanoseconds> {
        self.at
    }

    /// Whether it is time.
    pub(super) fn is_due(&self, now: Nanoseconds) -> bool {
        self.at.is_some_and(|at| at <= now)
    }

    /// Something failed at `now`.
    pub(super) fn failed(&mut self, now: Nanoseconds) {
        if self.at.is_none_or(|at| at <= now) {
            self.at = Some(Nanoseconds::new(now.get().saturating_add(self.delay_ns)));
            self.delay_ns = (self.delay_ns * 2).min(LAST_NS);
        }
    }

    /// Nothing is left to be tried again.
    pub(super) fn settled(&mut self) {
        *self = Self::new();
    }
}

#[cfg(test)]
mod tests {
    use proxy_common::Nanoseconds;

    use super::{FIRST_NS, LAST_NS, Retry};

    #[test]
    fn delays_double_up_to_the_last_and_start_over() {
        let mut retry = Retry::new();
        let mut now = 0;
        let mut delays = Vec::new();
        for _ in 0..8 {
            retry.failed(Nanoseconds::new(now));
            let at = retry.at().unwrap().get();
            delays.push(at - now);
            now = at;
        }
        assert_eq!(delays[..3], [FIRST_NS, 2 * FIRST_NS, 4 * FIRST_NS]);
        assert_eq!(delays[7], LAST_NS);
        retry.settled();
        assert_eq!(retry.at(), None);
        retry.failed(Nanoseconds::new(0));
        assert_eq!(retry.at(), Some(Nanoseconds::new(FIRST_NS)));
    }

    #[test]
    fn a_failure_on_the_way_does_not_put_the_retry_off() {
        let mut retry = Retry::new();
        retry.failed(Nanoseconds::new(0));
        retry.failed(Nanoseconds::new(50));
        assert_eq!(retry.at(), Some(Nanoseconds::new(FIRST_NS)));
    }
}
