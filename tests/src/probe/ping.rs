//! Echo requests over a raw socket.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use socket2::{Domain, Protocol, Socket, Type};

use super::{
    Failure, Phase, PingRequest, Report,
    socket::{self, Stopwatch},
};
use crate::packet;

/// Does `request`.
pub(super) fn request(request: &PingRequest) -> Report {
    let watch = Stopwatch::start();
    match ping(request) {
        Ok(from) => Report::Echo { from },
        Err(error) => {
            let Failure { phase, trouble, after_us } = watch.failure(Phase::Exchange, &error);
            Report::Failure(Failure { phase, trouble, after_us })
        }
    }
}

fn ping(request: &PingRequest) -> io::Result<Option<IpAddr>> {
    let patience = Duration::from_millis(request.timeout_ms);
    let to = SocketAddr::new(request.to, 0);
    let (protocol, reply_type, header) = match request.to {
        IpAddr::V4(_) => (Protocol::ICMPV4, packet::ICMP_ECHO_REPLY, packet::IPV4_HEADER),
        IpAddr::V6(_) => (Protocol::ICMPV6, packet::ICMPV6_ECHO_REPLY, 0),
    };
    let socket = Socket::new(Domain::for_address(to), Type::RAW, Some(protocol))?;
    let identifier = u16::try_from(std::process::id() & 0xffff).unwrap_or_default();
    let message = packet::echo_request(request.to, identifier);
    socket.send_to(&message, &to.into())?;
    let start = Instant::now();
    while let Some(left) = patience.checked_sub(start.elapsed()).filter(|left| !left.is_zero()) {
        socket.set_read_timeout(Some(left))?;
        let mut buffer = [0; 2048];
        let (length, from) = match socket::receive(&socket, &mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            other => other?,
        };
        let is_reply = buffer[..length].get(header..).is_some_and(|icmp| {
            icmp.first() == Some(&reply_type) && icmp.get(4..6) == Some(&identifier.to_be_bytes())
        });
        if is_reply {
            return Ok(Some(from.ip()));
        }
    }
    Ok(None)
}
