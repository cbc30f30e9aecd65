//! Packets named by what they mean: `tcp_syn(client, frontend)`, `udp(…).data(…)`.
//!
//! Headers and checksums are written from scratch, by the RFCs and not by the datapath's own code,
//! so that a test compares two independent ways to the same bytes. Tests call it, for both families
//! alike; what differs between them is in [`super::wire`].

use proxy_common::Protocol;

use super::{
    packet::{ChecksumState, UserPacket},
    wire::{Datagram, Extension, Wire, sum},
};

/// An address and port.
pub type End<A> = (A, u16);

const ETHERNET: usize = 14;
const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const PSH: u8 = 0x08;
const ACK: u8 = 0x10;

#[derive(Clone, Debug)]
enum Transport {
    Tcp { flags: u8, options: Vec<u8> },
    Udp { checksum: bool },
    Sctp,
    Icmp { kind: (u8, u8), rest: [u8; 4] },
    Other(Protocol),
}

/// A packet that is being put together. [`Build::packet`] ends it.
#[derive(Clone, Debug)]
pub struct Build<A> {
    source: End<A>,
    destination: End<A>,
    transport: Transport,
    sequence: u32,
    acknowledgement: u32,
    payload: Vec<u8>,
    extensions: Vec<Extension>,
    ethernet: bool,
    by_device: bool,
    hop_limit: u8,
    window: u16,
    identification: u16,
    returned: bool,
}

fn begin<A: Wire>(source: End<A>, destination: End<A>, transport: Transport) -> Build<A> {
    Build {
        source,
        destination,
        transport,
        sequence: 0x1000_0000,
        acknowledgement: 0,
        payload: Vec::new(),
        extensions: Vec::new(),
        ethernet: true,
        by_device: false,
        hop_limit: 63,
        window: 0xfaf0,
        identification: 0x1234,
        returned: false,
    }
}

/// A TCP segment without flags.
#[must_use]
pub fn tcp<A: Wire>(source: End<A>, destination: End<A>) -> Build<A> {
    begin(source, destination, Transport::Tcp { flags: 0, options: Vec::new() })
}

/// A TCP segment that asks for a connection, with the options that Linux sends.
#[must_use]
pub fn tcp_syn<A: Wire>(source: End<A>, destination: End<A>) -> Build<A> {
    const MSS_AND_WINDOW_SCALE: [u8; 8] = [2, 4, 5, 0xb4, 1, 3, 3, 7];
    let options = MSS_AND_WINDOW_SCALE.to_vec();
    begin(source, destination, Transport::Tcp { flags: SYN, options })
}

/// A datagram.
#[must_use]
pub fn udp<A: Wire>(source: End<A>, destination: End<A>) -> Build<A> {
    begin(source, destination, Transport::Udp { checksum: true })
}

/// An SCTP packet. Its checksum is a CRC over what is behind the IP header (RFC 9260), which nobody
/// here looks at: it is left zero.
#[must_use]
pub fn sctp<A: Wire>(source: End<A>, destination: End<A>) -> Build<A> {
    begin(source, destination, Transport::Sctp)
}

/// A packet of a protocol that nobody here knows.
#[must_use]
pub fn other<A: Wire>(source: A, destination: A, protocol: Protocol) -> Build<A> {
    begin((source, 0), (destination, 0), Transport::Other(protocol))
}

/// An echo request.
#[must_use]
pub fn ping<A: Wire>(source: A, destination: A) -> Build<A> {
    let transport = Transport::Icmp { kind: A::ECHO_REQUEST, rest: [0x12, 0x34, 0, 1] };
    begin((source, 0), (destination, 0), transport)
}

/// An ICMP error of this type and code that `source` sends about `quoted`, a packet as it saw it.
/// `rest` are the four bytes in front of the quote: the MTU of "too big".
#[must_use]
pub fn icmp_error<A: Wire>(
    source: A,
    destination: A,
    kind: (u8, u8),
    rest: [u8; 4],
    quoted: &UserPacket,
) -> Build<A> {
    begin((source, 0), (destination, 0), Transport::Icmp { kind, rest })
        .data(&quoted.bytes[quoted.link_header..])
}

