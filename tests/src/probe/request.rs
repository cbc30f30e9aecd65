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
    /// Ask again, on the connections or the socket that the last request kept.
    Again,
    /// Send an echo request.
    Ping(PingRequest),
    /// Open many connections and keep them.
    Crowd(CrowdRequest),
    /// Make one connection after the other, for a while.
    Load(LoadRequest),
    /// Try to bind a port, and let go of it.
    Bind(BindRequest),
}

/// What requests of every protocol say.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Common {
    /// Where to.
    pub to: SocketAddr,
    /// The address to come from; the kernel's choice when absent.
    pub from: Option<IpAddr>,
    /// The port to come from; the kernel's choice when absent.
    pub from_port: Option<u16>,
    /// Use an IPv6 socket and the IPv4-mapped form of an IPv4 address.
    pub mapped: bool,
    /// How long to wait for the connection, and for each answer.
    pub timeout_ms: u64,
    /// Keep the connection or socket for [`Request::Again`].
    pub keep: bool,
}

impl Common {
    /// With nothing asked for but the destination and an end to patience.
    #[must_use]
    pub fn new(to: SocketAddr, timeout_ms: u64) -> Self {
        Self { to, from: None, from_port: None, mapped: false, timeout_ms, keep: false }
    }
}

/// A TCP connection.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TcpRequest {
    /// What every request says.
    pub common: Common,
    /// IPv4 options that every packet carries (`IP_OPTIONS`).
    pub ip_options: Vec<u8>,
    /// End the connection with a RST, so that its port is free at once.
    pub abort: bool,
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

/// A datagram and its answer, which is as long.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct UdpRequest {
    /// What every request says.
    pub common: Common,
    /// `connect()` and `send()`, or `sendto()`.
    pub connected: bool,
    /// Length of the datagram; at least 8.
    pub size: usize,
    /// Let the datagram be fragmented on its way, whatever the path's MTU is known to be.
    pub fragmented: bool,
}

/// An ICMP or ICMPv6 echo request.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PingRequest {
    /// Where to.
    pub to: IpAddr,
    /// How long to wait for the reply.
    pub timeout_ms: u64,
}

/// Many TCP connections at a time.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CrowdRequest {
    /// Where to.
    pub to: SocketAddr,
    /// How many.
    pub connections: usize,
    /// How long to wait for each connection, and for each answer.
    pub timeout_ms: u64,
}

/// TCP connections one after the other: connect, ask, end with a RST.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LoadRequest {
    /// Where to.
    pub to: SocketAddr,
    /// For how long.
    pub duration_ms: u64,
    /// How long to wait for each connection, and for each answer.
    pub timeout_ms: u64,
}

/// A port that a process would like to have.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BindRequest {
    /// The address and port.
    pub address: SocketAddr,
    /// A UDP socket, not a TCP socket.
    pub datagrams: bool,
}

/// A request for an answer, of one protocol or another.
pub trait Question: Clone {
    /// With nothing asked for but what every request says.
    fn new(common: Common) -> Self;
    /// What every request says.
    fn common(&mut self) -> &mut Common;
    /// As the probe takes it.
    fn into_request(self) -> Request;
}

impl Question for TcpRequest {
    fn new(common: Common) -> Self {
        Self { common, ip_options: Vec::new(), abort: false, bulk: None }
    }

    fn common(&mut self) -> &mut Common {
        &mut self.common
    }

    fn into_request(self) -> Request {
        Request::Tcp(self)
    }
}

impl Question for UdpRequest {
    fn new(common: Common) -> Self {
        Self { common, connected: false, size: 32, fragmented: false }
    }

    fn common(&mut self) -> &mut Common {
        &mut self.common
    }

    fn into_request(self) -> Request {
        Request::Udp(self)
    }
}
