//! Sockets that were translated at connect() or sendmsg().

use bytemuck::{Pod, Zeroable};

use crate::{Address, BackendId, Be16, ServiceId};

/// A socket and one of its peers: the key of `SOCKETS_V4` and `SOCKETS_V6`.
///
/// With an endpoint as the peer, the element says which frontend the socket's owner asked for; with
/// a frontend as the peer (unconnected UDP only), which endpoint its datagrams go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct SocketKey<A: Address> {
    /// The socket's cookie (`bpf_get_socket_cookie`), unique until reboot.
    pub cookie: u64,
    /// The peer's address.
    pub address: A,
    /// The peer's port.
    pub port: Be16,
    /// Zero.
    pub pad16: u16,
    /// Zero.
    pub pad32: u32,
    /// Zero.
    pub align: A::Align,
}

impl<A: Address> SocketKey<A> {
    /// A key from its parts.
    #[inline(always)]
    #[must_use]
    pub fn new(cookie: u64, address: A, port: Be16) -> Self {
        Self { cookie, address, port, pad16: 0, pad32: 0, align: A::Align::zeroed() }
    }
}

/// A connected socket that counts as an open flow of its backend: the value of `COUNTED_SOCKETS`,
/// keyed by the socket's cookie (`u64`). Only Services that pick by
/// [`crate::Algorithm::LeastConnections`] have them; the element goes when the socket is released.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
#[repr(C)]
pub struct CountedSocket {
    /// The endpoint.
    pub backend: BackendId,
    /// 4 or 6: which of `BACKENDS_V4` and `BACKENDS_V6` the id belongs to.
    pub family: u32,
}

/// The other name of a socket's peer: the frontend behind an endpoint, or the endpoint behind a
/// frontend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct SocketPeer<A> {
    /// Its address.
    pub address: A,
    /// Its port.
    pub port: Be16,
    /// Zero.
    pub pad16: u16,
    /// The Service port.
    pub service: ServiceId,
    /// The endpoint.
    pub backend: BackendId,
}

impl<A: Address> SocketPeer<A> {
    /// A peer from its parts.
    #[inline(always)]
    #[must_use]
    pub fn new(address: A, port: Be16, service: ServiceId, backend: BackendId) -> Self {
        Self { address, port, pad16: 0, service, backend }
    }
}
