//! What the running kernel lacks, as the loader found out. Called by what would call a helper that not
//! every kernel has.

use proxy_common::KernelLacks;

/// Written by the loader before the programs are loaded, and constant from then on; its name is
/// [`proxy_common::KERNEL_LACKS`].
#[unsafe(no_mangle)]
static KERNEL_LACKS: KernelLacks = KernelLacks::nothing();

/// Whether the kernel lacks this.
#[inline(always)]
pub(super) fn lacks(what: KernelLacks) -> bool {
    // SAFETY: a constant of ours. verifier: volatile, or the compiler would put in what is there at
    // compile time. The verifier knows the value, and drops the branch that it doesn't lead to.
    unsafe { (&raw const KERNEL_LACKS).read_volatile() }.contains(what)
}
