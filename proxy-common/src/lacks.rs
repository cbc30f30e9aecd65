//! What a kernel lacks that the programs would call: said to them once, when they are loaded.
//!
//! The loader writes the bits into the object's constant [`KERNEL_LACKS`] before the verifier sees
//! it. The verifier takes the constant for what it is and never looks at the branch that isn't
//! taken, nor does the kernel keep it: one object serves every kernel.

use bytemuck::{Pod, Zeroable};

/// The symbol of the constant in the object.
pub const KERNEL_LACKS: &str = "KERNEL_LACKS";

/// Helpers that are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Pod, Zeroable)]
#[repr(transparent)]
pub struct KernelLacks {
    bits: u32,
}

impl KernelLacks {
    /// `bpf_ktime_get_coarse_ns` (kernel ≥ 5.11).
    pub const COARSE_CLOCK: Self = Self { bits: 1 };
    /// `bpf_set_retval` at the cgroup's socket hooks (kernel ≥ 5.18).
    pub const SET_RETVAL: Self = Self { bits: 2 };

    /// Nothing is missing.
    #[must_use]
    pub const fn nothing() -> Self {
        Self { bits: 0 }
    }

    /// Whether everything in `other` is missing.
    #[inline(always)]
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.bits & other.bits == other.bits
    }

    /// Both.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self { bits: self.bits | other.bits }
    }
}
