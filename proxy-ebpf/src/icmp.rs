//! ICMP errors about translated flows: path MTU, port unreachable, time exceeded.
//!
//! An error quotes the packet it is about, as its sender saw it. `R` is the quoted tuple reversed:
//! the tuple of what goes the other way. Ingress: `R` in `DST_FLOWS_*` says which source the quoted
//! packet had before it was rewritten, and that is whom the error is for. Egress: `R` in
//! `SRC_FLOWS_*` says which destination the quoted packet had, and a sender that is the endpoint
//! itself speaks as the frontend. Redirects would teach a client a way around the frontend: dropped.

use proxy_common::{Be16, DropReason, FilterBits, Protocol, Tuple};

use crate::{
    checksum::Sum,
    env::{Kernel, Maps},
    filter,
    headers::{Headers, Part},
    network::{IcmpHeader, IcmpKind, Network},
    packet::{ChecksumKind, Covered, Packet},
    rewrite::Rewrite,
    transport::{Hook, Ports, checksum_field},
    verdict::Verdict,
};

/// Bytes of an ICMP header in front of what it quotes.
const ICMP_HEADER: usize = 8;
const ICMP_CHECKSUM: usize = 2;

/// Translates the packet, whose network header is at `at` and read into `headers`, if it is an error
/// about a flow at `hook`. [`Verdict::PASS`]: it isn't.
#[inline(never)]
pub fn translate<A, P, E>(
    packet: &mut P,
    env: &E,
    hook: Hook,
    at: usize,
    headers: &Headers<A>,
) -> Verdict
where
    A: Network,
    P: Packet,
    E: Maps<A> + Kernel,
{
    if headers.part != Part::Whole {
        return Verdict::PASS;
    }
    let icmp_at = headers.transport_at();
    let Some(icmp) = packet.read::<IcmpHeader>(icmp_at) else { return Verdict::PASS };
    match A::icmp_kind(icmp.kind) {
        IcmpKind::Other => return Verdict::PASS,
        IcmpKind::Redirect => return redirect::<A, P, E>(packet, env, hook, icmp_at),
        IcmpKind::Error => {}
    }
    let quoted_at = icmp_at + ICMP_HEADER;
    let mut quoted = Headers::empty();
    if A::parse(packet, quoted_at, &mut quoted).is_none()
        || quoted.part == Part::Later
        || !quoted.tuple.protocol.has_ports()
    {
        return Verdict::PASS;
    }
    let Some(ports) = packet.read::<Ports>(quoted.transport_at()) else { return Verdict::PASS };
    quoted.tuple.source_port = ports.source;
    quoted.tuple.destination_port = ports.destination;
    // verifier: in its place, for less stack than for both.
    quoted.tuple = quoted.tuple.reversed();
    let Some(found) = find(env, hook, &quoted.tuple) else { return Verdict::PASS };
    match write(packet, hook, at, headers, (quoted_at, &quoted), &found) {
        Some(()) => Verdict::TRANSLATED,
        None => Verdict::drop(DropReason::RewriteFailed),
    }
}

/// What the half under `key` writes, answered or not. An error is no sign of life: nothing is
/// recorded.
#[inline(always)]
fn find<A, E>(env: &E, hook: Hook, key: &Tuple<A>) -> Option<Rewrite<A>>
where
    A: Network,
    E: Maps<A>,
{
    let what = |flow: &mut proxy_common::Flow<A>| Rewrite::of(flow);
    env.with_flow(hook.flows(), key, what).or_else(|| env.with_flow(hook.new_flows(), key, what))
}

/// A redirect that would send a client past the frontend, straight to a backend.
#[inline(always)]
fn redirect<A, P, E>(packet: &P, env: &E, hook: Hook, icmp_at: usize) -> Verdict
where
    A: Network,
    P: Packet,
    E: Kernel,
{
    let Some(about) = packet.read::<A>(icmp_at + A::REDIRECT_DESTINATION) else {
        return Verdict::PASS;
    };
    let about_backend = filter::interest(env, about).contains(FilterBits::BACKEND);
    if hook == Hook::Egress && about_backend {
        Verdict::drop(DropReason::Redirect)
    } else {
        Verdict::PASS
    }
}

/// Rewrites the quoted packet and the address of the error that goes with it. The tuple of `quoted` is
/// that of what goes the other way.
#[inline(always)]
fn write<A, P>(
    packet: &mut P,
    hook: Hook,
    at: usize,
    headers: &Headers<A>,
    (quoted_at, quoted): (usize, &Headers<A>),
    found: &Rewrite<A>,
) -> Option<()>
where
    A: Network,
    P: Packet,
{
    let answer = &quoted.tuple;
    let old_ports = Ports { source: answer.destination_port, destination: answer.source_port };
    let (old, new_ports) = match hook {
        Hook::Ingress => {
            (answer.destination, Ports { source: found.port, destination: found.other_port })
        }
        Hook::Egress => {
            (answer.source, Ports { source: found.other_port, destination: found.port })
        }
    };
    let address = Sum::ZERO.without_address(old).address(found.address);
    let ports = old_ports.difference_to(new_ports);
    // What changes behind the ICMP header. IPv4's own header checksum makes up for its address.
    let mut change = if A::WORDS == 4 { ports.plus(address) } else { ports };

    packet.write(quoted.transport_at(), new_ports)?;
    if let Some((field, kind)) = checksum_field(quoted.tuple.protocol) {
        let field = quoted.transport_at() + field;
        // The quote may end before the checksum: eight bytes of transport are all one can ask for.
        if let Some(old) = packet.read::<Be16>(field)
            && !(kind == ChecksumKind::ZeroIsNone && old == Be16::ZERO)
        {
            let new = ports.plus(address).applied_to(old);
            packet.write(field, new)?;
            change = change.without_be16(old).be16(new);
        }
    }
    match hook {
        Hook::Ingress => A::write_source(packet, quoted_at, old, found.address)?,
        Hook::Egress => A::write_destination(packet, quoted_at, old, found.address)?,
    }
    let checksum_at = headers.transport_at() + ICMP_CHECKSUM;
    let plain = ChecksumKind::Plain;
    packet.adjust_checksum(checksum_at, plain, Covered::Payload, change.folded32(), A::WORDS)?;

    let outer = match hook {
        Hook::Ingress => headers.tuple.destination,
        Hook::Egress => headers.tuple.source,
    };
    if outer != old {
        // A router on the way speaks for itself.
        return Some(());
    }
    if A::ICMP == Protocol::ICMPV6 {
        let address = address.folded32();
        packet.adjust_checksum(checksum_at, plain, Covered::PseudoHeader, address, A::WORDS)?;
    }
    match hook {
        Hook::Ingress => A::write_destination(packet, at, old, found.address),
        Hook::Egress => A::write_source(packet, at, old, found.address),
    }
}
