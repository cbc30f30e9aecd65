//! Sockets that were translated at connect() or sendmsg().

use bytemuck::Zeroable;

use crate::{Address, Be16, ServiceId};

/// A socket and the endpoint it was sent to: the key of `SOCKETS_V4` and `SOCKETS_V6`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct SocketKey<A: Address> {
    /// The socket's cookie (`bpf_get_socket_cookie`), unique until reboot.
    pub cookie: u64,
    /// The endpoint's address.
    pub address: A,
    /// The endpoint's port.
    pub port: Be16,
    /// Zero.
    pub pad: [u8; 6],
    /// Zero.
    pub align: A::Align,
}

impl<A: Address> SocketKey<A> {
    /// A key from its parts.
    #[inline(always)]
    #[must_use]
    pub fn new(cookie: u64, address: A, port: Be16) -> Self {
        Self { cookie, address, port, pad: [0; 6], align: A::Align::zeroed() }
    }
}

/// The frontend that the socket's owner asked for, and is shown by `getpeername()` and
/// `recvfrom()`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct SocketOrigin<A> {
    /// The frontend's address.
    pub address: A,
    /// The frontend's port.
    pub port: Be16,
    /// Zero.
    pub pad: [u8; 2],
    /// The Service port.
    pub service: ServiceId,
}

impl<A: Address> SocketOrigin<A> {
    /// An origin from its parts.
    #[inline(always)]
    #[must_use]
    pub fn new(address: A, port: Be16, service: ServiceId) -> Self {
        Self { address, port, pad: [0; 2], service }
    }
}
