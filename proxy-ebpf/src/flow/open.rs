//! Opening: a new flow gets its halves, and a source port that keeps it apart from others.

use bytemuck::Zeroable as _;
use proxy_common::{
    Address, BackendId, Be16, ConfigOptions, Counter, DropReason, Flow, FlowFlags, FlowKind,
    Nanoseconds, Protocol, ServiceId, Tuple,
};

use super::{end_if_closed, is_held, masqueraded::leave_word, partner::leads_to};
use crate::{
    env::{Change, FlowTable, Insert, Kernel, Maps},
    network::Network,
    rewrite::Rewrite,
    transport::Hook,
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
    /// What is special about the forward half.
    pub flags: FlowFlags,
    /// No Service's flow, only kept apart from one.
    pub direct: bool,
    /// The Service port, or none.
    pub service: ServiceId,
    /// The endpoint, or none.
    pub backend: BackendId,
    /// Whether it counts as an open flow of its endpoint.
    pub counted: bool,
}

impl<A: Network> Default for Opening<A> {
    #[inline(always)]
    fn default() -> Self {
        Self {
            address: A::zeroed(),
            port: Be16::ZERO,
            flags: FlowFlags::empty(),
            direct: false,
            service: ServiceId::NONE,
            backend: BackendId::default(),
            counted: false,
        }
    }
}

impl<A: Network> Opening<A> {
    /// The key of the reply half, if the client keeps its port.
    #[inline(always)]
    #[must_use]
    fn reply_key(&self, tuple: &Tuple<A>) -> Tuple<A> {
        Tuple::new((self.address, self.port), (tuple.source, tuple.source_port), tuple.protocol)
    }
}

/// Whether the place of the reply half, if the client keeps its port, is another flow's. A settled flow
/// that has ended makes room.
#[inline(never)]
pub fn is_taken<A, E>(env: &E, tuple: &Tuple<A>, opening: &Opening<A>) -> bool
where
    A: Network,
    E: Maps<A>,
{
    let key = opening.reply_key(tuple);
    !end_if_closed(env, Hook::Egress, &key)
        || env.with_flow(FlowTable::NewSrc, &key, |_| ()).is_some()
}

/// Opens a flow at ingress for a packet with `tuple`: reserves the reply half, taking another source
/// port where a different flow has it, then writes the forward half. What to write into the packet
/// goes to `found`. Who calls it has asked [`is_taken`].
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
    if is_held(env, ConfigOptions::HOLD_OPENING) {
        return Verdict::drop(DropReason::FlowTableMoving);
    }
    let mut reply_key = opening.reply_key(tuple);
    // verifier: one half at a time in the same memory, for the stack is small.
    let kind = if opening.direct { FlowKind::Direct } else { FlowKind::Service };
    let mut half = fresh(opening.service, kind, env.now());
    half.backend = opening.backend;
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
    half.write((opening.address, opening.port, source_port), opening.flags);
    half.packets = 1;
    half.bytes = bytes;
    if !env.insert_flow(FlowTable::NewDst, tuple, &half, Insert::Replace) {
        return Verdict::drop(DropReason::FlowTableFull);
    }
    if opening.flags.contains(FlowFlags::MASQUERADED) {
        // Leaves word for egress that the packet needs another source address there.
        leave_word(&mut half, tuple.source);
        reply_key = reply_key.reversed();
        if !env.insert_flow(FlowTable::NewSrc, &reply_key, &half, Insert::Replace) {
            return Verdict::drop(DropReason::FlowTableFull);
        }
    }
    env.count(Counter::FlowOpened);
    if opening.counted {
        env.change_open_flows(opening.backend, Change::More);
    }
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
    env.with_flow(table, key, |flow| leads_to(Hook::Ingress, tuple, flow))
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
