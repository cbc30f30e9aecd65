//! What is asked: which packet, and where it enters the node.
//!
//! Only packets that a Service could receive can be asked about: the first one of a TCP, UDP or SCTP
//! connection. Called by `sluice explain`.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use clap::ValueEnum;
use proxy_common::Protocol;

use crate::model::Family;

/// The source port of a packet whose asker has none in mind.
const EPHEMERAL: u16 = 40_000;

/// Where the packet enters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum)]
pub enum Entry {
    /// A pod of this node sends it: it comes in by the pod's device
    Pod,
    /// A process of this node, in its own network namespace, connects or sends
    Node,
    /// It comes in by a device towards other machines
    Outside,
}

/// `--source`: the sender's address and port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source(SocketAddr);

/// `--to`: the destination's address, port and protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Destination {
    end: SocketAddr,
    protocol: Protocol,
}

/// The first packet of a new connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// Where it enters.
    pub entry: Entry,
    /// Who sends it.
    pub source: SocketAddr,
    /// Where it goes; of the same family.
    pub to: SocketAddr,
    /// TCP, UDP or SCTP.
    pub protocol: Protocol,
}

/// What can't be asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuestionError {
    /// No address, or something behind it that is no port.
    #[error(
        "{0:?} is not an address, nor an address and a port: write 10.244.1.2, 10.244.1.2:40000, \
         2001:db8::2 or [2001:db8::2]:40000"
    )]
    Source(String),
    /// No protocol behind the destination.
    #[error(
        "{0:?} has no protocol: write 10.96.0.10:80/tcp, with tcp, udp or sctp behind the slash"
    )]
    NoProtocol(String),
    /// A protocol that no Service port has.
    #[error(
        "{protocol:?} in {text:?} is not a protocol that a Service can have: write tcp, udp or sctp"
    )]
    Protocol {
        /// What was given.
        text: String,
        /// The part that is wrong.
        protocol: String,
    },
    /// The destination's address and port can't be read.
    #[error(
        "{end:?} in {text:?} is not an address and a port: write 10.96.0.10:80/tcp or \
         [fd00:96::a]:80/tcp"
    )]
    End {
        /// What was given.
        text: String,
        /// The part that is wrong.
        end: String,
    },
    /// Port 0.
    #[error("port 0 in {0:?}: no packet has it; give a port from 1 to 65535")]
    PortZero(String),
    /// An IPv4 address in an IPv6 one.
    #[error("{text:?} is an IPv4 address written as IPv6, which no packet has: write {address}")]
    Mapped {
        /// What was given.
        text: String,
        /// The address inside.
        address: IpAddr,
    },
    /// One of each family.
    #[error(
        "--source {} is {}, --to {} is {}: give both of one family",
        source_address, Family::of(*source_address), to, Family::of(*to)
    )]
    Families {
        /// The sender's address.
        source_address: IpAddr,
        /// The destination's address.
        to: IpAddr,
    },
}

impl Question {
    /// What would happen to a packet that enters at `entry`, from `source` to `destination`?
    ///
    /// # Errors
    /// When the two are of different families.
    pub fn new(
        entry: Entry,
        source: Source,
        destination: Destination,
    ) -> Result<Self, QuestionError> {
        let (Source(source), Destination { end: to, protocol }) = (source, destination);
        if source.is_ipv4() != to.is_ipv4() {
            return Err(QuestionError::Families { source_address: source.ip(), to: to.ip() });
        }
        Ok(Self { entry, source, to, protocol })
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pod => "pod",
            Self::Node => "node",
            Self::Outside => "outside",
        })
    }
}

/// `end`, if a packet can have it.
fn possible(end: SocketAddr, text: &str) -> Result<SocketAddr, QuestionError> {
    if end.port() == 0 {
        return Err(QuestionError::PortZero(text.to_owned()));
    }
    let canonical = end.ip().to_canonical();
    if canonical != end.ip() {
        return Err(QuestionError::Mapped { text: text.to_owned(), address: canonical });
    }
    Ok(end)
}

impl FromStr for Source {
    type Err = QuestionError;

