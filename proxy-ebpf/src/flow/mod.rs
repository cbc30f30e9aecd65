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
mod evicted;
mod open;
mod settle;

use proxy_common::{Address, Flow, FlowFlags, FlowKind, RejectReason, Tuple};

use crate::{
    affinity,
    env::{FlowTable, Kernel, Maps},
    headers::Headers,
    network::Network,
    rewrite::Rewrite,
    transport::{Hook, Step, TcpFlags},
    verdict::Verdict,
};

pub use closing::{end_if_closed, is_closed};
pub use evicted::answer;
pub(crate) use open::fresh;
pub use open::{Opening, is_taken, open};
pub use settle::{settle, settle_masqueraded};

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

    /// Whether the packet with `headers`, met on the new forward half of a masqueraded flow, will be
    /// masqueraded where it goes out; `is_whole` says whether the half for that was there. It must not
    /// leave with its client's address.
    ///
    /// Where that half was evicted the endpoint would see another port: only what opens a connection
    /// goes on. Data before an answer is nobody's, and egress doesn't look for new flows on behalf of
    /// data.
    #[inline(always)]
    fn expects(&self, headers: &Headers<A>, is_whole: bool) -> bool {
        match headers.step() {
            Step::Opens => true,
            Step::Answers => is_whole,
            Step::Continues => is_whole && self.flags.contains(FlowFlags::ANSWERED),
        }
    }

    /// Whether the packet with `headers`, met on a new half, settles the flow.
    #[inline(always)]
    fn settles(&self, headers: &Headers<A>) -> bool {
        let is_reply = self.flags.contains(FlowFlags::REPLY);
        if self.kind == FlowKind::Direct as u8 {
            // Nobody looks for a new flow on behalf of a packet that continues one and is no
            // frontend's.
            return is_reply;
        }
        // The pair that masquerades a flow settles when the flow does.
        self.kind == FlowKind::Service as u8
            && !is_reply
            && self.flags.contains(FlowFlags::ANSWERED)
            && !headers.opens_tcp()
            && !headers.flags.rst()
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

/// The key, at egress, of the half that masquerades the flow of `tuple`, whose packets become `found`
/// at ingress.
#[inline(always)]
fn masquerade_key<A: Network>(tuple: &Tuple<A>, found: &Rewrite<A>) -> Tuple<A> {
    Tuple::new((tuple.source, found.other_port), (found.address, found.port), tuple.protocol)
}

/// Looks the packet's tuple up in `table` and records the packet on the half that is found, and on
/// what is known of the client where that has a say in its next flow.
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
        let forward_at_ingress = matches!(table, FlowTable::Dst | FlowTable::NewDst);
        if forward_at_ingress && flags.contains(FlowFlags::AFFINE) {
            let client = &headers.tuple.source;
            affinity::note_packet(env, client, flow.service, flow.backend, now);
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
/// [`Verdict::PASS`]: there is no such flow, or its connection has ended and the packet is the SYN of
/// another one. [`Verdict::MASQUERADE`]: its source isn't known yet. [`Verdict::SETTLE`] and
/// [`Verdict::SETTLE_MASQUERADED`]: with this packet it is to be settled. [`Verdict::MASQUERADED_ANSWER`]:
/// [`answer`] decides. A refusal: the packet can't be one of its connection's.
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
    let is_masqueraded = met.flags.contains(FlowFlags::MASQUERADED);
    let is_whole = !is_masqueraded || evicted::keep_masquerade(env, headers, found);
    if is_masqueraded && !met.expects(headers, is_whole) {
        return Verdict::reject(RejectReason::NoFlow);
    }
    if is_whole && met.settles(headers) {
        return if is_masqueraded { Verdict::SETTLE_MASQUERADED } else { Verdict::SETTLE };
    }
    // A half that is used keeps the other one from being evicted.
    let news = if is_reply { FlowFlags::ANSWERED } else { FlowFlags::empty() };
    let now = env.now();
    let other = met.other_key(hook, &headers.tuple);
    let others = env.with_flow(hook.other().new_flows(), &other, |flow| {
        flow.last_seen = now;
        flow.flags = flow.flags.union(news);
        flow.flags
    });
    if is_reply {
        let is_masquerade = met.kind == FlowKind::Masquerade as u8;
        return if is_masquerade { Verdict::MASQUERADED_ANSWER } else { Verdict::TRANSLATED };
    }
    match others {
        Some(others) if headers.opens_tcp() && is_closed(met.flags, others) => {
            // Refused: the next attempt goes where it goes, and reserves its halves anew.
            env.remove_flow(hook.new_flows(), &headers.tuple);
            env.remove_flow(hook.other().new_flows(), &other);
            Verdict::PASS
        }
        Some(_) => Verdict::TRANSLATED,
        None => {
            evicted::remake(env, hook, &headers.tuple, &other);
            Verdict::TRANSLATED
        }
    }
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
