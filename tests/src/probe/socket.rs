//! Client sockets with the options that requests name.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::{AsRawFd as _, BorrowedFd},
};

use rustix::net::{RecvFlags, recvfrom};
use socket2::{Domain, SockAddr, Socket, Type};

use super::{Common, Failure, Phase, Trouble};

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

/// A socket for what `common` says, bound to where it shall come from, and the address to use with
/// it.
pub(super) fn open(common: &Common, kind: Type) -> io::Result<(Socket, SockAddr)> {
    let to = match common.to.ip() {
        IpAddr::V4(address) if common.mapped => {
            SocketAddr::new(address.to_ipv6_mapped().into(), common.to.port())
        }
        _ => common.to,
    };
    let socket = Socket::new(Domain::for_address(to), kind, None)?;
    if common.from.is_some() || common.from_port.is_some() {
        let any: IpAddr =
            if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        if kind == Type::STREAM {
            socket.set_reuse_address(true)?;
        }
        let from = (common.from.unwrap_or(any), common.from_port.unwrap_or(0));
        socket.bind(&SocketAddr::from(from).into())?;
    }
    Ok((socket, to.into()))
}

/// The address of a listener or a server's socket as it was asked for, not yet bound.
pub(super) fn for_server(address: SocketAddr, kind: Type) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    Ok(socket)
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

/// No path MTU discovery: datagrams that are too long for a link are fragmented there.
pub(super) fn allow_fragments(socket: &Socket, to: &SockAddr) -> io::Result<()> {
    use std::os::fd::AsFd as _;
    let (level, name, value) = if to.is_ipv6() {
        (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_DONT)
    } else {
        (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DONT)
    };
    set_option(socket.as_fd(), level, name, &value.to_ne_bytes())
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
