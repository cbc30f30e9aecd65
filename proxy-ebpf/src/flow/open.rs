//! Opening: a new flow gets its halves, and a source port that keeps it apart from others.

use bytemuck::Zeroable as _;
use proxy_common::{
    Address, Be16, Counter, DropReason, Flow, FlowFlags, FlowKind, Nanoseconds, Protocol,
    ServiceId, Tuple,
};

use crate::{
    env::{FlowTable, Insert, Kernel, Maps},
    network::Network,
    rewrite::Rewrite,
    verdict::Verdict,
};

/// How many source ports are tried before a flow is given up.
const PORT_ATTEMPTS: u32 = 8;

/// What a new flow is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opening<A> {
    /// The address to translate the destination to.
    pub address: A,
    /// The port to translate the destination to.
    pub port: Be16,
    /// The Service port, or none.
    pub service: ServiceId,
    /// No Service's flow, only kept apart from one.
    pub direct: bool,
    /// Whether the packet needs another source address where it goes out.
    pub masquerade: bool,
}

impl<A: Network> Default for Opening<A> {
    #[inline(always)]
    fn default() -> Self {
        Self {
            address: A::zeroed(),
            port: Be16::ZERO,
            service: ServiceId::NONE,
            direct: false,
            masquerade: false,
        }
    }
}

impl<A: Network> Opening<A> {
    /// The key of the reply half, if the client keeps its port.
    #[inline(always)]
    #[must_use]
    pub fn reply_key(&self, tuple: &Tuple<A>) -> Tuple<A> {
        Tuple::new((self.address, self.port), (tuple.source, tuple.source_port), tuple.protocol)
    }
}

/// Opens a flow at ingress for a packet with `tuple`: reserves the reply half, taking another source
/// port where a different flow has it, then writes the forward half. What to write into the packet
/// goes to `found`. Who calls it has removed a flow that has ended from the first choice's place.
#[inline(never)]
pub fn open<A, E>(
    env: &E,
    tuple: &Tuple<A>,
    opening: &Opening<A>,
    bytes: u64,
    found: &mut Rewrite<A>,
) -> Verdict
where
    A: Network,
    E: Maps<A> + Kernel,
{
    // Concurrency: between the look-ups of this packet another CPU may have settled its flow.
    let settled = env.with_flow(FlowTable::Dst, tuple, |flow| Rewrite::of(flow));
    if let Some(settled) = settled {
        *found = settled;
        return Verdict::TRANSLATED;
    }
    let mut reply_key = opening.reply_key(tuple);
    // verifier: one half at a time in the same memory, for the stack is small.
    let kind = if opening.direct { FlowKind::Direct } else { FlowKind::Service };
    let mut half = fresh(opening.service, kind, env.now());
    half.write((tuple.destination, tuple.destination_port, tuple.source_port), FlowFlags::REPLY);
    let mut attempt = 0;
    while !reserve(env, tuple, &reply_key, &half) {
        attempt += 1;
        if attempt == PORT_ATTEMPTS || tuple.protocol == Protocol::SCTP {
            return Verdict::drop(DropReason::PortsExhausted);
        }
        reply_key.destination_port = fresh_port(env.random());
    }
    let source_port = reply_key.destination_port;
    let flags = if opening.masquerade { FlowFlags::MASQUERADED } else { FlowFlags::empty() };
    half.write((opening.address, opening.port, source_port), flags);
    half.packets = 1;
    half.bytes = bytes;
    if !env.insert_flow(FlowTable::NewDst, tuple, &half, Insert::Replace) {
        return Verdict::drop(DropReason::FlowTableFull);
    }
    if opening.masquerade {
        // Leaves word for egress that the packet needs another source address there.
        half.write((tuple.source, source_port, opening.port), FlowFlags::PENDING);
        half.kind = FlowKind::Masquerade as u8;
        half.packets = 0;
        half.bytes = 0;
        reply_key = reply_key.reversed();
        if !env.insert_flow(FlowTable::NewSrc, &reply_key, &half, Insert::Replace) {
            return Verdict::drop(DropReason::FlowTableFull);
        }
    }
    env.count(Counter::FlowOpened);
    *found = Rewrite { address: opening.address, port: opening.port, other_port: source_port };
    Verdict::TRANSLATED
}

/// Reserves `key` at egress for the reply half of the flow of `tuple`; `false` when another flow has
/// it.
#[inline(always)]
fn reserve<A, E>(env: &E, tuple: &Tuple<A>, key: &Tuple<A>, reply: &Flow<A>) -> bool
where
    A: Network,
    E: Maps<A>,
{
    if belongs(env, FlowTable::Src, key, tuple) == Some(false) {
        return false;
    }
    env.insert_flow(FlowTable::NewSrc, key, reply, Insert::Keep)
        || belongs(env, FlowTable::NewSrc, key, tuple) == Some(true)
}

/// Whether the reply half under `key` belongs to the flow of `tuple`; `None` when there is none.
#[inline(always)]
fn belongs<A, E>(env: &E, table: FlowTable, key: &Tuple<A>, tuple: &Tuple<A>) -> Option<bool>
where
    A: Network,
    E: Maps<A>,
{
    env.with_flow(table, key, |flow| {
        flow.address == tuple.destination
            && flow.port == tuple.destination_port
            && flow.other_port == tuple.source_port
    })
}

/// A half that writes nothing yet.
#[inline(always)]
pub(crate) fn fresh<A: Address>(service: ServiceId, kind: FlowKind, now: Nanoseconds) -> Flow<A> {
    Flow { created: now, last_seen: now, service, kind: kind as u8, ..Flow::zeroed() }
}

/// A source port from 1024 up.
#[inline(always)]
fn fresh_port(random: u32) -> Be16 {
    #[expect(clippy::cast_possible_truncation, reason = "at most 65535")]
    Be16::new((1024 + ((u64::from(random) * (65536 - 1024)) >> 32)) as u16)
}
