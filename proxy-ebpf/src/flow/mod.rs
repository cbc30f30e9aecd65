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

mod open;
mod settle;

use proxy_common::{Address, Flow, FlowFlags, FlowKind, Tuple};

use crate::{
    env::{FlowTable, Insert, Kernel, Maps},
    headers::Headers,
    network::Network,
    rewrite::Rewrite,
    transport::{Hook, TcpFlags},
    verdict::Verdict,
};

pub(crate) use open::fresh;
pub use open::{Opening, open};
pub use settle::{settle, settle_masquerade};

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
        let met = Met { rewrite: Rewrite::of(flow), flags: flow.flags, kind: flow.kind };
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
    let there = env.with_flow(hook.other().new_flows(), &other, |flow| {
        flow.last_seen = now;
        flow.flags = flow.flags.union(news);
    });
    if there.is_none() && !is_reply {
        remake(env, hook, &headers.tuple, &other);
    }
    Verdict::TRANSLATED
}

/// Makes the reply half `other` anew, which a flood has evicted, from the forward half under `key`:
/// without it the answer would show the endpoint's address.
#[inline(never)]
fn remake<A, E>(env: &E, hook: Hook, key: &Tuple<A>, other: &Tuple<A>)
where
    A: Network,
    E: Maps<A>,
{
    let Some(mut half) = env.with_flow(hook.new_flows(), key, |flow| *flow) else { return };
    settle::turn(&mut half, hook, key);
    half.flags = FlowFlags::REPLY;
    // Where there is no room the flow is as new as before.
    env.insert_flow(hook.other().new_flows(), other, &half, Insert::Keep);
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
