//! Ports: who has those that the agent wants, and which the kernel hands out.

use std::{fs, process};

use super::super::{
    facts::{Ports, Taken},
    judge::NODE_PORTS,
};
use crate::{
    health,
    host::{lock, sysctl},
    options::Options,
};

/// Tables of sockets, the protocol of each, and the state in which a socket waits for a peer:
/// `TCP_LISTEN`, and for UDP `TCP_CLOSE` (include/net/tcp_states.h).
const TABLES: [(&str, &str, &str); 4] = [
    ("/proc/net/tcp", "tcp", "0A"),
    ("/proc/net/tcp6", "tcp", "0A"),
    ("/proc/net/udp", "udp", "07"),
    ("/proc/net/udp6", "udp", "07"),
];

pub(super) fn look(options: &Options) -> Ports {
    let wanted = [
        ("healthz-bind-address", options.surface.healthz),
        ("metrics-bind-address", options.surface.metrics),
    ];
    // An agent that asks has them by now, and so has one that runs on these pins.
    let agent = lock::holder(&options.pin_path).ok().flatten().and_then(|holder| holder.pid);
    let ours = |pid: u32| pid == process::id() || Some(pid) == agent;
    let taken = wanted.into_iter().filter_map(|(flag, address)| {
        let address = address?;
        let holder = health::holder(address)?;
        (!holder.pid.is_some_and(ours)).then_some(Taken { flag, address, holder })
    });
    let mut node_ports = Vec::new();
    for (table, protocol, state) in TABLES {
        let text = fs::read_to_string(table).unwrap_or_default();
        node_ports.extend(waiting(&text, state).into_iter().map(|port| (protocol, port)));
    }
    node_ports.retain(|(_, port)| NODE_PORTS.contains(port));
    node_ports.sort_unstable();
    node_ports.dedup();
    Ports {
        taken: taken.collect(),
        node_ports,
        local: sysctl::local_ports(),
        reserved: sysctl::read(sysctl::RESERVED_PORTS).unwrap_or_default(),
    }
}

/// The local ports of sockets in `state` that have no peer.
fn waiting(table: &str, state: &str) -> Vec<u16> {
    let port = |line: &str| {
        // sl local_address rem_address st …
        let mut fields = line.split_whitespace().skip(1);
        let (local, remote, is) = (fields.next()?, fields.next()?, fields.next()?);
        let port = u16::from_str_radix(local.rsplit_once(':')?.1, 16).ok()?;
        (is == state && remote.ends_with(":0000")).then_some(port)
    };
    table.lines().skip(1).filter_map(port).collect()
}

#[cfg(test)]
mod tests {
    use super::waiting;

    #[test]
    fn only_sockets_that_wait_for_a_peer_count() {
        let table = "\
  sl  local_address rem_address   st tx_queue rx_queue
   0: 0100007F:7530 00000000:0000 0A 00000000:00000000
   1: 0100007F:7531 0100007F:9999 01 00000000:00000000
";
        assert_eq!(waiting(table, "0A"), [30_000]);
        assert_eq!(waiting(table, "07"), Vec::<u16>::new());
    }
}
