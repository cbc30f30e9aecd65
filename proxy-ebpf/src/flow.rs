//! Flows: opening them, following them, moving them to the main tables when both ends have shown
//! that they mean it, and ending them.
//!
//! A flow is new until the one who opened it sends on after an answer: a flood of packets with made-up
//! sources never gets that far, even where every one of them is answered. New flows are in tables
//! that evict.
//!
//! A flow has two halves, one at ingress and one at egress; each is found by the tuple on the wire
//! and leads to the other (`Flow::src_key`, `Flow::dst_key`). The half that the first packet meets
//! is the forward half, the other one the reply half.

use bytemuck::Zeroable as _;
use proxy_common::{
    Address, Be16, Counter, DropReason, Flow, FlowFlags, FlowKind, Nanoseconds, Protocol,
    ServiceId, Tuple,
};

use crate::{
    env::{FlowTable, Insert, Kernel, Maps},
    headers::Headers,
    network::Network,
    rewrite::Rewrite,
    transport::{Hook, TcpFlags},
    verdict::Verdict,
};

/// How many source ports are tried before a flow is given up.
const PORT_ATTEMPTS: u32 = 8;

/// What was learned from a half when a packet met it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Met<A> {
    /// What to write.
    rewrite: Rewrite<A>,
    /// The flags before this packet.
    flags: FlowFlags,
    /// A [`FlowKind`] as its number.
    kind: u8,
}

impl<A: Network> Met<A> {
    /// The key of the other half, for a packet with `key` met at `hook`.
    #[inline(always)]
    fn other_key(&self, hook: Hook, key: &Tuple<A>) -> Tuple<A> {
        let Rewrite { address, port, other_port } = self.rewrite;
        match hook {
            Hook::Ingress => Tuple::new((address, port), (key.source, other_port), key.protocol),
            Hook::Egress => {
                Tuple::new((key.destination, other_port), (address, port), key.protocol)
            }
        }
    }
}

impl Hook {
    /// The table of settled flows at this hook.
    #[inline(always)]
    #[must_use]
    pub const fn flows(self) -> FlowTable {
        match self {
            Self::Ingress => FlowTable::Dst,
            Self::Egress => FlowTable::Src,
        }
    }

    /// The table of new flows at this hook.
    #[inline(always)]
    #[must_use]
    pub const fn new_flows(self) -> FlowTable {
        match self {
            Self::Ingress => FlowTable::NewDst,
            Self::Egress => FlowTable::NewSrc,
        }
    }

    /// The hook where the other half of a flow is.
    #[inline(always)]
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Ingress => Self::Egress,
            Self::Egress => Self::Ingress,
        }
    }
}

/// The key of the other half of `flow`, which is under `key` at `hook`.
#[inline(always)]
fn other_key<A: Address>(hook: Hook, key: &Tuple<A>, flow: &Flow<A>) -> Tuple<A> {
    match hook {
        Hook::Ingress => flow.src_key(key),
        Hook::Egress => flow.dst_key(key),
    }
}

/// Looks the packet's tuple up in `table` and records the packet on the half that is found.
#[inline(always)]
fn meet<A, E>(env: &E, table: FlowTable, headers: &Headers<A>, bytes: u64) -> Option<Met<A>>
where
    A: Network,
    E: Maps<A> + Kernel,
{
    let now = env.now();
    env.with_flow(table, &headers.tuple, |flow| {
        let met = Met {
            rewrite: Rewrite {
                address: flow.address,
                port: flow.port,
                other_port: flow.other_port,
            },
            flags: flow.flags,
            kind: flow.kind,
        };
        flow.last_seen = now;
        flow.packets = flow.packets.wrapping_add(1);
        flow.bytes = flow.bytes.wrapping_add(bytes);
        let flags = flags_after(flow.flags, headers.flags);
        if flags != flow.flags {
            flow.flags = flags;
        }
        met
    })
}

/// What to write into a packet of a settled flow. A SYN on a connection that has ended belongs to
/// none: the old flow is removed.
#[inline(always)]
pub fn follow<A, E>(env: &E, hook: Hook, headers: &Headers<A>, bytes: u64) -> Option<Rewrite<A>>
where
    A: Network,
    E: Maps<A> + Kernel,
{
    let met = meet(env, hook.flows(), headers, bytes)?;
    let begins_anew = headers.opens_tcp() && end_if_closed(env, hook, &headers.tuple);
    if begins_anew { None } else { Some(met.rewrite) }
}

/// What to write into a packet of a new flow, into `found`.
///
/// [`Verdict::PASS`]: there is no such flow. [`Verdict::MASQUERADE`]: its source isn't known yet.
/// [`Verdict::SETTLE`]: with this packet it is to be settled.
#[inline(never)]
pub fn follow_new<A, E>(
    env: &E,
    hook: Hook,
    headers: &Headers<A>,
    bytes: u64,
    found: &mut Rewrite<A>,
) -> Verdict
where
    A: Network,
    E: Maps<A> + Kernel,
{
    let Some(met) = meet(env, hook.new_flows(), headers, bytes) else { return Verdict::PASS };
    if met.flags.contains(FlowFlags::PENDING) {
        return Verdict::MASQUERADE;
    }
    *found = met.rewrite;
    let is_reply = met.flags.contains(FlowFlags::REPLY);
    let settles = if met.kind == FlowKind::Direct as u8 {
        // Nobody looks for a new flow on behalf of a packet that continues one and is no frontend's.
        is_reply
    } else {
        !is_reply
            && met.flags.contains(FlowFlags::ANSWERED)
            && !headers.opens_tcp()
            && !headers.flags.rst()
    };
    if settles {
        return Verdict::SETTLE;
    }
    // A half that is used keeps the other one from being evicted.
    let news = if is_reply { FlowFlags::ANSWERED } else { FlowFlags::empty() };
    let now = env.now();
    let other = met.other_key(hook, &headers.tuple);
    env.with_flow(hook.other().new_flows(), &other, |flow| {
        flow.last_seen = now;
        flow.flags = flow.flags.union(news);
    });
    Verdict::TRANSLATED
}

