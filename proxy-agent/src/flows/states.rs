//! How many flows there are, by state and protocol, as a walk meets them: for metrics.

use proxy_common::Protocol;

use super::pair::Generation;

/// Protocols that are counted apart, and all others.
const PROTOCOLS: [&str; 4] = ["tcp", "udp", "sctp", "other"];
/// Which tables a flow is in.
const STATES: [&str; 2] = ["new", "settled"];

/// Flows by state and protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct States {
    counts: [[usize; PROTOCOLS.len()]; STATES.len()],
}

impl States {
    /// A flow was met.
    pub fn note(&mut self, generation: Generation, protocol: Protocol) {
        let state = match generation {
            Generation::New => 0,
            Generation::Settled => 1,
        };
        let protocol = match protocol {
            Protocol::TCP => 0,
            Protocol::UDP => 1,
            Protocol::SCTP => 2,
            _ => 3,
        };
        self.counts[state][protocol] += 1;
    }

    /// State, protocol and how many, also where there is none.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &'static str, usize)> {
        STATES.into_iter().zip(self.counts).flat_map(|(state, counts)| {
            PROTOCOLS.into_iter().zip(counts).map(move |(protocol, count)| (state, protocol, count))
        })
    }
}

#[cfg(test)]
mod tests {
    use proxy_common::Protocol;

    use super::{Generation, States};

    #[test]
    fn each_flow_is_counted_once_under_its_state_and_protocol() {
        let mut states = States::default();
        states.note(Generation::New, Protocol::TCP);
        states.note(Generation::Settled, Protocol::UDP);
        states.note(Generation::Settled, Protocol::UDP);
        let some: Vec<_> = states.iter().filter(|(.., count)| *count > 0).collect();
        assert_eq!(some, [("new", "tcp", 1), ("settled", "udp", 2)]);
        assert_eq!(states.iter().count(), 8);
    }
}
