//! Builders, named by what they build. Checksums are right.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, IPV4_HEADER, SCTP, TCP, UDP, checksum, pseudo_header};

const TTL: u8 = 64;

/// A frame around a packet, whose version tells the EtherType.
#[must_use]
pub fn ethernet(source: [u8; 6], destination: [u8; 6], packet: &[u8]) -> Vec<u8> {
    let kind = if packet[0] >> 4 == 4 { ETHERTYPE_IPV4 } else { ETHERTYPE_IPV6 };
    [&destination[..], &source, &kind.to_be_bytes(), packet].concat()
}

/// An IPv4 packet; the length of `options` is a multiple of 4.
#[must_use]
pub fn ipv4(
    source: Ipv4Addr,
    destination: Ipv4Addr,
    protocol: u8,
    options: &[u8],
    payload: &[u8],
) -> Vec<u8> {
    let header_words = u8::try_from((IPV4_HEADER + options.len()) / 4).expect("options fit");
    let length = length16(IPV4_HEADER + options.len() + payload.len());
    let mut packet = vec![0x40 | header_words, 0];
    packet.extend(length.to_be_bytes());
    // Identification, no fragment, and room for the checksum.
    packet.extend([0x12, 0x34, 0, 0, TTL, protocol, 0, 0]);
    packet.extend(source.octets());
    packet.extend(destination.octets());
    packet.extend(options);
    write_ipv4_checksum(&mut packet);
    packet.extend(payload);
    packet
}

/// An IPv6 packet; `payload` starts with the header that `next_header` names.
#[must_use]
pub fn ipv6(source: Ipv6Addr, destination: Ipv6Addr, next_header: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend(length16(payload.len()).to_be_bytes());
    packet.extend([next_header, TTL]);
    packet.extend(source.octets());
    packet.extend(destination.octets());
    packet.extend(payload);
    packet
}

/// A UDP datagram inside an IP packet.
#[must_use]
pub fn udp(source: SocketAddr, destination: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let mut segment = ports(source, destination);
    segment.extend(length16(8 + payload.len()).to_be_bytes());
    segment.extend([0, 0]);
    segment.extend(payload);
    let sum = segment_checksum(source.ip(), destination.ip(), UDP, &segment);
    // RFC 768: a computed zero is sent as all ones.
    segment[6..8].copy_from_slice(&(if sum == 0 { 0xffff } else { sum }).to_be_bytes());
    inside_ip(source.ip(), destination.ip(), UDP, &segment)
}

/// A TCP segment inside an IP packet.
#[must_use]
pub fn tcp(
    source: SocketAddr,
    destination: SocketAddr,
    (sequence, acknowledged): (u32, u32),
    flags: u8,
    payload: &[u8],
) -> Vec<u8> {
    let mut segment = ports(source, destination);
    segment.extend(sequence.to_be_bytes());
    segment.extend(acknowledged.to_be_bytes());
    // Five words of header, the flags, a window, and room for checksum and urgent pointer.
    segment.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    segment.extend(payload);
    let sum = segment_checksum(source.ip(), destination.ip(), TCP, &segment);
    segment[16..18].copy_from_slice(&sum.to_be_bytes());
    inside_ip(source.ip(), destination.ip(), TCP, &segment)
}

/// An SCTP packet: ports, then `rest` as it is, from the verification tag on. The checksum is not
/// computed: nobody in the lab speaks SCTP, and nobody on the way may look at it.
#[must_use]
pub fn sctp(source: SocketAddr, destination: SocketAddr, rest: &[u8]) -> Vec<u8> {
    let segment = [&ports(source, destination)[..], rest].concat();
    inside_ip(source.ip(), destination.ip(), SCTP, &segment)
}

/// An ICMP or ICMPv6 echo request without its IP header. The kernel fills in the checksum of
/// ICMPv6.
#[must_use]
pub fn echo_request(to: IpAddr, identifier: u16) -> Vec<u8> {
    let kind = if to.is_ipv4() { 8 } else { 128 };
    let mut message = vec![kind, 0, 0, 0];
    message.extend(identifier.to_be_bytes());
    message.extend([0, 1]);
    message.extend(b"an echo request of the lab");
    if to.is_ipv4() {
        let sum = checksum(&[&message]);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    message
}

/// `packet` as one router forwards it: one hop less to live, IPv4 header checksum accordingly.
#[must_use]
pub fn after_one_hop(packet: &[u8]) -> Vec<u8> {
    let mut packet = packet.to_vec();
    if packet[0] >> 4 == 4 {
        packet[8] -= 1;
        let header = usize::from(packet[0] & 0xf) * 4;
        write_ipv4_checksum(&mut packet[..header]);
    } else {
        packet[7] -= 1;
    }
    packet
}

fn inside_ip(source: IpAddr, destination: IpAddr, protocol: u8, segment: &[u8]) -> Vec<u8> {
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            ipv4(source, destination, protocol, &[], segment)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            ipv6(source, destination, protocol, segment)
        }
        _ => panic!("{source} and {destination} are of different families"),
    }
}

fn ports(source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    [source.port().to_be_bytes(), destination.port().to_be_bytes()].concat()
}

fn segment_checksum(source: IpAddr, destination: IpAddr, protocol: u8, segment: &[u8]) -> u16 {
    checksum(&[&pseudo_header(source, destination, protocol, segment.len()), segment])
}

fn write_ipv4_checksum(header: &mut [u8]) {
    header[10..12].fill(0);
    let sum = checksum(&[header]);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
}

fn length16(length: usize) -> u16 {
    u16::try_from(length).expect("a packet is at most 65,535 bytes long")
}

#[cfg(test)]
mod tests {
    use super::{after_one_hop, checksum, ipv4, tcp, udp};
    use crate::packet::{Seen, TCP_SYN, UDP};

    #[test]
    fn a_header_with_its_checksum_sums_up_to_zero() {
        let packet = ipv4([10, 0, 0, 1].into(), [10, 0, 0, 2].into(), UDP, &[1, 1, 1, 0], b"xyz");
        assert_eq!(checksum(&[&packet[..24]]), 0);
        assert_eq!(checksum(&[&after_one_hop(&packet)[..24]]), 0);
    }

    #[test]
    fn what_is_built_is_seen_with_right_checksums() {
        for (source, destination) in
            [("10.0.0.1:4711", "10.0.0.2:53"), ("[fd00::1]:4711", "[fd00::2]:53")]
        {
            let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
            for packet in [
                udp(source, destination, b"odd"),
                tcp(source, destination, (1, 0), TCP_SYN, b"odd"),
            ] {
                let seen = Seen::parse(&packet).unwrap();
                assert_eq!((seen.source(), seen.destination()), (source, destination));
                assert!(seen.checksum_is_right());
            }
        }
    }
}
