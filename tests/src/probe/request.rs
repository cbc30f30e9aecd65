//! What the probe can be asked to do.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

/// One line of the probe's standard input.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum Request {
    /// Connect, ask who answers.
    Tcp(TcpRequest),
    /// Send a datagram, wait for the answer.
    Udp(UdpRequest),
    /// Ask again, on the connection or socket that the last request kept.
    Again,
    /// Send an echo request.
    Ping(PingRequest),
}

/// A TCP connection.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TcpRequest {
    /// Where to.
    pub to: SocketAddr,
    /// The port to come from; the kernel's choice when absent.
    pub from_port: Option<u16>,
    /// Use an IPv6 socket and the IPv4-mapped form of an IPv4 address.
    pub mapped: bool,
    /// IPv4 options that every packet carries (`IP_OPTIONS`).
    pub ip_options: Vec<u8>,
    /// End the connection with a RST, so that its port is free at once.
    pub abort: bool,
    /// How long to wait for the connection, and for each answer.
    pub timeout_ms: u64,
    /// Keep it open for [`Request::Again`].
    pub keep: bool,
    /// Move this much instead of asking who answers.
    pub bulk: Option<Bulk>,
}

/// How many bytes to move, both directions at once.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Bulk {
    /// From the client to the server.
    pub upload: u64,
    /// From the server to the client.
    pub download: u64,
}

/// A datagram and its answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct UdpRequest {
    /// Where to.
    pub to: SocketAddr,
    /// The port to come from; the kernel's choice when absent.
    pub from_port: Option<u16>,
    /// Use an IPv6 socket and the IPv4-mapped form of an IPv4 address.
    pub mapped: bool,
    /// `connect()` and `send()`, or `sendto()`.
    pub connected: bool,
    /// Length of the datagram; at least 8.
    pub size: usize,
    /// How long to wait for the answer.
    pub timeout_ms: u64,
    /// Keep the socket for [`Request::Again`].
    pub keep: bool,
}

/// An ICMP or ICMPv6 echo request.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PingRequest {
    /// Where to.
    pub to: IpAddr,
    /// How long to wait for the reply.
    pub timeout_ms: u64,
}
