//! The clock that flows are stamped with.
//!
//! Called by [`crate::agent`], [`crate::flows`] and [`crate::cli`].

use proxy_common::Nanoseconds;
use rustix::time::{ClockId, clock_gettime};

/// Now, on the clock that the datapath stamps flows with, give or take a tick.
#[must_use]
pub fn now() -> Nanoseconds {
    let time = clock_gettime(ClockId::MonotonicCoarse);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    let nanoseconds = u64::try_from(time.tv_nsec).unwrap_or_default();
    Nanoseconds::new(seconds * 1_000_000_000 + nanoseconds)
}
