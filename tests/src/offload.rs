//! Checksum offload of a device, switched as `ethtool -K <device> tx` does.
//!
//! With it (the default of a veth) packets between namespaces carry unfinished checksums; without
//! it they are finished in software. Called by [`crate::host`].

use std::{
    io,
    net::UdpSocket,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd},
};

use anyhow::{Context as _, Result};

use crate::NetNs;

/// `struct ethtool_value` of `linux/ethtool.h`.
#[repr(C)]
struct EthtoolValue {
    command: u32,
    data: u32,
}

/// `ETHTOOL_STXCSUM`.
const SET_TX_CHECKSUM: u32 = 0x17;
/// `SIOCETHTOOL`.
const SIOCETHTOOL: libc::Ioctl = 0x8946;

/// Has `device` finish checksums in hardware (which a veth never does), or in software.
pub(crate) fn set(namespace: &NetNs, device: &str, offloaded: bool) -> Result<()> {
    namespace.run(|| {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        set_tx_checksum(socket.as_fd(), device, offloaded)
            .with_context(|| format!("cannot switch checksum offload of {device}"))
    })
}

fn set_tx_checksum(socket: BorrowedFd<'_>, device: &str, offloaded: bool) -> io::Result<()> {
    let mut value = EthtoolValue { command: SET_TX_CHECKSUM, data: offloaded.into() };
    // SAFETY: all-zero is a valid `ifreq`: an empty name and no data.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    let room = request.ifr_name.len() - 1;
    if device.len() > room {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (to, from) in request.ifr_name.iter_mut().zip(device.bytes()) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_data = (&raw mut value).cast();
    // SAFETY: the name ends with a zero, and the data is a live `ethtool_value`, as the command
    // wants it.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
