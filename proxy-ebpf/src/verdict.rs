//! What is decided about a packet.

use proxy_common::{DropReason, RejectReason};

/// What the datapath decided. The entry points turn it into a kernel verdict, and count it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// No Service's: goes on as it came, byte for byte.
    Pass,
    /// Rewritten for a flow: goes on.
    Translated,
    /// Thrown away.
    Drop(DropReason),
    /// Refused: the packet is to be turned into an answer and sent back.
    Reject(RejectReason),
    /// An answer now stands in the packet's place: goes back the way it came.
    SendBack(RejectReason),
}
