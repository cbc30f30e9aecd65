//! Ioctls on devices by name: checksum offload, as `ethtool -K <device> tx` switches it, and layer-3
//! devices whose packets this process carries.
//!
//! With offload (the default of a veth) packets between namespaces carry unfinished checksums;
//! without it they are finished in software. Called by [`crate::host`] and [`crate::fabric`].

use std::{
    fs::{File, OpenOptions},
    io,
    net::UdpSocket,
    os::{
        fd::{AsFd as _, AsRawFd as _, BorrowedFd},
        unix::fs::OpenOptionsExt as _,
    },
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
/// `TUNSETIFF`.
const TUNSETIFF: libc::Ioctl = 0x4004_54ca;

/// Has `device` finish checksums in hardware (which a veth never does), or in software.
pub(crate) fn offload_checksums(namespace: &NetNs, device: &str, offloaded: bool) -> Result<()> {
    namespace.run(|| {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        set_tx_checksum(socket.as_fd(), device, offloaded)
            .with_context(|| format!("cannot switch checksum offload of {device}"))
    })
}

/// Makes the layer-3 device `name` in `namespace`. Its packets are read from the file, one a time,
/// and what is written there comes in by it. The device goes with the file.
pub(crate) fn make_tun(namespace: &NetNs, name: &str) -> Result<File> {
    namespace.run(|| {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open("/dev/net/tun")
            .context("cannot open /dev/net/tun: the kernel needs CONFIG_TUN")?;
        set_interface(&file, name).with_context(|| format!("cannot make the device {name}"))?;
        Ok(file)
    })
}

fn set_tx_checksum(socket: BorrowedFd<'_>, device: &str, offloaded: bool) -> io::Result<()> {
    let mut value = EthtoolValue { command: SET_TX_CHECKSUM, data: offloaded.into() };
    let mut request = request_for(device)?;
    request.ifr_ifru.ifru_data = (&raw mut value).cast();
    // SAFETY: the name ends with a zero, and the data is a live `ethtool_value`, as the command
    // wants it.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn set_interface(tun: &File, device: &str) -> io::Result<()> {
    let mut request = request_for(device)?;
    request.ifr_ifru.ifru_flags =
        (libc::IFF_TUN | libc::IFF_NO_PI).try_into().map_err(io::Error::other)?;
    // SAFETY: the name ends with a zero; the kernel reads name and flags, and writes the name back.
    let result = unsafe { libc::ioctl(tun.as_raw_fd(), TUNSETIFF, &raw mut request) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A request about the device `name`, with no data yet.
fn request_for(name: &str) -> io::Result<libc::ifreq> {
    // SAFETY: all-zero is a valid `ifreq`: an empty name and no data.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    let room = request.ifr_name.len() - 1;
    if name.len() > room {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from.cast_signed();
    }
    Ok(request)
}
