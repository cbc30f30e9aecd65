//! Counters: elements of the per-CPU array `COUNTERS`, packets each.

use crate::{DropReason, RejectReason};

/// Elements of `COUNTERS`.
pub const COUNTERS: u32 = 64;

/// What is counted. The index is stable: events from 0, rejects from 8, drops from 16.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Counter {
    /// A flow was opened on the packet path.
    FlowOpened,
    /// A flow was answered and went on, and moved to the main tables.
    FlowSettled,
    /// A connection was translated at connect().
    SocketConnected,
    /// A datagram was translated at sendmsg().
    SocketSent,
    /// A process of the node was kept from binding a NodePort.
    BindRefused,
    /// A packet or connection was refused with an answer.
    Reject(RejectReason),
    /// A packet was dropped.
    Drop(DropReason),
}

impl Counter {
    /// Those that are neither rejects nor drops.
    pub const EVENTS: &'static [Self] = &[
        Self::FlowOpened,
        Self::FlowSettled,
        Self::SocketConnected,
        Self::SocketSent,
        Self::BindRefused,
    ];

    /// The element of `COUNTERS`.
    #[inline(always)]
    #[must_use]
    pub const fn index(self) -> u32 {
        match self {
            Self::FlowOpened => 0,
            Self::FlowSettled => 1,
            Self::SocketConnected => 2,
            Self::SocketSent => 3,
            Self::BindRefused => 4,
            Self::Reject(reason) => 8 + reason as u32,
            Self::Drop(reason) => 16 + reason as u32,
        }
    }

    /// The name that metrics, tables and JSON use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::FlowOpened => "flow-opened",
            Self::FlowSettled => "flow-settled",
            Self::SocketConnected => "socket-connected",
            Self::SocketSent => "socket-sent",
            Self::BindRefused => "bind-refused",
            Self::Reject(reason) => reason.name(),
            Self::Drop(reason) => reason.name(),
        }
    }
}
