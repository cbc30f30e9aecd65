//! Rewriting one end of a packet, with every checksum that covers it.

use proxy_common::{Be16, DropReason, Protocol};

use crate::{
    checksum::Sum,
    network::{Ip, Network},
    packet::{Covered, Packet},
    transport::{Hook, Ports, Transport, checksum_field},
};

/// What a flow says to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rewrite<A> {
    /// The address: destination at ingress, source at egress.
    pub address: A,
    /// The port beside it.
    pub port: Be16,
    /// The port of the other end.
    pub other_port: Be16,
}

/// Applies `rewrite` to the packet: destinations at ingress, sources at egress.
#[inline(always)]
pub fn rewrite<A, P>(
    packet: &mut P,
    hook: Hook,
    ip: &Ip<A>,
    transport: &Transport<A>,
    rewrite: &Rewrite<A>,
) -> Result<(), DropReason>
where
    A: Network,
    P: Packet,
{
    let tuple = &transport.tuple;
    let (old, ports) = match hook {
        Hook::Ingress => {
            (tuple.destination, Ports { source: rewrite.other_port, destination: rewrite.port })
        }
        Hook::Egress => {
            (tuple.source, Ports { source: rewrite.port, destination: rewrite.other_port })
        }
    };
    let old_ports = Ports { source: tuple.source_port, destination: tuple.destination_port };
    if ports != old_ports && tuple.protocol == Protocol::SCTP {
        // SCTP's CRC32c covers its ports, and a device may be about to compute it.
        return Err(DropReason::SctpPort);
    }
    let written = (|| {
        if transport.has_header {
            if let Some((field, kind)) = checksum_field(tuple.protocol) {
                let field = ip.transport + field;
                let address = Sum::ZERO.without_address(old).address(rewrite.address).folded32();
                packet.adjust_checksum(field, kind, Covered::PseudoHeader, address, A::WORDS)?;
                if ports != old_ports {
                    let ports = Sum::ZERO
                        .without_be16(old_ports.source)
                        .without_be16(old_ports.destination)
                        .be16(ports.source)
                        .be16(ports.destination)
                        .folded32();
                    packet.adjust_checksum(field, kind, Covered::Payload, ports, A::WORDS)?;
                }
            }
            if ports != old_ports {
                packet.write(ip.transport, ports)?;
            }
        }
        match hook {
            Hook::Ingress => A::write_destination(packet, ip, rewrite.address),
            Hook::Egress => A::write_source(packet, ip, rewrite.address),
        }
    })();
    written.ok_or(DropReason::RewriteFailed)
}
