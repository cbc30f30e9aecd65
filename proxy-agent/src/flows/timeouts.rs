//! How long flows may be idle: SEMANTICS §7, and the flags that change it.
//!
//! Pure data. Called by [`crate::flows::expiry`].

use std::time::Duration;

/// How long a flow of each state may be idle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// TCP, both directions open.
    pub tcp_established: Duration,
    /// TCP, one direction closed.
    pub tcp_close_wait: Duration,
    /// TCP, the handshake isn't complete.
    pub tcp_syn: Duration,
    /// TCP, both directions closed.
    pub tcp_time_wait: Duration,
    /// TCP, reset.
    pub tcp_reset: Duration,
    /// UDP (and whatever has no connections), no answer yet.
    pub udp_unanswered: Duration,
    /// UDP, answered.
    pub udp_stream: Duration,
    /// SCTP, no answer yet.
    pub sctp_unanswered: Duration,
    /// SCTP, answered. Its heartbeats (every 30 s, RFC 9260 §16) keep a flow from being idle.
    pub sctp_established: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            tcp_established: seconds(24 * 3600),
            tcp_close_wait: seconds(3600),
            tcp_syn: seconds(60),
            tcp_time_wait: seconds(120),
            tcp_reset: seconds(10),
            udp_unanswered: seconds(30),
            udp_stream: seconds(180),
            sctp_unanswered: seconds(60),
            sctp_established: seconds(3600),
        }
    }
}