    fn from_str(text: &str) -> Result<Self, QuestionError> {
        let alone = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
        let end = match alone.parse::<IpAddr>() {
            Ok(address) => SocketAddr::new(address, EPHEMERAL),
            Err(_) => text.parse().map_err(|_| QuestionError::Source(text.to_owned()))?,
        };
        possible(end, text).map(Self)
    }
}

impl FromStr for Destination {
    type Err = QuestionError;

    fn from_str(text: &str) -> Result<Self, QuestionError> {
        let (end, name) =
            text.split_once('/').ok_or_else(|| QuestionError::NoProtocol(text.to_owned()))?;
        let protocol = match name.to_ascii_lowercase().as_str() {
            "tcp" => Protocol::TCP,
            "udp" => Protocol::UDP,
            "sctp" => Protocol::SCTP,
            _ => {
                let protocol = name.to_owned();
                return Err(QuestionError::Protocol { text: text.to_owned(), protocol });
            }
        };
        let end = end
            .parse()
            .map_err(|_| QuestionError::End { text: text.to_owned(), end: end.to_owned() })?;
        Ok(Self { end: possible(end, text)?, protocol })
    }
}

#[cfg(test)]
mod tests {
    use proxy_common::Protocol;

    use super::{Destination, Entry, Question, QuestionError, Source};

    fn source(text: &str) -> Result<String, QuestionError> {
        text.parse().map(|Source(end)| end.to_string())
    }

    fn to(text: &str) -> Result<(String, Protocol), QuestionError> {
        text.parse().map(|Destination { end, protocol }| (end.to_string(), protocol))
    }

    #[test]
    fn a_source_may_go_without_a_port() {
        assert_eq!(source("10.0.0.5").unwrap(), "10.0.0.5:40000");
        assert_eq!(source("10.0.0.5:7").unwrap(), "10.0.0.5:7");
        assert_eq!(source("2001:db8::1").unwrap(), "[2001:db8::1]:40000");
        assert_eq!(source("[2001:db8::1]").unwrap(), "[2001:db8::1]:40000");
        assert_eq!(source("[2001:db8::1]:7").unwrap(), "[2001:db8::1]:7");
    }

    #[test]
    fn what_is_no_source_says_what_would_be_one() {
        for text in
            ["", "10.0.0", "010.0.0.1", "10.0.0.1:", "10.0.0.1:70000", "web", "fe80::1%eth0"]
        {
            let message = source(text).unwrap_err().to_string();
            assert!(
                message.contains(&format!("{text:?}")) && message.contains("write"),
                "{message}"
            );
        }
        assert_eq!(source("10.0.0.1:0"), Err(QuestionError::PortZero("10.0.0.1:0".into())));
        assert!(source("::ffff:10.0.0.1").unwrap_err().to_string().ends_with("write 10.0.0.1"));
    }

    #[test]
    fn a_destination_has_an_address_a_port_and_a_protocol() {
        assert_eq!(to("10.96.0.10:80/tcp").unwrap(), ("10.96.0.10:80".into(), Protocol::TCP));
        assert_eq!(to("[fd00::a]:53/UDP").unwrap(), ("[fd00::a]:53".into(), Protocol::UDP));
        assert_eq!(to("10.96.0.10:9/sctp").unwrap().1, Protocol::SCTP);
        for text in ["10.96.0.10:80", "10.96.0.10/tcp", "10.96.0.10:80/icmp", "fd00::a:53/udp", "/"]
        {
            let message = to(text).unwrap_err().to_string();
            assert!(message.contains(text) && message.contains("write"), "{message}");
        }
        assert_eq!(to("10.96.0.1:0/tcp"), Err(QuestionError::PortZero("10.96.0.1:0/tcp".into())));
    }

    #[test]
    fn both_ends_are_of_one_family() {
        let ask = |source: &str, to: &str| {
            Question::new(Entry::Pod, source.parse().unwrap(), to.parse().unwrap())
        };
        assert!(ask("10.0.0.1", "10.96.0.1:80/tcp").is_ok());
        let message = ask("10.0.0.1", "[fd00::1]:80/tcp").unwrap_err().to_string();
        assert_eq!(
            message,
            "--source 10.0.0.1 is IPv4, --to fd00::1 is IPv6: give both of one family"
        );
    }
}
