//! What probes say to each other on the wire: the client's question and the server's answer.
//!
//! Over TCP each is a line of JSON; a question for bulk is followed by the bytes. Over UDP the
//! question is a datagram of any length from [`NONCE_LENGTH`] on, the answer is JSON.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::request::Bulk;

/// A datagram starts with a number that its answer repeats.
pub(super) const NONCE_LENGTH: usize = 8;

/// A client's question over TCP.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Question {
    Who,
    Bulk(Bulk),
}

/// The answer to [`Question::Who`].
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Who {
    pub(super) server: String,
    pub(super) client_seen: SocketAddr,
    pub(super) endpoint: SocketAddr,
}

/// The answer to [`Question::Bulk`], when all bytes have been read.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct BulkRead {
    pub(super) server: String,
    pub(super) fault: Option<u64>,
}

/// The answer to a datagram.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct DatagramRead {
    pub(super) who: Who,
    pub(super) nonce: u64,
    pub(super) length: usize,
    pub(super) fault: Option<u64>,
}

/// The address, an IPv4-mapped one as IPv4.
pub(super) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
