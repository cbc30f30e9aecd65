//! When a flow is over: one pure function over both its halves.
//!
//! Called by [`crate::flows::sweep`].

use std::time::Duration;

use proxy_common::{Nanoseconds, Protocol};

use super::{
    Timeouts,
    pair::{Half, State},
};

/// Whether a flow has been idle for longer than its state allows. `forward` is the way of the one
/// who opened it. A flow is idle since the last packet of either direction.
#[must_use]
pub fn expired(
    protocol: Protocol,
    forward: &Half,
    reply: &Half,
    now: Nanoseconds,
    timeouts: &Timeouts,
) -> bool {
    let last_seen = forward.last_seen.max(reply.last_seen);
    idle(last_seen, now) > timeout(protocol, State::of(protocol, forward, reply), timeouts)
}

/// How long ago `last_seen` was; nothing when it is later than `now` (clocks of two CPUs).
#[must_use]
pub fn idle(last_seen: Nanoseconds, now: Nanoseconds) -> Duration {
    Duration::from_nanos(now.get().saturating_sub(last_seen.get()))
}

/// How long a flow of this state may be idle.
#[must_use]
pub fn timeout(protocol: Protocol, state: State, timeouts: &Timeouts) -> Duration {
    let answered = state != State::Unanswered;
    match (protocol, state) {
        (Protocol::TCP, State::Unanswered | State::SynReceived) => timeouts.tcp_syn,
        (Protocol::TCP, State::Established) => timeouts.tcp_established,
        (Protocol::TCP, State::CloseWait) => timeouts.tcp_close_wait,
        (Protocol::TCP, State::TimeWait) => timeouts.tcp_time_wait,
        (Protocol::TCP, State::Reset) => timeouts.tcp_reset,
        (Protocol::SCTP, _) if answered => timeouts.sctp_established,
        (Protocol::SCTP, _) => timeouts.sctp_unanswered,
        _ if answered => timeouts.udp_stream,
        _ => timeouts.udp_unanswered,
    }
}

/// How long the longest-lived half of a protocol may be idle before its other half is worth a look.
#[must_use]
pub fn shortest(protocol: Protocol, timeouts: &Timeouts) -> Duration {
    match protocol {
        Protocol::TCP => timeouts
            .tcp_reset
            .min(timeouts.tcp_time_wait)
            .min(timeouts.tcp_syn)
            .min(timeouts.tcp_close_wait)
            .min(timeouts.tcp_established),
        Protocol::SCTP => timeouts.sctp_unanswered.min(timeouts.sctp_established),
        _ => timeouts.udp_unanswered.min(timeouts.udp_stream),
    }
}

#[cfg(test)]
mod tests {
    use proxy_common::{FlowFlags, Nanoseconds, Protocol};

    use super::{super::pair::Half, Timeouts, expired};

    fn seen(second: u64, flags: &[FlowFlags]) -> Half {
        Half {
            created: Nanoseconds::new(0),
            last_seen: at(second),
            packets: 5,
            flags: flags.iter().fold(FlowFlags::empty(), |all, flag| all.union(*flag)),
        }
    }

    fn at(second: u64) -> Nanoseconds {
        Nanoseconds::new(second * 1_000_000_000)
    }

    /// The seconds of idleness that the flow survives, and that it does not.
    fn lives(protocol: Protocol, forward: &[FlowFlags], reply: &[FlowFlags], seconds: u64) {
        let (forward, reply) = (seen(0, forward), seen(0, reply));
        let expired =
            |second| expired(protocol, &forward, &reply, at(second), &Timeouts::default());
        assert!(!expired(seconds), "lives for {seconds} s");
        assert!(expired(seconds + 1), "is over after {seconds} s");
    }

    const ANSWERED: FlowFlags = FlowFlags::ANSWERED;
    const FIN: FlowFlags = FlowFlags::FIN;

    #[test]
    fn each_state_has_its_time() {
        lives(Protocol::TCP, &[], &[], 60);
        lives(Protocol::TCP, &[ANSWERED], &[ANSWERED], 24 * 3600);
        lives(Protocol::TCP, &[ANSWERED, FIN], &[ANSWERED], 3600);
        lives(Protocol::TCP, &[ANSWERED, FIN], &[ANSWERED, FIN], 120);
        lives(Protocol::TCP, &[ANSWERED], &[ANSWERED, FlowFlags::RST], 10);
        lives(Protocol::UDP, &[], &[], 30);
        lives(Protocol::UDP, &[ANSWERED], &[ANSWERED], 180);
    }

    #[test]
    fn traffic_in_one_direction_keeps_both_halves() {
        let (old, young) = (seen(0, &[ANSWERED]), seen(170, &[ANSWERED]));
        let timeouts = Timeouts::default();
        assert!(!expired(Protocol::UDP, &old, &young, at(300), &timeouts));
        assert!(!expired(Protocol::UDP, &young, &old, at(300), &timeouts));
        assert!(expired(Protocol::UDP, &young, &old, at(351), &timeouts));
    }

    #[test]
    fn a_half_from_the_future_is_not_idle() {
        let half = seen(10, &[]);
        assert!(!expired(Protocol::UDP, &half, &half, at(5), &Timeouts::default()));
    }
}
