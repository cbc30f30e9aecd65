//! System calls that name an address, as the socket path sees them.

use proxy_common::{Be16, Protocol, Scope};
use proxy_ebpf::{socket::Socket, user::build::End};

use crate::stage::{Cast, Stage};

/// The node's network namespace.
pub(crate) const HOST: u64 = 4711;
/// A pod's.
pub(crate) const POD: u64 = 4712;

/// A call that names an address.
pub(crate) struct Call<A> {
    pub(crate) peer: End<A>,
    pub(crate) protocol: Protocol,
    pub(crate) cookie: u64,
    pub(crate) netns: u64,
}

impl<A: Cast> Socket<A> for Call<A> {
    fn peer(&self) -> (A, Be16) {
        (self.peer.0, Be16::new(self.peer.1))
    }

    fn set_peer(&mut self, address: A, port: Be16) {
        self.peer = (address, port.get());
    }

    fn protocol(&self) -> Protocol {
        self.protocol
    }

    fn cookie(&self) -> u64 {
        self.cookie
    }

    fn netns_cookie(&self) -> u64 {
        self.netns
    }
}

/// A call of a socket of that namespace.
pub(crate) fn call<A: Cast>(peer: End<A>, protocol: Protocol, netns: u64) -> Call<A> {
    // One socket of each.
    Call { peer, protocol, cookie: netns, netns }
}

impl Stage {
    /// The socket path serves sockets of that scope.
    pub(crate) fn with_scope(mut self, scope: Scope) -> Self {
        let config = &mut self.machine.config;
        config.host_netns_cookie = HOST;
        config.socket_lb_tcp = scope as u8;
        config.socket_lb_udp = scope as u8;
        self
    }
}