impl<A: Wire> Build<A> {
    fn flag(mut self, flag: u8) -> Self {
        if let Transport::Tcp { flags, .. } = &mut self.transport {
            *flags |= flag;
        }
        self
    }

    /// Acknowledges.
    #[must_use]
    pub fn ack(mut self) -> Self {
        self.acknowledgement = 0x2000_0001;
        self.flag(ACK)
    }

    /// Ends this direction.
    #[must_use]
    pub fn fin(self) -> Self {
        self.flag(FIN)
    }

    /// Ends the connection.
    #[must_use]
    pub fn rst(self) -> Self {
        self.flag(RST)
    }

    /// Carries `bytes`.
    #[must_use]
    pub fn data(mut self, bytes: &[u8]) -> Self {
        bytes.clone_into(&mut self.payload);
        self.flag(if bytes.is_empty() { 0 } else { PSH })
    }

    /// Sequence and acknowledgement numbers of TCP.
    #[must_use]
    pub fn numbered(mut self, sequence: u32, acknowledgement: u32) -> Self {
        self.sequence = sequence;
        self.acknowledgement = acknowledgement;
        self
    }

    /// TCP without options.
    #[must_use]
    pub fn without_tcp_options(mut self) -> Self {
        if let Transport::Tcp { options, .. } = &mut self.transport {
            options.clear();
        }
        self
    }

    /// UDP whose checksum is zero: there is none.
    #[must_use]
    pub fn without_udp_checksum(mut self) -> Self {
        if let Transport::Udp { checksum } = &mut self.transport {
            *checksum = false;
        }
        self
    }

    /// Has these options (IPv4) or this extension header (IPv6, of type `kind`) more. Padded to what
    /// the family asks for.
    #[must_use]
    pub fn with_extension(mut self, kind: Protocol, body: &[u8]) -> Self {
        self.extensions.push(Extension { kind, body: body.to_vec() });
        self
    }

    /// Has something between the network header and the transport header: IPv4 options, or an IPv6
    /// header of destination options.
    #[must_use]
    pub fn lengthened(self) -> Self {
        const DESTINATION_OPTIONS: Protocol = Protocol::new(60);
        self.with_extension(DESTINATION_OPTIONS, &[1, 4, 0, 0, 0, 0])
    }

    /// Without an Ethernet header.
    #[must_use]
    pub fn layer3(mut self) -> Self {
        self.ethernet = false;
        self
    }

    /// Leaves the transport checksum to the device.
    #[must_use]
    pub fn checksum_by_device(mut self) -> Self {
        self.by_device = true;
        self
    }

    /// With that hop limit.
    #[must_use]
    pub fn hop_limit(mut self, hop_limit: u8) -> Self {
        self.hop_limit = hop_limit;
        self
    }

    /// With that TCP window.
    #[must_use]
    pub fn window(mut self, window: u16) -> Self {
        self.window = window;
        self
    }

    /// With that identification of a datagram that isn't fragmented (IPv4).
    #[must_use]
    pub fn identification(mut self, identification: u16) -> Self {
        self.identification = identification;
        self
    }

    /// With the Ethernet addresses of the other direction.
    #[must_use]
    pub fn returned(mut self) -> Self {
        self.returned = true;
        self
    }

    /// The whole packet.
    #[must_use]
    pub fn packet(&self) -> UserPacket {
        let (transport, field) = self.transport_bytes();
        let whole = Datagram {
            identification: u32::from(self.identification),
            offset: 0,
            more: false,
            whole: true,
        };
        let mut packet = self.framed(&transport, whole);
        if let Some(field) = field.filter(|_| self.by_device) {
            let start = packet.bytes.len() - transport.len();
            packet.checksum = ChecksumState::ByDevice { start, field: start + field };
        }
        packet
    }

