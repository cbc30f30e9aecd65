//! What the probe tells.

use std::{fmt, io, net::IpAddr, net::SocketAddr, time::Duration};

use serde::{Deserialize, Serialize};

/// One line of the probe's standard output.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "report", rename_all = "kebab-case")]
pub enum Report {
    /// A server answered.
    Answer(Answer),
    /// Bytes were moved.
    Bulk(BulkAnswer),
    /// An echo reply came, or none.
    Echo {
        /// Who sent it.
        from: Option<IpAddr>,
    },
    /// It did not work.
    Failure(Failure),
    /// The server listens.
    Ready,
    /// Many connections were asked, each once.
    Crowd(CrowdAnswer),
    /// Connections were made one after the other.
    Load(LoadAnswer),
    /// A port was bound, and let go of.
    Bound,
}

/// Who answered, and what both sides saw.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The name the server was started with.
    pub server: String,
    /// The client's address as the server saw it.
    pub client_seen: SocketAddr,
    /// The server's address as the server itself sees it.
    pub endpoint: SocketAddr,
    /// The client's own address as its socket tells it (`getsockname`).
    pub local: SocketAddr,
    /// What the client's socket says it is connected to (`getpeername`), where it is connected.
    pub peer: Option<SocketAddr>,
    /// Where the answer came from by `recvfrom`; UDP only.
    pub received_from: Option<SocketAddr>,
    /// From the start of the request to the answer.
    pub took_us: u64,
}

/// What came of a bulk transfer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BulkAnswer {
    /// The name the server was started with.
    pub server: String,
    /// Offset of the first wrong byte that the server read, if any.
    pub upload_fault: Option<u64>,
    /// Offset of the first wrong byte that the client read, if any.
    pub download_fault: Option<u64>,
    /// How long it took.
    pub took_us: u64,
}

/// What came of asking many connections.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CrowdAnswer {
    /// Which endpoint answered on each connection that works.
    pub endpoints: Vec<SocketAddr>,
    /// How the others failed; they are not asked again.
    pub failures: Vec<Failure>,
}

/// What came of connections one after the other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadAnswer {
    /// Which endpoint answered, in this order.
    pub endpoints: Vec<SocketAddr>,
    /// How the others failed.
    pub failures: Vec<Failure>,
}

/// What a request was doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Making the socket.
    Socket,
    /// `connect()`.
    Connect,
    /// Sending, or waiting for the answer.
    Exchange,
}

/// How a request failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// While doing what.
    pub phase: Phase,
    /// By which error.
    pub trouble: Trouble,
    /// From the start of the request to the error.
    pub after_us: u64,
}

/// The error, as far as stories tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trouble {
    /// `ECONNREFUSED`: a RST, an ICMP port unreachable, or a refusal at `connect()`.
    Refused,
    /// Nothing came.
    TimedOut,
    /// `ECONNRESET` or `EPIPE`.
    Reset,
    /// `EHOSTUNREACH` or `ENETUNREACH`.
    Unreachable,
    /// `EPERM` or `EACCES`.
    NotPermitted,
    /// The other side ended the connection.
    Closed,
    /// Another error, by number.
    Other(i32),
    /// An error without a number: the probe and the server misunderstand each other.
    Misunderstanding,
}

impl Failure {
    /// How long it took to fail.
    #[must_use]
    pub fn after(&self) -> Duration {
        Duration::from_micros(self.after_us)
    }
}

impl Answer {
    /// How long the answer took.
    #[must_use]
    pub fn took(&self) -> Duration {
        Duration::from_micros(self.took_us)
    }
}

impl From<&io::Error> for Trouble {
    fn from(error: &io::Error) -> Self {
        match (error.raw_os_error(), error.kind()) {
            (Some(libc::ECONNREFUSED), _) => Self::Refused,
            (Some(libc::ETIMEDOUT | libc::EAGAIN), _) | (None, io::ErrorKind::TimedOut) => {
                Self::TimedOut
            }
            (Some(libc::ECONNRESET | libc::EPIPE), _) => Self::Reset,
            (Some(libc::EHOSTUNREACH | libc::ENETUNREACH), _) => Self::Unreachable,
            (Some(libc::EPERM | libc::EACCES), _) => Self::NotPermitted,
            (None, io::ErrorKind::UnexpectedEof) => Self::Closed,
            (Some(number), _) => Self::Other(number),
            (None, _) => Self::Misunderstanding,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} at {:?} after {:?}", self.trouble, self.phase, self.after())
    }
}

impl std::error::Error for Failure {}
