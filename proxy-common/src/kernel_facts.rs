//! What the programs are told about the kernel that they run on: said to them once, when they are
//! loaded.
//!
//! The loader writes it into the object's constant [`KERNEL_FACTS`] before the verifier sees it. The
//! verifier takes the constant for what it is and never looks at a branch that it doesn't lead to, nor
//! does the kernel keep it: one object serves every kernel.

use bytemuck::{Pod, Zeroable};

use crate::Nanoseconds;

/// The symbol of the constant in the object.
pub const KERNEL_FACTS: &str = "KERNEL_FACTS";

/// The constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Pod, Zeroable)]
#[repr(C)]
pub struct KernelFacts {
    /// How to read its clock.
    pub clock: TickClock,
    /// What it lacks.
    pub lacks: KernelLacks,
    /// Zero.
    pub padding: u32,
}

/// How the kernel's count of ticks (`jiffies`, `bpf_jiffies64`, kernel ≥ 5.6) is turned into
/// `CLOCK_MONOTONIC`. Reading the count is one load; every other clock is a call.
///
/// The kernel counts a tick for every [`Self::tick`] nanoseconds of `CLOCK_MONOTONIC`, and makes up for
/// those that a CPU slept through (`tick_do_update_jiffies64`). So two numbers, taken once, hold until
/// the next boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Pod, Zeroable)]
#[repr(C)]
pub struct TickClock {
    /// What the clock would have shown when the count was 0, in nanoseconds; it wraps.
    pub epoch: u64,
    /// How long a tick is, in nanoseconds; 0 when it isn't known: then there is no such clock.
    pub tick: u64,
}

impl TickClock {
    /// The clock that shows `now` while the count is `ticks`.
    #[must_use]
    pub const fn new(tick: u64, ticks: u64, now: Nanoseconds) -> Self {
        Self { epoch: now.get().wrapping_sub(ticks.wrapping_mul(tick)), tick }
    }

    /// Whether ticks can be turned into a time.
    #[inline(always)]
    #[must_use]
    pub const fn is_known(&self) -> bool {
        self.tick != 0
    }

    /// The time while the count is `ticks`.
    #[inline(always)]
    #[must_use]
    pub const fn at(&self, ticks: u64) -> Nanoseconds {
        Nanoseconds::new(self.epoch.wrapping_add(ticks.wrapping_mul(self.tick)))
    }
}

/// Says to `bpf_l4_csum_replace` that the packet is IPv6: a sum that the device made over the packet
/// stays, since the checksum makes up for the address (`inet_proto_csum_replace_by_diff`).
pub const BPF_F_IPV6: u64 = 1 << 7;

/// Helpers that are missing, or what they don't know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Pod, Zeroable)]
#[repr(transparent)]
pub struct KernelLacks {
    bits: u32,
}

impl KernelFacts {
    /// Nothing is known, and nothing is missing.
    #[must_use]
    pub const fn nothing() -> Self {
        Self { clock: TickClock { epoch: 0, tick: 0 }, lacks: KernelLacks::empty(), padding: 0 }
    }
}

impl KernelLacks {
    /// `bpf_set_retval` at the cgroup's socket hooks (kernel ≥ 5.18).
    pub const SET_RETVAL: Self = Self { bits: 1 };
    /// [`BPF_F_IPV6`] of `bpf_l4_csum_replace` (kernel ≥ 6.16).
    pub const CSUM_IPV6: Self = Self { bits: 2 };
}

flag_set!(KernelLacks);

#[cfg(test)]
mod tests {
    use super::TickClock;
    use crate::Nanoseconds;

    /// What `jiffies` starts with on a kernel of 250 Hz: it wraps 32 bits after five minutes.
    const FIRST: u64 = 0xffff_ffff - 300 * 250 + 1;

    #[test]
    fn ticks_are_turned_into_the_time_that_the_clock_showed() {
        let second = 1_000_000_000;
        let clock = TickClock::new(4_000_000, FIRST + 1_000, Nanoseconds::new(4 * second));
        assert_eq!(clock.at(FIRST + 1_000).get(), 4 * second);
        assert_eq!(clock.at(FIRST).get(), 0);
        assert_eq!(clock.at(FIRST + 250 * 86_400).get(), 86_400 * second);
    }

    #[test]
    fn a_clock_that_nobody_has_set_is_none() {
        assert!(!TickClock::default().is_known());
        assert!(TickClock::new(1_000_000, 7, Nanoseconds::new(0)).is_known());
    }
}
