//! Durations and points in time, with their unit in the type.

use bytemuck::{Pod, Zeroable};

/// A point on the kernel's monotonic clock as of the last tick (`CLOCK_MONOTONIC_COARSE`), in nanoseconds
/// since boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default, Pod, Zeroable)]
#[repr(transparent)]
pub struct Nanoseconds {
    ns: u64,
}

impl Nanoseconds {
    /// From nanoseconds since boot.
    #[inline(always)]
    #[must_use]
    pub const fn new(ns: u64) -> Self {
        Self { ns }
    }

    /// Nanoseconds since boot.
    #[inline(always)]
    #[must_use]
    pub const fn get(self) -> u64 {
        self.ns
    }

    /// Whole seconds from `earlier` to `self`; zero when `earlier` is later (clocks of two CPUs).
    #[must_use]
    pub const fn seconds_since(self, earlier: Self) -> Seconds {
        let seconds = self.ns.saturating_sub(earlier.ns) / 1_000_000_000;
        // 2^64 ns are 584 years; seconds of them that don't fit 32 bits are 136 years.
        #[expect(clippy::cast_possible_truncation, reason = "compared first")]
        Seconds { s: if seconds > u32::MAX as u64 { u32::MAX } else { seconds as u32 } }
    }
}

/// A duration in whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Pod, Zeroable)]
#[repr(transparent)]
pub struct Seconds {
    s: u32,
}

impl Seconds {
    /// From a number of seconds.
    #[inline(always)]
    #[must_use]
    pub const fn new(s: u32) -> Self {
        Self { s }
    }

    /// The number of seconds.
    #[inline(always)]
    #[must_use]
    pub const fn get(self) -> u32 {
        self.s
    }
}
