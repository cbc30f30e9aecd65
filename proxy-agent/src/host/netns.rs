//! The network namespace that the agent runs in: the node's, whatever namespaces lie around it.
//!
//! Called by [`crate::agent`], [`crate::devices`] and [`crate::cli`]. The one `unsafe` here is a getsockopt that no safe wrapper has.

use std::{io, os::fd::AsRawFd};

use rustix::net::{AddressFamily, SocketType, netdevice::index_to_name, socket};

/// The cookie of this network namespace (`SO_NETNS_COOKIE`, kernel ≥ 5.14): the number that
/// `bpf_get_netns_cookie` returns for its sockets. Unique until reboot.
///
/// # Errors
/// When the kernel is too old to tell, or no socket can be opened.
pub fn cookie() -> io::Result<u64> {
    let socket = socket(AddressFamily::INET, SocketType::DGRAM, None)?;
    let mut cookie = 0u64;
    let mut length: libc::socklen_t = 8;
    // SAFETY: `cookie` and `length` outlive the call, and `length` is the size of `cookie`.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    if result == 0 { Ok(cookie) } else { Err(io::Error::last_os_error()) }
}

/// The name of the device with this number, if there is one in this network namespace.
#[must_use]
pub fn device_name(ifindex: u32) -> Option<String> {
    let socket = socket(AddressFamily::INET, SocketType::DGRAM, None).ok()?;
    index_to_name(socket, ifindex).ok()
}

#[cfg(test)]
mod tests {
    use super::{cookie, device_name};

    #[test]
    fn the_cookie_of_a_namespace_stays() {
        assert_eq!(cookie().unwrap(), cookie().unwrap());
    }

    #[test]
    fn a_device_is_named_by_its_number() {
        assert_eq!(device_name(1).as_deref(), Some("lo"));
        assert_eq!(device_name(u32::MAX >> 1), None);
    }
}
