//! The kernel's connection tracking (netfilter): which connections go by another source than their
//! client's, and places that are kept from being given to one.
//!
//! Speaks netlink; takes `CAP_NET_ADMIN`. Loads no module: where nothing tracks connections in this
//! network namespace, there is nothing to ask. Called by [`crate::flows`].

use std::{
    io,
    net::{IpAddr, SocketAddr},
    path::Path,
    time::Duration,
};

use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily as Proto,
    conntrack::{
        ConntrackAttribute, ConntrackMessage, IPTuple, ProtoInfo, ProtoInfoTCP, ProtoTuple, Tuple,
    },
};
use rtnetlink::packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST};

use super::netfilter::{Netfilter, append};

/// There when connections are tracked in this network namespace, or can be at once.
const COUNT: &str = "/proc/sys/net/netfilter/nf_conntrack_count";
/// `TCP_CONNTRACK_ESTABLISHED`
const ESTABLISHED: u8 = 3;
const TCP: u8 = 6;

/// A connection as it leaves this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Connection {
    /// Its protocol's number.
    pub protocol: u8,
    /// Where it comes from, to its server: an address of this node.
    pub source: SocketAddr,
    /// Its server.
    pub destination: SocketAddr,
}

impl Connection {
    /// The way of its answers.
    fn back(&self) -> Way {
        Way { protocol: self.protocol, source: self.destination, destination: self.source }
    }
}

/// A socket that connection tracking listens at.
#[derive(Debug)]
pub struct Conntrack {
    netlink: Netfilter,
}

impl Conntrack {
    /// Opens one; `None` where nothing tracks connections.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn open() -> io::Result<Option<Self>> {
        if !Path::new(COUNT).exists() {
            return Ok(None);
        }
        Ok(Some(Self { netlink: Netfilter::open()? }))
    }

    /// Every connection whose source is translated.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn masqueraded(&self) -> io::Result<Vec<Connection>> {
        let mut found = Vec::new();
        let request = ConntrackMessage::Get(Vec::new());
        self.netlink.dump(Proto::Unspec, request, |_, message| {
            if let NetfilterMessageInner::Conntrack(ConntrackMessage::New(attributes)) = message {
                found.extend(masqueraded(&attributes));
            }
        })?;
        Ok(found)
    }

    /// Keeps the place of `connection` from being given to another one, for so long. Whether it was
    /// free: who has it keeps it, for so long too, even if it is a connection that has ended.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn reserve(&self, connection: &Connection, time: Duration) -> io::Result<bool> {
        let new = NLM_F_CREATE | NLM_F_EXCL;
        match self.write(connection, reservation(connection, time), new) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            result => return result.map(|()| true),
        }
        match self.write(connection, prolongation(connection, time), 0) {
            // It has gone in this moment.
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ETIME)) => {
                Ok(false)
            }
            result => result.map(|()| false),
        }
    }

    /// Writes about a connection of the family of `connection`.
    fn write(
        &self,
        connection: &Connection,
        attributes: Vec<ConntrackAttribute>,
        flags: u16,
    ) -> io::Result<()> {
        let family = match connection.source {
            SocketAddr::V4(_) => Proto::IPv4,
            SocketAddr::V6(_) => Proto::IPv6,
        };
        let request = ConntrackMessage::New(attributes);
        let message = NetfilterMessage::new(NetfilterHeader::new(family, 0, 0), request);
        let mut bytes = Vec::new();
        append(&mut bytes, 1, NLM_F_REQUEST | NLM_F_ACK | flags, message);
        self.netlink.send(&bytes)?;
        self.netlink.receive(|_, _| ())
    }
}

/// One way of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Way {
    protocol: u8,
    source: SocketAddr,
    destination: SocketAddr,
}

