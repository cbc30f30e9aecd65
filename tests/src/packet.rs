//! Packets as bytes: built by hand for what sockets can't send, and read from a wire.
//!
//! Deliberately knows nothing of `proxy-ebpf`: what checks the datapath shares no code with it.
//! Called by stories with a [`crate::Wire`].

mod build;
mod seen;

use std::net::IpAddr;

pub use build::{after_one_hop, echo_request, ethernet, ipv4, ipv6, sctp, tcp, udp};
pub use seen::Seen;

/// Length of an IPv4 header without options.
pub const IPV4_HEADER: usize = 20;
/// Length of an IPv6 header.
pub const IPV6_HEADER: usize = 40;
/// ICMP type of an echo reply.
pub const ICMP_ECHO_REPLY: u8 = 0;
/// ICMPv6 type of an echo reply.
pub const ICMPV6_ECHO_REPLY: u8 = 129;
/// ICMP type of a redirect.
pub const ICMP_REDIRECT: u8 = 5;
/// ICMPv6 type of a redirect.
pub const ICMPV6_REDIRECT: u8 = 137;
/// IP protocol numbers.
pub const ICMP: u8 = 1;
/// See [`ICMP`].
pub const TCP: u8 = 6;
/// See [`ICMP`].
pub const UDP: u8 = 17;
/// See [`ICMP`].
pub const ICMPV6: u8 = 58;
/// See [`ICMP`].
pub const SCTP: u8 = 132;
/// TCP flag.
pub const TCP_SYN: u8 = 0x02;
/// TCP flag.
pub const TCP_RST: u8 = 0x04;
/// TCP flag.
pub const TCP_ACK: u8 = 0x10;

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;

/// The ones' complement sum of RFC 1071 over `parts`, each padded to an even length.
fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0u64;
    for part in parts {
        for pair in part.chunks(2) {
            let low = pair.get(1).copied().unwrap_or(0);
            sum += u64::from(u16::from_be_bytes([pair[0], low]));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).expect("folded to 16 bits")
}

/// The pseudo-header that layer-4 checksums cover (RFC 9293 §3.1, RFC 8200 §8.1).
fn pseudo_header(source: IpAddr, destination: IpAddr, protocol: u8, length: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for address in [source, destination] {
        match address {
            IpAddr::V4(address) => bytes.extend(address.octets()),
            IpAddr::V6(address) => bytes.extend(address.octets()),
        }
    }
    bytes.extend(u32::try_from(length).expect("a packet's length fits").to_be_bytes());
    bytes.extend(u32::from(protocol).to_be_bytes());
    bytes
}
