//! The two halves of a flow side by side.
//!
//! A half knows its own direction only; both together are a connection. Pure. Called by
//! [`crate::flows::sweep`] and [`crate::cli::flows`].

use proxy_common::{Address, Be16, Flow, FlowFlags, Nanoseconds, Protocol, Tuple};

/// What one direction of a flow has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Half {
    /// When the flow was opened.
    pub created: Nanoseconds,
    /// When its last packet in this direction was seen.
    pub last_seen: Nanoseconds,
    /// See [`FlowFlags`].
    pub flags: FlowFlags,
}

impl<A: Address> From<&Flow<A>> for Half {
    fn from(flow: &Flow<A>) -> Self {
        Self { created: flow.created, last_seen: flow.last_seen, flags: flow.flags }
    }
}

/// Which tables a flow is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generation {
    /// `NEW_*`: the datapath hasn't settled it yet.
    New,
    /// The main tables: both ends have shown that they mean it.
    Settled,
}

/// The states of a flow that have a timeout of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// No answer yet.
    Unanswered,
    /// TCP: answered, and the handshake isn't complete.
    SynReceived,
    /// Both directions are open.
    Established,
    /// TCP: one direction is closed.
    CloseWait,
    /// TCP: both directions are closed.
    TimeWait,
    /// TCP: reset by one end.
    Reset,
}

impl State {
    /// The name that tables and JSON use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unanswered => "unanswered",
            Self::SynReceived => "syn-received",
            Self::Established => "established",
            Self::CloseWait => "close-wait",
            Self::TimeWait => "time-wait",
            Self::Reset => "reset",
        }
    }

    /// The state of a flow with these halves. `forward` is the way of the one who opened it.
    #[must_use]
    pub fn of(protocol: Protocol, generation: Generation, forward: &Half, reply: &Half) -> Self {
        let either = forward.flags.union(reply.flags);
        let answered = generation == Generation::Settled || either.contains(FlowFlags::ANSWERED);
        if !answered {
            return Self::Unanswered;
        }
        if protocol != Protocol::TCP {
            return Self::Established;
        }
        let closed = |half: &Half| half.flags.contains(FlowFlags::FIN);
        if either.contains(FlowFlags::RST) {
            Self::Reset
        } else if closed(forward) && closed(reply) {
            Self::TimeWait
        } else if closed(forward) || closed(reply) {
            Self::CloseWait
        } else if generation == Generation::New {
            Self::SynReceived
        } else {
            Self::Established
        }
    }
}

/// The halves as `(forward, reply)`: the half at ingress and the half at egress, whichever of them
/// is the way of the answers.
#[must_use]
pub fn in_order(dst: Half, src: Half) -> (Half, Half) {
    if dst.flags.contains(FlowFlags::REPLY) { (src, dst) } else { (dst, src) }
}

/// The endpoint of the flow whose half at ingress is `flow` under `key`.
#[must_use]
pub fn endpoint<A: Address>(key: &Tuple<A>, flow: &Flow<A>) -> (A, Be16) {
    if flow.flags.contains(FlowFlags::REPLY) {
        (key.source, key.source_port)
    } else {
        (flow.address, flow.port)
    }
}

#[cfg(test)]
mod tests {
    use proxy_common::{FlowFlags, Nanoseconds, Protocol};

    use super::{
        Generation::{New, Settled},
        Half, State,
    };

    fn half(flags: &[FlowFlags]) -> Half {
        let flags = flags.iter().fold(FlowFlags::empty(), |all, flag| all.union(*flag));
        Half { created: Nanoseconds::new(0), last_seen: Nanoseconds::new(0), flags }
    }

    const ANSWERED: FlowFlags = FlowFlags::ANSWERED;
    const FIN: FlowFlags = FlowFlags::FIN;

    #[test]
    fn tcp_goes_through_its_states() {
        let state = |generation, forward: &[FlowFlags], reply: &[FlowFlags]| {
            State::of(Protocol::TCP, generation, &half(forward), &half(reply))
        };
        assert_eq!(state(New, &[], &[]), State::Unanswered);
        assert_eq!(state(New, &[ANSWERED], &[ANSWERED]), State::SynReceived);
        assert_eq!(state(New, &[], &[ANSWERED, FlowFlags::RST]), State::Reset);
        assert_eq!(state(Settled, &[ANSWERED], &[ANSWERED]), State::Established);
        assert_eq!(state(Settled, &[ANSWERED], &[ANSWERED, FIN]), State::CloseWait);
        assert_eq!(state(Settled, &[ANSWERED, FIN], &[ANSWERED, FIN]), State::TimeWait);
        assert_eq!(state(Settled, &[ANSWERED], &[ANSWERED, FlowFlags::RST]), State::Reset);
    }

    #[test]
    fn udp_is_a_stream_as_soon_as_it_is_answered() {
        let state = |half: &Half| State::of(Protocol::UDP, New, half, half);
        assert_eq!(state(&half(&[])), State::Unanswered);
        assert_eq!(state(&half(&[ANSWERED])), State::Established);
    }
}