impl Way {
    fn read(tuples: &[Tuple]) -> Option<Self> {
        let (mut from, mut to) = (None, None);
        let (mut protocol, mut from_port, mut to_port) = (None, None, None);
        for tuple in tuples {
            match tuple {
                Tuple::Ip(parts) => {
                    for part in parts {
                        match part {
                            IPTuple::SourceAddress(address) => from = Some(*address),
                            IPTuple::DestinationAddress(address) => to = Some(*address),
                            _ => {}
                        }
                    }
                }
                Tuple::Proto(parts) => {
                    for part in parts {
                        match part {
                            ProtoTuple::Protocol(number) => protocol = Some((*number).into()),
                            ProtoTuple::SourcePort(port) => from_port = Some(*port),
                            ProtoTuple::DestinationPort(port) => to_port = Some(*port),
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        Some(Self {
            protocol: protocol?,
            source: (from?, from_port?).into(),
            destination: (to?, to_port?).into(),
        })
    }

    fn written(&self) -> Vec<Tuple> {
        let address = |of: SocketAddr| -> IpAddr { of.ip() };
        vec![
            Tuple::Ip(vec![
                IPTuple::SourceAddress(address(self.source)),
                IPTuple::DestinationAddress(address(self.destination)),
            ]),
            Tuple::Proto(vec![
                ProtoTuple::Protocol(self.protocol.into()),
                ProtoTuple::SourcePort(self.source.port()),
                ProtoTuple::DestinationPort(self.destination.port()),
            ]),
        ]
    }
}

fn masqueraded(attributes: &[ConntrackAttribute]) -> Option<Connection> {
    let (mut asked, mut answered) = (None, None);
    for attribute in attributes {
        match attribute {
            ConntrackAttribute::CtaTupleOrig(tuples) => asked = Way::read(tuples),
            ConntrackAttribute::CtaTupleReply(tuples) => answered = Way::read(tuples),
            _ => {}
        }
    }
    let (asked, answered) = (asked?, answered?);
    (asked.source != answered.destination).then_some(Connection {
        protocol: answered.protocol,
        source: answered.destination,
        destination: answered.source,
    })
}

/// Time left, as the kernel wants it.
fn timeout(time: Duration) -> ConntrackAttribute {
    ConntrackAttribute::CtaTimeout(u32::try_from(time.as_secs()).unwrap_or(u32::MAX).max(1))
}

/// A connection of the same place, whose answers find it whoever opened it.
fn prolongation(connection: &Connection, time: Duration) -> Vec<ConntrackAttribute> {
    vec![ConntrackAttribute::CtaTupleReply(connection.back().written()), timeout(time)]
}

fn reservation(connection: &Connection, time: Duration) -> Vec<ConntrackAttribute> {
    let Connection { protocol, source, destination } = *connection;
    let there = Way { protocol, source, destination };
    let mut attributes = vec![
        ConntrackAttribute::CtaTupleOrig(there.written()),
        ConntrackAttribute::CtaTupleReply(connection.back().written()),
        timeout(time),
    ];
    if protocol == TCP {
        let state = ProtoInfoTCP::State(ESTABLISHED);
        attributes.push(ConntrackAttribute::CtaProtoInfo(vec![ProtoInfo::TCP(vec![state])]));
    }
    attributes
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use netlink_packet_netfilter::conntrack::ConntrackAttribute;

    use super::{Connection, Way, masqueraded, reservation};

    fn way(source: &str, destination: &str) -> Way {
        Way {
            protocol: 6,
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
        }
    }

    #[test]
    fn a_connection_counts_when_its_answers_go_to_somebody_else_than_its_client() {
        let asked = way("192.0.2.9:40000", "172.18.0.2:30080").written();
        let both = |answered: Way| {
            masqueraded(&[
                ConntrackAttribute::CtaTupleOrig(asked.clone()),
                ConntrackAttribute::CtaTupleReply(answered.written()),
            ])
        };
        assert_eq!(both(way("10.244.1.5:8080", "192.0.2.9:40000")), None);
        let expected = Connection {
            protocol: 6,
            source: "172.18.0.2:12345".parse().unwrap(),
            destination: "10.244.1.5:8080".parse().unwrap(),
        };
        assert_eq!(both(way("10.244.1.5:8080", "172.18.0.2:12345")), Some(expected));
    }

    #[test]
    fn a_reservation_is_no_translation() {
        let connection = Connection {
            protocol: 17,
            source: "[fd00::2]:12345".parse().unwrap(),
            destination: "[fd00:10::5]:53".parse().unwrap(),
        };
        assert_eq!(masqueraded(&reservation(&connection, Duration::from_secs(9))), None);
    }
}
