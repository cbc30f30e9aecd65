//! When a flow is over: one pure function over both its halves.
//!
//! Called by [`crate::flows::sweep`].

use std::time::Duration;

use proxy_common::{FlowFlags, Nanoseconds, Protocol};

use super::{
    Timeouts,
    pair::{Generation, Half, State},
};

/// Whether a flow in `state`, with these halves, has been idle for longer than its state allows. It
/// is idle since the last packet of either direction.
#[must_use]
pub fn expired(
    protocol: Protocol,
    state: State,
    (one, other): (&Half, &Half),
    now: Nanoseconds,
    timeouts: &Timeouts,
) -> bool {
    idle(one.last_seen.max(other.last_seen), now) > timeout(protocol, state, timeouts)
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

/// How long a half may be idle before its flow is worth a look: the shortest time that any state
/// allows in which this half shows what it shows. Whatever the state of a flow, one of its halves
/// is idle for longer than this when the flow is for longer than [`timeout`].
#[must_use]
pub fn earliest(
    protocol: Protocol,
    generation: Generation,
    half: &Half,
    timeouts: &Timeouts,
) -> Duration {
    let mut earliest = timeout(protocol, State::of(protocol, generation, half, half), timeouts);
    if protocol == Protocol::TCP {
        // What else it may be depends on what the other half shows.
        if half.flags.contains(FlowFlags::RST) {
            earliest = earliest.min(timeouts.tcp_reset);
        }
        if half.flags.contains(FlowFlags::FIN) {
            earliest = earliest.min(timeouts.tcp_close_wait).min(timeouts.tcp_time_wait);
        }
    }
    earliest
}

#[cfg(test)]
mod tests {
    use proxy_common::{FlowFlags, Nanoseconds, Protocol};

    use super::{
        super::pair::{Generation, Half, State},
        Timeouts, earliest, expired, timeout,
    };

    fn seen(second: u64) -> Half {
        Half { created: at(0), last_seen: at(second), flags: FlowFlags::empty() }
    }

    fn at(second: u64) -> Nanoseconds {
        Nanoseconds::new(second * 1_000_000_000)
    }

    /// The seconds of idleness that the flow survives, and one more that it does not.
    fn lives(protocol: Protocol, state: State, seconds: u64) {
        let half = seen(0);
        let expired =
            |second| expired(protocol, state, (&half, &half), at(second), &Timeouts::default());
        assert!(!expired(seconds), "lives for {seconds} s");
        assert!(expired(seconds + 1), "is over after {seconds} s");
    }

    #[test]
    fn each_state_has_its_time() {
        lives(Protocol::TCP, State::Unanswered, 60);
        lives(Protocol::TCP, State::SynReceived, 60);
        lives(Protocol::TCP, State::Established, 24 * 3600);
        lives(Protocol::TCP, State::CloseWait, 3600);
        lives(Protocol::TCP, State::TimeWait, 120);
        lives(Protocol::TCP, State::Reset, 10);
        lives(Protocol::UDP, State::Unanswered, 30);
        lives(Protocol::UDP, State::Established, 180);
        lives(Protocol::SCTP, State::Unanswered, 60);
        lives(Protocol::SCTP, State::Established, 3600);
    }

    #[test]
    fn traffic_in_one_direction_keeps_both_halves() {
        let (old, young) = (seen(0), seen(170));
        let expired = |one, other, second| {
            let timeouts = Timeouts::default();
            expired(Protocol::UDP, State::Established, (one, other), at(second), &timeouts)
        };
        assert!(!expired(&old, &young, 300));
        assert!(!expired(&young, &old, 300));
        assert!(expired(&young, &old, 351));
    }

    #[test]
    fn a_half_from_the_future_is_not_idle() {
        let half = seen(10);
        let timeouts = Timeouts::default();
        assert!(!expired(Protocol::UDP, State::Unanswered, (&half, &half), at(5), &timeouts));
    }

    #[test]
    fn one_half_of_a_flow_that_is_over_is_always_worth_a_look() {
        let mut flags = vec![FlowFlags::empty()];
        for flag in [FlowFlags::ANSWERED, FlowFlags::FIN, FlowFlags::RST] {
            flags.extend(flags.clone().iter().map(|flags| flags.union(flag)));
        }
        let second = std::time::Duration::from_secs(1);
        let odd = Timeouts { tcp_close_wait: second, udp_stream: second, ..Timeouts::default() };
        for timeouts in [Timeouts::default(), odd] {
            for protocol in [Protocol::TCP, Protocol::UDP, Protocol::SCTP] {
                for generation in [Generation::New, Generation::Settled] {
                    for (one, other) in flags.iter().flat_map(|f| flags.iter().map(move |g| (f, g)))
                    {
                        let half = |flags: &FlowFlags| Half { flags: *flags, ..seen(0) };
                        let (one, other) = (half(one), half(other));
                        let state = State::of(protocol, generation, &one, &other);
                        let first = [one, other]
                            .map(|half| earliest(protocol, generation, &half, &timeouts));
                        let over = timeout(protocol, state, &timeouts);
                        assert!(first[0].min(first[1]) <= over, "{protocol} {one:?} {other:?}");
                    }
                }
            }
        }
    }
}