    /// The packet in fragments with `size` bytes of payload each, a multiple of 8.
    #[must_use]
    pub fn fragments(&self, identification: u32, size: usize) -> Vec<UserPacket> {
        let (transport, _) = self.transport_bytes();
        let count = transport.chunks(size).len();
        let fragment = |(index, chunk): (usize, &[u8])| {
            let offset = u16::try_from(index * size).unwrap_or(u16::MAX);
            let more = index + 1 < count;
            self.framed(chunk, Datagram { identification, offset, more, whole: false })
        };
        transport.chunks(size).enumerate().map(fragment).collect()
    }

    /// `payload` behind the network header, and behind the Ethernet header if there is one.
    fn framed(&self, payload: &[u8], datagram: Datagram) -> UserPacket {
        let mut bytes = Vec::new();
        if self.ethernet {
            let (here, there) = ([2, 0, 0, 0, 0, 0xa], [2, 0, 0, 0, 0, 0xb]);
            bytes.extend(if self.returned { [here, there] } else { [there, here] }.concat());
            bytes.extend(A::ETHERNET_TYPE.to_be_bytes());
        }
        bytes.extend(A::header(
            (self.source.0, self.destination.0),
            self.protocol(),
            (self.hop_limit, payload.len()),
            &self.extensions,
            datagram,
        ));
        bytes.extend(payload);
        let link_header = if self.ethernet { ETHERNET } else { 0 };
        UserPacket { bytes, checksum: ChecksumState::Complete, link_header }
    }

    fn protocol(&self) -> Protocol {
        match self.transport {
            Transport::Tcp { .. } => Protocol::TCP,
            Transport::Udp { .. } => Protocol::UDP,
            Transport::Sctp => Protocol::SCTP,
            Transport::Icmp { .. } => A::ICMP,
            Transport::Other(protocol) => protocol,
        }
    }

    /// The transport header and what it carries, and where its checksum is.
    fn transport_bytes(&self) -> (Vec<u8>, Option<usize>) {
        let (mut bytes, field) = self.transport_header();
        bytes.extend(&self.payload);
        let Some(field) = field else { return (bytes, None) };
        let pseudo = A::pseudo_header(
            (self.source.0, self.destination.0),
            self.protocol(),
            u32::try_from(bytes.len()).unwrap_or(u32::MAX),
        );
        let covers_addresses = self.protocol() != Protocol::ICMP;
        let pseudo = if covers_addresses { sum(&pseudo) } else { 0 };
        let checksum = if self.by_device && covers_addresses {
            pseudo
        } else {
            let checksum = !sum(&[&pseudo.to_be_bytes(), bytes.as_slice()].concat());
            // Zero says that there is none (RFC 768).
            if checksum == 0 && self.protocol() == Protocol::UDP { 0xffff } else { checksum }
        };
        let checksum = match self.transport {
            Transport::Udp { checksum: false } => 0,
            _ => checksum,
        };
        bytes[field..field + 2].copy_from_slice(&checksum.to_be_bytes());
        (bytes, (self.protocol() != A::ICMP).then_some(field))
    }

    fn transport_header(&self) -> (Vec<u8>, Option<usize>) {
        let ports = [self.source.1.to_be_bytes(), self.destination.1.to_be_bytes()].concat();
        match &self.transport {
            Transport::Tcp { flags, options } => {
                let words = u8::try_from(5 + options.len() / 4).unwrap_or(15);
                let mut header = ports;
                header.extend(self.sequence.to_be_bytes());
                header.extend(self.acknowledgement.to_be_bytes());
                header.extend([words << 4, *flags]);
                header.extend(self.window.to_be_bytes());
                header.extend([0; 4]);
                header.extend(options);
                (header, Some(16))
            }
            Transport::Udp { .. } => {
                let length = u16::try_from(8 + self.payload.len()).unwrap_or(0);
                let mut header = ports;
                header.extend(length.to_be_bytes());
                header.extend([0, 0]);
                (header, Some(6))
            }
            Transport::Sctp => ([ports, vec![0, 0, 0, 7, 0, 0, 0, 0]].concat(), None),
            Transport::Icmp { kind: (kind, code), rest } => {
                ([&[*kind, *code, 0, 0], rest.as_slice()].concat(), Some(2))
            }
            Transport::Other(_) => (Vec::new(), None),
        }
    }
}
