//! The kernel's list of sockets (sock_diag(7)), and how one of them is destroyed.
//!
//! Sees the sockets of this network namespace. Destroying takes `CAP_NET_ADMIN` and a kernel built
//! with `CONFIG_INET_DIAG_DESTROY`. Called by [`crate::flows`].

use std::{io, net::SocketAddr};

use netlink_packet_sock_diag::{
    AF_INET, AF_INET6, IPPROTO_UDP, SockDiagDestroy, SockDiagMessage,
    inet::{ExtensionFlags, InetRequest, InetResponse, SocketId, StateFlags},
};
use rtnetlink::{
    packet_core::{
        NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
        NetlinkSerializable,
    },
    sys::{Socket, protocols::NETLINK_SOCK_DIAG},
};

/// A socket of sock_diag(7).
#[derive(Debug)]
pub struct SockDiag {
    netlink: Socket,
}

/// A connected socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connected {
    family: u8,
    id: SocketId,
}

impl Connected {
    /// Its cookie: the number that `bpf_get_socket_cookie` returns.
    #[must_use]
    pub fn cookie(&self) -> u64 {
        // Two words in host order, the lower one first (sock_diag_save_cookie).
        let [a, b, c, d, e, f, g, h] = self.id.cookie;
        let (low, high) = (u32::from_ne_bytes([a, b, c, d]), u32::from_ne_bytes([e, f, g, h]));
        u64::from(high) << 32 | u64::from(low)
    }

    /// Who it is connected to; an IPv6 socket may be connected to a mapped IPv4 address.
    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        SocketAddr::new(self.id.destination_address, self.id.destination_port)
    }
}

impl SockDiag {
    /// Opens one.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn open() -> io::Result<Self> {
        let mut netlink = Socket::new(NETLINK_SOCK_DIAG)?;
        netlink.bind_auto()?;
        Ok(Self { netlink })
    }

    /// The connected UDP sockets of both families.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn connected_udp(&self) -> io::Result<Vec<Connected>> {
        let mut sockets = Vec::new();
        for (family, socket_id) in [(AF_INET, SocketId::new_v4()), (AF_INET6, SocketId::new_v6())] {
            let request = SockDiagMessage::InetRequest(InetRequest {
                family,
                protocol: IPPROTO_UDP,
                extensions: ExtensionFlags::empty(),
                // Of UDP, those that have a peer.
                states: StateFlags::ESTABLISHED,
                socket_id,
            });
            self.send(request, NLM_F_REQUEST | NLM_F_DUMP)?;
            self.receive(|response| {
                sockets.push(Connected { family, id: response.header.socket_id });
            })?;
        }
        Ok(sockets)
    }

    /// Destroys the socket: its owner gets `ECONNABORTED` from the next call. False when it was
    /// closed meanwhile.
    ///
    /// # Errors
    /// `EOPNOTSUPP` when this kernel can't; otherwise what it said.
    pub fn destroy(&self, socket: &Connected) -> io::Result<bool> {
        let request = SockDiagMessage::InetRequest(InetRequest {
            family: socket.family,
            protocol: IPPROTO_UDP,
            extensions: ExtensionFlags::empty(),
            states: StateFlags::ESTABLISHED,
            // With its cookie in it, so no other socket is meant.
            socket_id: socket.id.clone(),
        });
        self.send(SockDiagDestroy::new(request), NLM_F_REQUEST | NLM_F_ACK)?;
        match self.receive(|_| ()) {
            Ok(()) => Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn send<T>(&self, message: T, flags: u16) -> io::Result<()>
    where
        T: NetlinkSerializable + Into<NetlinkPayload<T>>,
    {
        let mut header = NetlinkHeader::default();
        header.flags = flags;
        let mut message = NetlinkMessage::new(header, message.into());
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.netlink.send(&bytes, 0).map(drop)
    }

    /// Receives until the kernel says that that was all.
    fn receive(&self, mut visit: impl FnMut(InetResponse)) -> io::Result<()> {
        loop {
            let (datagram, _) = self.netlink.recv_from_full()?;
            let mut rest = datagram.as_slice();
            while !rest.is_empty() {
                let message = NetlinkMessage::<SockDiagMessage>::deserialize(rest)
                    .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
                // Messages begin at multiples of four bytes.
                let length = (message.header.length as usize).next_multiple_of(4);
                rest = rest.get(length..).unwrap_or_default();
                match message.payload {
                    NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(response)) => {
                        visit(*response);
                    }
                    NetlinkPayload::Done(_) => return Ok(()),
                    // The acknowledgement is an error without a number.
                    NetlinkPayload::Error(error) if error.code.is_none() => return Ok(()),
                    NetlinkPayload::Error(error) => return Err(error.to_io()),
                    _ => {}
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::SockDiag;

    #[test]
    fn a_connected_socket_is_found_and_destroyed_and_an_unconnected_one_is_not() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        let other = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.connect(server.local_addr().unwrap()).unwrap();
        let diag = SockDiag::open().unwrap();
        let sockets = diag.connected_udp().unwrap();
        let found: Vec<_> =
            sockets.iter().filter(|socket| socket.peer() == server.local_addr().unwrap()).collect();
        assert_eq!(found.len(), 1);
        assert!(diag.destroy(found[0]).unwrap());
        assert_eq!(client.recv(&mut [0]).unwrap_err().raw_os_error(), Some(libc::ECONNABORTED));
        assert!(!diag.destroy(found[0]).unwrap(), "it is gone");
        assert_eq!(other.send_to(b"x", server.local_addr().unwrap()).unwrap(), 1);
    }

    #[test]
    fn a_socket_with_a_mapped_peer_is_found_among_those_of_ipv6() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let client = UdpSocket::bind("[::]:0").unwrap();
        let port = server.local_addr().unwrap().port();
        client.connect(format!("[::ffff:127.0.0.1]:{port}")).unwrap();
        let diag = SockDiag::open().unwrap();
        let sockets = diag.connected_udp().unwrap();
        let found = sockets.iter().find(|socket| socket.peer().port() == port).unwrap();
        assert!(found.peer().is_ipv6());
        assert!(diag.destroy(found).unwrap());
        assert!(client.recv(&mut [0]).is_err());
    }
}
