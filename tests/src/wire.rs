//! A raw view of a device: what comes in and goes out, and frames sent as they are.
//!
//! Made of an `AF_PACKET` socket that belongs to the namespace it was opened in. Called by stories.

use std::{
    io::{self, Read as _},
    mem::size_of,
    os::fd::AsFd as _,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use rustix::net::netdevice::name_to_index;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::{NetNs, packet::Seen};

const FRAME_MAX: usize = 1 << 17;
const ETHERNET_HEADER: usize = 14;
/// Room for what comes between opening and looking.
const RECEIVE_BUFFER: usize = 8 << 20;

/// A device of a host, listened to from the moment it was opened.
pub struct Wire {
    device: String,
    /// Length of the link-layer header.
    header: usize,
    socket: Socket,
}

impl Wire {
    /// Opens `device` in `namespace`.
    pub(crate) fn open(namespace: &NetNs, device: &str) -> Result<Self> {
        let protocol = u16::try_from(libc::ETH_P_ALL).expect("ETH_P_ALL is 3").to_be();
        let socket = namespace.run(|| {
            // Without a protocol it hears nothing until it is bound to the device.
            let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(0)))?;
            let index = name_to_index(socket.as_fd(), device)
                .with_context(|| format!("no device {device}"))?;
            socket.bind(&link_layer_address(protocol, index)?)?;
            socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
            Ok(socket)
        })?;
        let links = namespace.ip_json(&["link", "show", "dev", device])?;
        let header = if links[0]["link_type"] == "none" { 0 } else { ETHERNET_HEADER };
        Ok(Self { device: device.to_owned(), header, socket })
    }

    /// Sends a frame as it is.
    pub fn send(&self, frame: &[u8]) -> Result<()> {
        self.socket.send(frame).with_context(|| format!("cannot send on {}", self.device))?;
        Ok(())
    }

    /// The first packet, in either direction, that `wanted` picks.
    pub fn expect(
        &self,
        patience: Duration,
        mut wanted: impl FnMut(&Seen) -> bool,
    ) -> Result<Seen> {
        let mut others = Vec::new();
        let start = Instant::now();
        while let Some(seen) = self.next(patience.saturating_sub(start.elapsed()))? {
            if wanted(&seen) {
                return Ok(seen);
            }
            others.push(seen);
        }
        bail!("{} did not carry what was waited for; it carried {others:#?}", self.device)
    }

    /// All packets until `quiet` has passed without one that `wanted` picks.
    pub fn collect(&self, quiet: Duration, wanted: impl Fn(&Seen) -> bool) -> Result<Vec<Seen>> {
        let mut found = Vec::new();
        let mut last = Instant::now();
        while let Some(seen) = self.next(quiet.saturating_sub(last.elapsed()))? {
            if wanted(&seen) {
                found.push(seen);
                last = Instant::now();
            }
        }
        Ok(found)
    }

    /// The next IP packet, or `None` when `patience` has passed.
    fn next(&self, patience: Duration) -> Result<Option<Seen>> {
        let start = Instant::now();
        let mut buffer = vec![0; FRAME_MAX];
        loop {
            let left = patience.saturating_sub(start.elapsed());
            // A time-out of zero would mean to wait for ever.
            self.socket.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
            let length = match (&self.socket).read(&mut buffer) {
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                // The device went down; what was received stays.
                Err(error) if error.raw_os_error() == Some(libc::ENETDOWN) => continue,
                Err(error) => return Err(error.into()),
            };
            if let Some(seen) = buffer[..length].get(self.header..).and_then(Seen::parse) {
                return Ok(Some(seen));
            }
            if left.is_zero() {
                return Ok(None);
            }
        }
    }
}

fn link_layer_address(protocol: u16, index: u32) -> Result<SockAddr> {
    let address = libc::sockaddr_ll {
        sll_family: u16::try_from(libc::AF_PACKET)?,
        sll_protocol: protocol,
        sll_ifindex: i32::try_from(index)?,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let length = libc::socklen_t::try_from(size_of::<libc::sockaddr_ll>())?;
    // SAFETY: `sockaddr_storage` has room and alignment for every address, and the whole of
    // `sockaddr_ll` is written before its length is told.
    let ((), address) = unsafe {
        SockAddr::try_init(|storage, storage_length| {
            storage.cast::<libc::sockaddr_ll>().write(address);
            storage_length.write(length);
            Ok(())
        })
    }?;
    Ok(address)
}
