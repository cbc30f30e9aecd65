//! What the loader has found out about the running kernel.

use aya_ebpf::helpers::generated::{bpf_jiffies64, bpf_ktime_get_ns};
use proxy_common::{KernelFacts, KernelLacks, Nanoseconds, TickClock};

/// Written by the loader before the programs are loaded, and constant from then on; its name is
/// [`proxy_common::KERNEL_FACTS`].
///
/// verifier: read as volatile, or the compiler would put in what is there at compile time. The
/// verifier knows the value, and drops a branch that it doesn't lead to.
#[unsafe(no_mangle)]
static KERNEL_FACTS: KernelFacts = KernelFacts::nothing();

/// Whether the kernel lacks this.
#[inline(always)]
pub(super) fn lacks(what: KernelLacks) -> bool {
    // SAFETY: a constant of ours.
    unsafe { (&raw const KERNEL_FACTS.lacks).read_volatile() }.contains(what)
}

/// The time: a load and a multiplication where ticks can be turned into it, else a call.
#[inline(always)]
pub(super) fn now() -> Nanoseconds {
    // SAFETY: both helpers take nothing and return a number. kernel ≥ 5.6 for the count of ticks,
    // which the verifier turns into a load.
    unsafe {
        if clock().is_known() {
            let ticks = bpf_jiffies64();
            // verifier: read again, for less stack than to keep it through what is a call here.
            clock().at(ticks)
        } else {
            Nanoseconds::new(bpf_ktime_get_ns())
        }
    }
}

#[inline(always)]
fn clock() -> TickClock {
    // SAFETY: a constant of ours.
    unsafe { (&raw const KERNEL_FACTS.clock).read_volatile() }
}
