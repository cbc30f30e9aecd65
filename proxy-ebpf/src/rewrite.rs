//! Rewriting one end of a packet, with every checksum that covers it.

use proxy_common::{Be16, DropReason, Flow, Protocol, Tuple};

use crate::{
    checksum::Sum,
    headers::{Headers, Part},
    network::Network,
    packet::{ChecksumKind, Covered, Packet},
    transport::{Hook, Ports, checksum_field},
    verdict::Verdict,
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

impl<A: Network> Rewrite<A> {
    /// What `flow` says.
    #[inline(always)]
    #[must_use]
    pub fn of(flow: &Flow<A>) -> Self {
        Self { address: flow.address, port: flow.port, other_port: flow.other_port }
    }

    /// The key of the other half of the flow whose half under `key` at `hook` says this.
    #[inline(always)]
    #[must_use]
    pub fn other_key(&self, hook: Hook, key: &Tuple<A>) -> Tuple<A> {
        let Self { address, port, other_port } = *self;
        match hook {
            Hook::Ingress => Tuple::new((address, port), (key.source, other_port), key.protocol),
            Hook::Egress => {
                Tuple::new((key.destination, other_port), (address, port), key.protocol)
            }
        }
    }
}

impl<A: Network> Default for Rewrite<A> {
    #[inline(always)]
    fn default() -> Self {
        Self { address: A::zeroed(), port: Be16::ZERO, other_port: Be16::ZERO }
    }
}

/// Applies `rewrite` to the packet, whose network header is at `at`: destinations at ingress, sources
/// at egress.
#[inline(always)]
pub fn rewrite<A, P>(
    packet: &mut P,
    hook: Hook,
    at: usize,
    headers: &Headers<A>,
    rewrite: &Rewrite<A>,
) -> Verdict
where
    A: Network,
    P: Packet,
{
    let tuple = &headers.tuple;
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
        return Verdict::drop(DropReason::SctpPort);
    }
    let address = (old, rewrite.address);
    match write(packet, hook, at, headers, address, (old_ports, ports)) {
        Some(()) => Verdict::TRANSLATED,
        None => Verdict::drop(DropReason::RewriteFailed),
    }
}

/// Applies what `addresses` and `ports` change to the transport checksum at `field`.
///
/// Two calls do that for any packet. One is enough where the checksum itself tells who computes it: a
/// complete one has the difference of the pseudo-header taken away, one that a device goes on adding
/// to has it added ([`Covered`]).
#[inline(always)]
fn repair<A, P>(
    packet: &mut P,
    field: usize,
    kind: ChecksumKind,
    addresses: u32,
    ports: u32,
) -> Option<()>
where
    A: Network,
    P: Packet,
{
    let (change, change_of_ports) = (Sum::ZERO.words([addresses]), Sum::ZERO.words([ports]));
    // 0 where it isn't readable: then the helper is asked twice.
    let old: Be16 = packet.read(field).unwrap_or(Be16::ZERO);
    let complete = kind.stored(change.applied_to(old));
    packet.adjust_checksum(field, kind, Covered::PseudoHeader, addresses, A::WORDS)?;
    if complete == old || old == Be16::ZERO {
        // Nothing has changed that would tell, or there is none, or it isn't known.
        return packet.adjust_checksum(field, kind, Covered::Payload, ports, A::WORDS);
    }
    if packet.read::<Be16>(field)? != complete {
        // The device adds the ports.
        return Some(());
    }
    packet.write(field, kind.stored(change_of_ports.applied_to(complete)))
}

/// Writes an address and both ports; each pair is (old, new).
#[inline(always)]
fn write<A, P>(
    packet: &mut P,
    hook: Hook,
    at: usize,
    headers: &Headers<A>,
    address: (A, A),
    ports: (Ports, Ports),
) -> Option<()>
where
    A: Network,
    P: Packet,
{
    let ports_change = ports.0 != ports.1;
    if headers.part != Part::Later {
        if let Some((field, kind)) = checksum_field(headers.tuple.protocol) {
            let field = headers.transport_at() + field;
            let addresses = Sum::ZERO.without_address(address.0).address(address.1);
            let ports = if ports_change { ports.0.difference_to(ports.1) } else { Sum::ZERO };
            let (addresses, ports) = (addresses.folded32(), ports.folded32());
            repair::<A, _>(packet, field, kind, addresses, ports)?;
        }
        if ports_change {
            packet.write(headers.transport_at(), ports.1)?;
        }
    }
    match hook {
        Hook::Ingress => A::write_destination(packet, at, address.0, address.1),
        Hook::Egress => A::write_source(packet, at, address.0, address.1),
    }
}