/// The flags of a half after a packet with `tcp`: a FIN stays, a RST is believed until a packet
/// other than a SYN shows that the other end did not believe it (it was out of window).
#[inline(always)]
fn flags_after(flags: FlowFlags, tcp: TcpFlags) -> FlowFlags {
    let flags =
        if flags.contains(FlowFlags::REPLY) { flags.union(FlowFlags::ANSWERED) } else { flags };
    if tcp.rst() {
        flags.union(FlowFlags::RST)
    } else if tcp.syn() {
        flags
    } else if tcp.fin() {
        flags.without(FlowFlags::RST).union(FlowFlags::FIN)
    } else {
        flags.without(FlowFlags::RST)
    }
}

/// Whether two halves with these flags belong to a connection that has ended: a RST in either
/// direction, or a FIN in both.
#[must_use]
pub fn is_closed(one: FlowFlags, other: FlowFlags) -> bool {
    one.union(other).contains(FlowFlags::RST)
        || (one.contains(FlowFlags::FIN) && other.contains(FlowFlags::FIN))
}

/// Removes the flow under `key` at `hook` from the main tables if its connection has ended; `true`
/// when there is none (any more).
#[inline(never)]
pub fn end_if_closed<A, E>(env: &E, hook: Hook, key: &Tuple<A>) -> bool
where
    A: Network,
    E: Maps<A>,
{
    let Some((flags, other)) =
        env.with_flow(hook.flows(), key, |flow| (flow.flags, other_key(hook, key, flow)))
    else {
        return true;
    };
    let closed = match env.with_flow(hook.other().flows(), &other, |flow| flow.flags) {
        Some(other_flags) => is_closed(flags, other_flags),
        // Half a pair is no flow.
        None => true,
    };
    if closed {
        env.remove_flow(hook.flows(), key);
        env.remove_flow(hook.other().flows(), &other);
    }
    closed
}

/// Moves the new flow with the half under `key` at `hook` to the main tables. When there is no room
/// the flow stays where it is, and the packet must not go on: the connection would be established
/// and then forgotten.
///
/// [`Verdict::MASQUERADE`]: done, and the pair that masquerades the flow has to follow.
#[inline(never)]
pub fn settle<A, E>(env: &E, hook: Hook, key: &Tuple<A>) -> Verdict
where
    A: Network,
    E: Maps<A> + Kernel,
{
    // Concurrency: another CPU may be settling the same flow. Whoever comes second finds nothing to
    // do, or writes the same once more.
    // verifier: one half at a time in the same memory, for the stack is small.
    let Some(mut half) = copy(env, hook.new_flows(), key) else { return Verdict::TRANSLATED };
    let other = other_key(hook, key, &half);
    let masqueraded = half.flags.contains(FlowFlags::MASQUERADED);
    if !env.insert_flow(hook.flows(), key, &half, Insert::Replace) {
        return Verdict::drop(DropReason::FlowTableFull);
    }
    match copy(env, hook.other().new_flows(), &other) {
        Some(there) => half = there,
        None => turn(&mut half, hook, key),
    }
    if !env.insert_flow(hook.other().flows(), &other, &half, Insert::Replace) {
        env.remove_flow(hook.flows(), key);
        return Verdict::drop(DropReason::FlowTableFull);
    }
    env.remove_flow(hook.new_flows(), key);
    env.remove_flow(hook.other().new_flows(), &other);
    env.count(Counter::FlowSettled);
    if masqueraded { Verdict::MASQUERADE } else { Verdict::TRANSLATED }
}

/// Settles the pair that masquerades the flow of `tuple`, whose packets become `found` at ingress.
#[inline(never)]
pub fn settle_masquerade<A, E>(env: &E, tuple: &Tuple<A>, found: &Rewrite<A>) -> Verdict
where
    A: Network,
    E: Maps<A> + Kernel,
{
    let key =
        Tuple::new((tuple.source, found.other_port), (found.address, found.port), tuple.protocol);
    settle(env, Hook::Egress, &key)
}

/// A copy of the half under `key`, as it is to be in the main tables.
#[inline(always)]
fn copy<A, E>(env: &E, table: FlowTable, key: &Tuple<A>) -> Option<Flow<A>>
where
    A: Network,
    E: Maps<A>,
{
    env.with_flow(table, key, |flow| Flow { flags: flow.flags.union(FlowFlags::ANSWERED), ..*flow })
}

/// Makes the other half of `half`, which is under `key` at `hook`: for one that a flood evicted.
#[inline(always)]
fn turn<A: Address>(half: &mut Flow<A>, hook: Hook, key: &Tuple<A>) {
    let flags = if half.flags.contains(FlowFlags::REPLY) {
        FlowFlags::ANSWERED
    } else {
        FlowFlags::ANSWERED.union(FlowFlags::REPLY)
    };
    match hook {
        Hook::Ingress => {
            half.write((key.destination, key.destination_port, key.source_port), flags);
        }
        Hook::Egress => half.write((key.source, key.source_port, key.destination_port), flags),
    }
}

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
    let settled = env.with_flow(FlowTable::Dst, tuple, |flow| Rewrite {
        address: flow.address,
        port: flow.port,
        other_port: flow.other_port,
    });
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
