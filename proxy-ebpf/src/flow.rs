//! Flows: opening them, following them, moving them to the main tables when they are answered, and
//! ending them.
//!
//! A flow has two halves, one at ingress and one at egress; each is found by the tuple on the wire
//! and leads to the other (`Flow::src_key`, `Flow::dst_key`). The half that the first packet meets
//! is the forward half, the other one the reply half.

use proxy_common::{
    Address, Be16, Counter, DropReason, Flow, FlowFlags, FlowKind, Nanoseconds, Protocol,
    ServiceId, Tuple,
};

use crate::{
    env::{FlowTable, Insert, Kernel, Maps},
    network::Network,
    rewrite::Rewrite,
    transport::{Hook, TcpFlags, Transport},
};

/// How many source ports are tried before a flow is given up.
const PORT_ATTEMPTS: u32 = 16;

/// What was learned from a half when a packet met it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Met<A> {
    /// What to write.
    pub rewrite: Rewrite<A>,
    /// The flags before this packet.
    pub flags: FlowFlags,
}

impl<A: Network> Met<A> {
    /// The key of the other half, for a packet with `key` met at `hook`.
    #[inline(always)]
    #[must_use]
    pub fn other_key(&self, hook: Hook, key: &Tuple<A>) -> Tuple<A> {
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
    /// The table of answered flows at this hook.
    #[inline(always)]
    #[must_use]
    pub const fn flows(self) -> FlowTable {
        match self {
            Self::Ingress => FlowTable::Dst,
            Self::Egress => FlowTable::Src,
        }
    }

    /// The table of flows that wait for an answer at this hook.
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
pub fn other_key<A: Address>(hook: Hook, key: &Tuple<A>, flow: &Flow<A>) -> Tuple<A> {
    match hook {
        Hook::Ingress => flow.src_key(key),
        Hook::Egress => flow.dst_key(key),
    }
}

/// Looks the packet's tuple up in `table` and records the packet on the half that is found.
#[inline(always)]
pub fn meet<A, E>(env: &E, table: FlowTable, transport: &Transport<A>, bytes: u64) -> Option<Met<A>>
where
    A: Network,
    E: Maps<A> + Kernel,
{
    let now = env.now();
    env.with_flow(table, &transport.tuple, |flow| {
        let met = Met {
            rewrite: Rewrite {
                address: flow.address,
                port: flow.port,
                other_port: flow.other_port,
            },
            flags: flow.flags,
        };
        flow.last_seen = now;
        flow.packets = flow.packets.wrapping_add(1);
        flow.bytes = flow.bytes.wrapping_add(bytes);
        let flags = flags_after(flow.flags, transport.flags);
        if flags != flow.flags {
            flow.flags = flags;
        }
        met
    })
}

/// The flags of a half after a packet with `tcp`: a FIN stays, a RST is believed until a packet
/// other than a SYN shows that the other end did not believe it (it was out of window).
#[inline(always)]
fn flags_after(flags: FlowFlags, tcp: TcpFlags) -> FlowFlags {
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

/// Moves both halves of a flow to the main tables: the packet with `key` at `hook` is its first
/// answer. When there is no room the flow stays where it is, and the answer must not go on, or the
/// connection would be established and then forgotten.
#[inline(never)]
pub fn answer<A, E>(env: &E, hook: Hook, key: &Tuple<A>) -> Result<(), DropReason>
where
    A: Network,
    E: Maps<A> + Kernel,
{
    let copy = |flow: &mut Flow<A>| Flow { flags: flow.flags.union(FlowFlags::ANSWERED), ..*flow };
    // Concurrency: another CPU may be moving the same flow, or a flood may have evicted a half.
    // Whoever comes second finds the flow in the main tables or not at all.
    let Some(reply) = env.with_flow(hook.new_flows(), key, copy) else { return Ok(()) };
    let other = other_key(hook, key, &reply);
    let Some(forward) = env.with_flow(hook.other().new_flows(), &other, copy) else {
        return Ok(());
    };
    if !env.insert_flow(hook.other().flows(), &other, &forward, Insert::Replace) {
        return Err(DropReason::FlowTableFull);
    }
    if !env.insert_flow(hook.flows(), key, &reply, Insert::Replace) {
        env.remove_flow(hook.other().flows(), &other);
        return Err(DropReason::FlowTableFull);
    }
    env.remove_flow(hook.new_flows(), key);
    env.remove_flow(hook.other().new_flows(), &other);
    env.count(Counter::FlowAnswered);
    Ok(())
}

/// What to do for a packet whose flow still waits for its answer and was `met` at `hook`: its reply
/// half moves the flow to the main tables, its forward half keeps the reply half from being evicted.
#[inline(always)]
pub fn advance<A, E>(env: &E, hook: Hook, key: &Tuple<A>, met: &Met<A>) -> Result<(), DropReason>
where
    A: Network,
    E: Maps<A> + Kernel,
{
    if met.flags.contains(FlowFlags::REPLY) {
        return answer(env, hook, key);
    }
    let now = env.now();
    let other = met.other_key(hook, key);
    env.with_flow(hook.other().new_flows(), &other, |flow| flow.last_seen = now);
    Ok(())
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
    /// Service or direct.
    pub kind: FlowKind,
    /// Whether the packet needs another source address where it goes out.
    pub masquerade: bool,
}

/// Opens a flow at ingress for a packet with `tuple`: reserves the reply half, taking another source
/// port where a different flow has it, then writes the forward half.
#[inline(never)]
pub fn open<A, E>(env: &E, tuple: &Tuple<A>, opening: &Opening<A>) -> Result<Rewrite<A>, DropReason>
where
    A: Network,
    E: Maps<A> + Kernel,
{
    let now = env.now();
    let mut source_port = tuple.source_port;
    for _ in 0..PORT_ATTEMPTS {
        let reply_key = Tuple::new(
            (opening.address, opening.port),
            (tuple.source, source_port),
            tuple.protocol,
        );
        if reserve(env, tuple, opening, &reply_key, now) {
            let forward = half(
                (opening.address, opening.port, source_port),
                (opening.service, opening.kind),
                FlowFlags::empty(),
                now,
            );
            if !env.insert_flow(FlowTable::NewDst, tuple, &forward, Insert::Replace) {
                return Err(DropReason::FlowTableFull);
            }
            if opening.masquerade {
                pend(env, &reply_key.reversed(), opening, now)?;
            }
            env.count(Counter::FlowOpened);
            return Ok(Rewrite {
                address: opening.address,
                port: opening.port,
                other_port: source_port,
            });
        }
        if tuple.protocol == Protocol::SCTP {
            break;
        }
        source_port = fresh_port(env.random());
    }
    Err(DropReason::PortsExhausted)
}

/// Reserves `reply_key` at egress for the flow of `tuple`; `false` when another flow has it.
#[inline(always)]
fn reserve<A, E>(
    env: &E,
    tuple: &Tuple<A>,
    opening: &Opening<A>,
    reply_key: &Tuple<A>,
    now: Nanoseconds,
) -> bool
where
    A: Network,
    E: Maps<A>,
{
    let ours = |flow: &mut Flow<A>| {
        flow.address == tuple.destination
            && flow.port == tuple.destination_port
            && flow.other_port == tuple.source_port
    };
    let taken = env.with_flow(FlowTable::Src, reply_key, ours);
    if taken == Some(false) && !end_if_closed(env, Hook::Egress, reply_key) {
        return false;
    }
    let reply = half(
        (tuple.destination, tuple.destination_port, tuple.source_port),
        (opening.service, opening.kind),
        FlowFlags::REPLY,
        now,
    );
    if env.insert_flow(FlowTable::NewSrc, reply_key, &reply, Insert::Keep) {
        return true;
    }
    env.with_flow(FlowTable::NewSrc, reply_key, ours) == Some(true)
}

/// Leaves word for egress that the packet with `key` needs another source address there.
#[inline(always)]
fn pend<A, E>(
    env: &E,
    key: &Tuple<A>,
    opening: &Opening<A>,
    now: Nanoseconds,
) -> Result<(), DropReason>
where
    A: Network,
    E: Maps<A>,
{
    let pending = half(
        (key.source, key.source_port, key.destination_port),
        (opening.service, FlowKind::Masquerade),
        FlowFlags::PENDING,
        now,
    );
    if env.insert_flow(FlowTable::NewSrc, key, &pending, Insert::Replace) {
        Ok(())
    } else {
        Err(DropReason::FlowTableFull)
    }
}

#[inline(always)]
pub(crate) fn half<A: Address>(
    (address, port, other_port): (A, Be16, Be16),
    (service, kind): (ServiceId, FlowKind),
    flags: FlowFlags,
    now: Nanoseconds,
) -> Flow<A> {
    Flow {
        created: now,
        last_seen: now,
        packets: 0,
        bytes: 0,
        address,
        port,
        other_port,
        service,
        flags,
        kind: kind as u8,
        pad: [0; 6],
        align: bytemuck::Zeroable::zeroed(),
    }
}

/// A source port from 1024 up.
#[inline(always)]
fn fresh_port(random: u32) -> Be16 {
    #[expect(clippy::cast_possible_truncation, reason = "at most 65535")]
    Be16::new((1024 + (u64::from(random) * (65536 - 1024) >> 32)) as u16)
}
