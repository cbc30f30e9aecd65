//! UDP sockets of the node that are bound to an endpoint which has stopped serving.
//!
//! `connect()` and the first `sendmsg()` have fixed the endpoint that a socket's datagrams go to;
//! nothing would ever tell the socket that it is gone. A connected socket is destroyed: its owner
//! gets `ECONNABORTED` and makes another one. An unconnected one is left alone, and forgets its
//! endpoint: the next datagram selects anew.
//!
//! Only sockets that the datapath has translated are meant: those with an element in `SOCKETS_*`
//! for that very endpoint. A socket that its owner has connected to the endpoint is none of our
//! business, and so are pods' sockets, which are in other network namespaces. Called by
//! [`crate::flows::sweeper`].

use std::{
    collections::HashSet,
    io,
    net::{IpAddr, SocketAddr},
};

use proxy_common::{Address, Frontend, Protocol, Service, SocketKey, SocketPeer};

use super::serving::Serving;
use crate::{
    datapath::{
        map::{Map, MapError},
        tables::Family,
    },
    host::sock_diag::SockDiag,
};

/// A socket by its cookie, and the endpoint it is bound to.
pub type Bound = (u64, SocketAddr);

/// The maps of a family that sockets are found in.
#[derive(Debug)]
pub struct SocketMaps<'a, A: Family> {
    /// `SOCKETS_*`
    pub sockets: &'a Map<SocketKey<A>, SocketPeer<A>>,
    /// `SERVICES_*`
    pub frontends: &'a Map<Frontend<A>, Service>,
}

/// Elements of a family that were seen to already.
#[derive(Debug)]
pub struct Seen<A: Address> {
    keys: HashSet<SocketKey<A>>,
}

impl<A: Address> Default for Seen<A> {
    fn default() -> Self {
        Self { keys: HashSet::new() }
    }
}

/// Lets unconnected sockets forget endpoints that have stopped serving, and finds the sockets that
/// may be connected to one: those that were not found by an earlier call.
///
/// # Errors
/// When a map can't be read or written.
pub fn release<A: Family>(
    maps: &SocketMaps<'_, A>,
    serving: &Serving,
    seen: &mut Seen<A>,
) -> Result<Vec<Bound>, MapError> {
    let mut stale = HashSet::new();
    maps.sockets.for_each(|key, peer| {
        if is_stale(&key, &peer, serving) {
            stale.insert(key);
        }
    })?;
    let mut bound = Vec::new();
    for key in stale.difference(&seen.keys) {
        let frontend = Frontend::new(key.address, key.port, Protocol::UDP);
        if maps.frontends.get(&frontend)?.is_some() {
            // What still comes from the endpoint goes by the other element, and shows the frontend.
            maps.sockets.delete(key)?;
        } else {
            bound.push((key.cookie, SocketAddr::new(key.address.to_ip(), key.port.get())));
        }
    }
    seen.keys = stale;
    Ok(bound)
}

/// Whether an element leads from or to an endpoint that has stopped serving. One of the two ends is
/// a frontend, and a frontend serves nowhere.
fn is_stale<A: Address>(key: &SocketKey<A>, peer: &SocketPeer<A>, serving: &Serving) -> bool {
    [(key.address, key.port), (peer.address, peer.port)]
        .into_iter()
        .all(|end| serving.is_stale(Protocol::UDP, peer.service, end))
}

/// Destroys sockets of this network namespace.
#[derive(Debug)]
pub struct Destroyer {
    enabled: bool,
}

/// What a [`Destroyer`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destroyed {
    /// So many sockets were destroyed.
    Sockets(usize),
    /// The kernel can't do it; it won't be asked again.
    Unsupported,
}

impl Destroyer {
    /// One that destroys nothing unless `enabled`.
    #[must_use]
    pub const fn new(enabled: bool) -> Self {
        Self { enabled }
    }

    /// Destroys those connected UDP sockets that are among `bound`.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn destroy(&mut self, bound: &[Bound]) -> io::Result<Destroyed> {
        if !self.enabled || bound.is_empty() {
            return Ok(Destroyed::Sockets(0));
        }
        let bound: HashSet<&Bound> = bound.iter().collect();
        let diag = SockDiag::open()?;
        let mut destroyed = 0;
        for socket in diag.connected_udp()? {
            if !bound.contains(&(socket.cookie(), canonical(socket.peer()))) {
                continue;
            }
            match diag.destroy(&socket) {
                Ok(there) => destroyed += usize::from(there),
                Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {
                    self.enabled = false;
                    return Ok(Destroyed::Unsupported);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Destroyed::Sockets(destroyed))
    }
}

/// An IPv4 address that an IPv6 socket is connected to, as the IPv4 address that it is.
fn canonical(address: SocketAddr) -> SocketAddr {
    let ip: IpAddr = address.ip().to_canonical();
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {
    use proxy_common::{BackendId, Be16, ServiceId, SocketKey, SocketPeer, V4};

    use super::{Serving, canonical, is_stale};

    const DNS: ServiceId = ServiceId::new(7);

    fn end(text: &str) -> (V4, Be16) {
        let address: std::net::SocketAddrV4 = text.parse().unwrap();
        (V4::new(address.ip().octets()), Be16::new(address.port()))
    }

    fn stale(key: &str, peer: &str, serving: &Serving) -> bool {
        let (key, peer) = (end(key), end(peer));
        let key = SocketKey::new(1, key.0, key.1);
        is_stale(&key, &SocketPeer::new(peer.0, peer.1, DNS, BackendId::new(1)), serving)
    }

    #[test]
    fn both_elements_of_a_socket_are_stale_when_its_endpoint_is() {
        let mut serving = Serving::default();
        serving.set(DNS, ["10.1.0.1:53".parse().unwrap()]);
        assert!(!stale("10.1.0.1:53", "10.96.0.10:53", &serving));
        assert!(!stale("10.96.0.10:53", "10.1.0.1:53", &serving));
        assert!(stale("10.1.0.2:53", "10.96.0.10:53", &serving));
        assert!(stale("10.96.0.10:53", "10.1.0.2:53", &serving));
    }

    #[test]
    fn where_nobody_serves_sockets_stay() {
        let mut serving = Serving::default();
        serving.set(DNS, []);
        assert!(!stale("10.1.0.2:53", "10.96.0.10:53", &serving));
    }

    #[test]
    fn a_mapped_address_is_the_address_it_maps() {
        let mapped = "[::ffff:10.1.0.1]:53".parse().unwrap();
        assert_eq!(canonical(mapped), "10.1.0.1:53".parse().unwrap());
        let v6 = "[2001:db8::1]:53".parse().unwrap();
        assert_eq!(canonical(v6), v6);
    }
}
