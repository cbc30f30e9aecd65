//! Who listens on a TCP port of this network namespace: `/proc/net/tcp` knows the socket, and
//! `/proc/PID/fd` whose it is.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
};

use crate::host::lock::Holder;

/// `st` of a socket that listens (`TCP_LISTEN` of include/net/tcp_states.h).
const LISTEN: &str = "0A";

/// Who listens where `address` can't be listened on for that; `None` if nobody does, or a process
/// that was just ending.
pub(super) fn of(address: SocketAddr) -> Option<Holder> {
    let inode = ["/proc/net/tcp", "/proc/net/tcp6"].into_iter().find_map(|table| {
        let text = fs::read_to_string(table).ok()?;
        inode_in(&text, address)
    })?;
    let pid = processes().find(|pid| has_socket(*pid, inode));
    let command = pid.and_then(|pid| fs::read(format!("/proc/{pid}/cmdline")).ok());
    let command = command
        .map(|bytes| String::from_utf8_lossy(&bytes).trim_end_matches('\0').replace('\0', " "));
    Some(Holder { pid, command })
}

/// The inode of a socket that listens on `address`'s port, and on its address or on all.
fn inode_in(table: &str, address: SocketAddr) -> Option<u64> {
    // sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode …
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (local, state, inode) = (fields.get(1)?, fields.get(3)?, fields.get(9)?);
        let (host, port) = local.split_once(':')?;
        let same_port = u16::from_str_radix(port, 16).ok()? == address.port();
        let host = parse_host(host)?;
        let collides = address.ip().is_unspecified() || host.is_unspecified() || {
            let canonical = host.to_canonical();
            canonical == address.ip()
        };
        (*state == LISTEN && same_port && collides).then(|| inode.parse().ok())?
    })
}

/// An address as the kernel prints it: words in the machine's order.
fn parse_host(text: &str) -> Option<IpAddr> {
    let words: Vec<[u8; 4]> = (0..text.len() / 8)
        .map(|i| {
            let word = text.get(8 * i..8 * i + 8)?;
            Some(u32::from_str_radix(word, 16).ok()?.to_ne_bytes())
        })
        .collect::<Option<_>>()?;
    match words.as_slice() {
        [word] => Some(IpAddr::V4(Ipv4Addr::from(*word))),
        [_, _, _, _] => {
            let mut octets = [0; 16];
            for (octets, word) in octets.chunks_mut(4).zip(&words) {
                octets.copy_from_slice(word);
            }
            Some(IpAddr::V6(Ipv6Addr::from(octets)))
        }
        _ => None,
    }
}

fn processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn has_socket(pid: u32, inode: u64) -> bool {
    let wanted = format!("socket:[{inode}]");
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .any(|link| link.as_path() == Path::new(&wanted))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::{inode_in, of};

    #[test]
    fn who_listens_is_found() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(address).unwrap();
            let holder = of(listener.local_addr().unwrap()).unwrap();
            assert_eq!(holder.pid, Some(std::process::id()));
            assert!(holder.command.is_some());
            let address = listener.local_addr().unwrap();
            drop(listener);
            assert_eq!(of(address), None);
        }
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn only_sockets_that_listen_on_the_very_port_count() {
        let table = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:2809 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1
   1: 00000000:2808 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4712 1
   2: 0100007F:2807 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 4713 1
";
        let inode = |address: &str| inode_in(table, address.parse().unwrap());
        assert_eq!(inode("127.0.0.1:10249"), Some(4711));
        assert_eq!(inode("0.0.0.0:10249"), Some(4711));
        assert_eq!(inode("192.0.2.1:10249"), None);
        assert_eq!(inode("192.0.2.1:10248"), Some(4712));
        assert_eq!(inode("127.0.0.1:10247"), None, "it is connected");
    }
}
