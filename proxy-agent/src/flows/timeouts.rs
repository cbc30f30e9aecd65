//! How long flows may be idle: SEMANTICS §7, and the flags that change it.
//!
//! Pure data. Called by [`crate::flows::expiry`].

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// How long a flow of each state may be idle. In JSON, each is a number of seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeouts {
    /// TCP, both directions open.
    #[serde(serialize_with = "seconds", deserialize_with = "from_seconds")]
    pub tcp_established: Duration,
    /// TCP, one direction closed.
    #[serde(serialize_with = "seconds", deserialize_with = "from_seconds")]
    pub tcp_close_wait: Duration,
    /// TCP, the handshake isn't complete.
    #[serde(serialize_with = "seconds", deserialize_with = "from_seconds")]
    pub tcp_syn: Duration,
    /// TCP, both directions closed.
    #[serde(serialize_with = "seconds", deserialize_with = "from_seconds")]
    pub tcp_time_wait: Duration,
    /// TCP, reset.
    #[serde(serialize_with = "seconds", deserialize_with = "from_seconds")]
    pub tcp_reset: Duration,
    /// UDP (and whatever has no connections), no answer yet.
    #[serde(serialize_with = "seconds", deserialize_with = "from_seconds")]
    pub udp_unanswered: Duration,
    /// UDP, answered.
    #[serde(serialize_with = "seconds", deserialize_with = "from_seconds")]
    pub udp_stream: Duration,
    /// SCTP, no answer yet.
    #[serde(serialize_with = "seconds", deserialize_with = "from_seconds")]
    pub sctp_unanswered: Duration,
    /// SCTP, answered. Its heartbeats (every 30 s, RFC 9260 §16) keep a flow from being idle.
    #[serde(serialize_with = "seconds", deserialize_with = "from_seconds")]
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

fn seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}

fn from_seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let seconds = f64::deserialize(deserializer)?;
    Duration::try_from_secs_f64(seconds).map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Timeouts;

    #[test]
    fn timeouts_are_seconds_in_json() {
        let timeouts = Timeouts { tcp_reset: Duration::from_millis(1_500), ..Timeouts::default() };
        let json = serde_json::to_value(timeouts).unwrap();
        assert_eq!(json["tcp_reset"], 1.5);
        assert_eq!(serde_json::from_value::<Timeouts>(json).unwrap(), timeouts);
    }
}
