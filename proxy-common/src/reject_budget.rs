//! The limit on refusals, so that a flood of packets to a dead Service isn't doubled.

use bytemuck::{Pod, Zeroable};

use crate::Nanoseconds;

/// ICMP errors that one CPU may send in one second. A RST is no longer than what it answers, and isn't
/// limited.
pub const REJECTS_PER_SECOND: u64 = 1_000;

/// A CPU's budget of refusals: the element of `REJECT_LIMIT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Pod, Zeroable)]
#[repr(C)]
pub struct RejectBudget {
    /// When the running second began.
    pub since: Nanoseconds,
    /// Refusals sent since then.
    pub sent: u64,
}
