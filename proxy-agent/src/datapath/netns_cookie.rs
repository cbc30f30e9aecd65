//! The cookie of this network namespace on a kernel without `SO_NETNS_COOKIE` (before 5.14): a BPF
//! program can read it of a socket, so one is attached until a socket of ours was bound.
//!
//! Pins nothing; when [`learn`] returns, nothing is left. Called by [`crate::agent`].

use std::{
    io,
    net::{Ipv4Addr, SocketAddrV4},
    os::fd::BorrowedFd,
};

use aya::{
    EbpfError, EbpfLoader,
    maps::{Array, MapError},
    programs::{CgroupAttachMode, CgroupSock, ProgramError},
};
use rustix::net::{AddressFamily, SocketType, bind, socket, sockopt::socket_cookie};

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/netns-cookie"));

/// Why the cookie isn't known.
#[derive(Debug, thiserror::Error)]
pub enum NetnsCookieError {
    /// A socket can't be made, or bound to any port.
    #[error("a UDP socket: {0}")]
    Socket(#[from] io::Error),
    /// The object.
    #[error("loading the program that reads the cookie: {}", super::object::chain(.0))]
    Object(#[from] EbpfError),
    /// Its program.
    #[error("the program that reads the cookie: {}", super::object::chain(.0))]
    Program(#[from] ProgramError),
    /// Its map.
    #[error("the map that the cookie is in: {}", super::object::chain(.0))]
    Map(#[from] MapError),
    /// The program did not see the socket.
    #[error(
        "no program of the cgroup saw the agent's own socket: start the agent inside --cgroup-root"
    )]
    Elsewhere,
}

/// Has a socket of ours bound while a program at `cgroup` looks. The agent must be inside of it.
///
/// # Errors
/// See [`NetnsCookieError`].
pub fn learn(cgroup: BorrowedFd<'_>) -> Result<u64, NetnsCookieError> {
    let socket = socket(AddressFamily::INET, SocketType::DGRAM, None).map_err(io::Error::from)?;
    let wanted = socket_cookie(&socket).map_err(io::Error::from)?;
    let mut loader = EbpfLoader::new();
    let mut object = loader.override_global("SOCKET_COOKIE", &wanted, true).load(OBJECT)?;
    let program = object.program_mut("tell_netns").ok_or(NetnsCookieError::Elsewhere)?;
    let program: &mut CgroupSock = program.try_into()?;
    program.load()?;
    // By a link, which leaves others be; old kernels want to be told no mode.
    program.attach(cgroup, CgroupAttachMode::Single)?;
    bind(&socket, &SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0)).map_err(io::Error::from)?;
    let map = object.map("NETNS_COOKIE").ok_or(NetnsCookieError::Elsewhere)?;
    let answers: Array<_, u64> = map.try_into()?;
    match answers.get(&0, 0)? {
        0 => Err(NetnsCookieError::Elsewhere),
        cookie => Ok(cookie),
    }
}
