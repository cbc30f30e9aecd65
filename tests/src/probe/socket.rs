//! Client sockets with the options that requests name.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::{AsRawFd as _, BorrowedFd},
};

use rustix::net::{RecvFlags, recvfrom};
use socket2::{Domain, SockAddr, Socket, Type};

use super::{Failure, Phase, Trouble};

/// A clock and a phase, to report failures with.
pub(super) struct Stopwatch {
    start: std::time::Instant,
}

impl Stopwatch {
    pub(super) fn start() -> Self {
        Self { start: std::time::Instant::now() }
    }

    pub(super) fn microseconds(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// The failure of `phase` by `error`.
    pub(super) fn failure(&self, phase: Phase, error: &io::Error) -> Failure {
        Failure { phase, trouble: Trouble::from(error), after_us: self.microseconds() }
    }
}

/// A socket for `to`, bound to the port it shall come from, and the address to use with it.
pub(super) fn open(
    to: SocketAddr,
    kind: Type,
    mapped: bool,
    from_port: Option<u16>,
) -> io::Result<(Socket, SockAddr)> {
    let to = match to.ip() {
        IpAddr::V4(address) if mapped => {
            SocketAddr::new(address.to_ipv6_mapped().into(), to.port())
        }
        _ => to,
    };
    let socket = Socket::new(Domain::for_address(to), kind, None)?;
    if let Some(port) = from_port {
        let any: IpAddr =
            if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        if kind == Type::STREAM {
            socket.set_reuse_address(true)?;
        }
        socket.bind(&SocketAddr::new(any, port).into())?;
    }
    Ok((socket, to.into()))
}

/// Receives a datagram, and says where it came from.
pub(super) fn receive(socket: &Socket, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
    let (length, _, from) = recvfrom(socket, buffer, RecvFlags::empty())?;
    let from = from.ok_or(io::ErrorKind::InvalidData)?;
    Ok((length, SocketAddr::try_from(from)?))
}

/// `setsockopt(IPPROTO_IP, IP_OPTIONS)`: options for every packet of the socket.
pub(super) fn set_ip_options(socket: BorrowedFd<'_>, options: &[u8]) -> io::Result<()> {
    set_option(socket, libc::IPPROTO_IP, libc::IP_OPTIONS, options)
}

/// Has ICMP errors reported on an unconnected UDP socket too (`IP_RECVERR`, `IPV6_RECVERR`).
pub(super) fn report_icmp_errors(socket: &Socket, to: &SockAddr) -> io::Result<()> {
    use std::os::fd::AsFd as _;
    let on = 1i32.to_ne_bytes();
    if to.is_ipv6() {
        set_option(socket.as_fd(), libc::IPPROTO_IPV6, libc::IPV6_RECVERR, &on)?;
    }
    // A v6 socket sends v4-mapped datagrams too; on a socket that can't it does no harm.
    match set_option(socket.as_fd(), libc::IPPROTO_IP, libc::IP_RECVERR, &on) {
        Err(_) if to.is_ipv6() => Ok(()),
        other => other,
    }
}

fn set_option(
    socket: BorrowedFd<'_>,
    level: libc::c_int,
    name: libc::c_int,
    value: &[u8],
) -> io::Result<()> {
    let length = libc::socklen_t::try_from(value.len()).map_err(io::Error::other)?;
    // SAFETY: the pointer and the length are those of a live slice, which the kernel only reads.
    let result =
        unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, value.as_ptr().cast(), length) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
