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

mod closing;
mod masqueraded;
mod new;
mod open;
mod partner;
mod settle;

use proxy_common::{Address, ConfigOptions, Flow, FlowFlags, Nanoseconds, Tuple};

use crate::{
    affinity,
    env::{FlowTable, Kernel, Maps},
    headers::Headers,
    network::Network,
    rewrite::Rewrite,
    transport::{Hook, TcpFlags},
};

use closing::end_if_left_behind;
pub use closing::{end_if_closed, is_closed};
pub use masqueraded::{follow_masqueraded, masqueraded_answer};
pub use new::follow_new;
pub(crate) use open::fresh;
pub use open::{Opening, is_taken, open};
pub use settle::settle;

/// What was learned of a half, beside what it says to write, when a packet met it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Met {
    /// The flags before this packet.
    flags: FlowFlags,
    /// A [`FlowKind`](proxy_common::FlowKind) as its number.
    kind: u8,
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

/// The key, at egress, of the half that masquerades the flow of `tuple`, whose packets become `found`
/// at ingress.
#[inline(always)]
fn masquerade_key<A: Network>(tuple: &Tuple<A>, found: &Rewrite<A>) -> Tuple<A> {
    Tuple::new((tuple.source, found.other_port), (found.address, found.port), tuple.protocol)
}

/// Looks the packet's tuple up in `table` and records the packet on the half that is found, and on
/// what is known of the client where that has a say in its next flow. What to write goes to `found`.
#[inline(always)]
fn meet<A, E>(
    env: &E,
    table: FlowTable,
    headers: &Headers<A>,
    bytes: u64,
    found: &mut Rewrite<A>,
) -> Option<Met>
where
    A: Network,
    E: Maps<A> + Kernel,
{
    let now = env.now();
    env.with_flow(table, &headers.tuple, |flow| {
        *found = Rewrite::of(flow);
        let met = Met { flags: flow.flags, kind: flow.kind };
        flow.packets = flow.packets.wrapping_add(1);
        flow.bytes = flow.bytes.wrapping_add(bytes);
        let mut flags = met.flags;
        if !is_straggler(flags, headers.flags, flow.last_seen, now) {
            flow.last_seen = now;
            flags = flags_after(flags, headers.flags);
        }
        if flags != met.flags {
            flow.flags = flags;
        }
        let forward_at_ingress = matches!(table, FlowTable::Dst | FlowTable::NewDst);
        if forward_at_ingress && flags.contains(FlowFlags::AFFINE) {
            let client = &headers.tuple.source;
            affinity::note_packet(env, client, flow.service, flow.backend, now);
        }
        met
    })
}

/// Whether the packet belongs to a settled flow; what to write into it then goes to `found`.
#[inline(always)]
pub fn follow<A, E>(
    env: &E,
    hook: Hook,
    headers: &Headers<A>,
    bytes: u64,
    found: &mut Rewrite<A>,
) -> bool
where
    A: Network,
    E: Maps<A> + Kernel,
{
    let Some(met) = meet(env, hook.flows(), headers, bytes, found) else { return false };
    !headers.opens_tcp() || !begins_anew(env, hook, met.flags, &headers.tuple)
}

/// Whether a SYN that met a settled half with `flags` begins another connection. If the half's has
/// ended, the flow is removed.
#[inline(never)]
fn begins_anew<A, E>(env: &E, hook: Hook, flags: FlowFlags, key: &Tuple<A>) -> bool
where
    A: Network,
    E: Maps<A>,
{
    match (hook, flags.contains(FlowFlags::REPLY)) {
        // An endpoint that opens a connection to a masqueraded flow's port answers nobody.
        (Hook::Ingress, true) => true,
        // What is to be masqueraded was found to belong to its flow at ingress.
        (Hook::Egress, false) => end_if_left_behind(env, key),
        _ => end_if_closed(env, hook, key),
    }
}

/// For how long after a RST packets of its sender may still arrive that it sent before: CPUs that send
/// for one connection overtake each other.
const STRAGGLING: u64 = 100_000_000;

/// Whether a packet with `tcp` was sent before the RST that ended its direction at `last_seen`, and says
/// nothing about whether that was believed. It leaves no trace but its count, so that the time of the
/// RST stays known.
#[inline(always)]
fn is_straggler(flags: FlowFlags, tcp: TcpFlags, last_seen: Nanoseconds, now: Nanoseconds) -> bool {
    flags.contains(FlowFlags::RST)
        && !tcp.rst()
        && now.get().saturating_sub(last_seen.get()) < STRAGGLING
}

/// The flags of a half after a packet with `tcp`: a FIN stays, a RST is believed until a later packet
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

/// Whether the agent is replacing the tables that a flow would enter by `what`.
///
/// Some hooks run programs with the old tables then and some with the new ones: a flow that entered
/// either would be unknown at the other hook, where its packets would show their endpoint. So the
/// packet is dropped, and its sender sends it again. Asked once or twice in a connection's life.
#[inline(always)]
fn is_held<E: Kernel>(env: &E, what: ConfigOptions) -> bool {
    env.config().is_some_and(|config| config.options.contains(what))
}
