//! What a flood evicts from the tables of new flows, one half of a pair at a time, is made anew from
//! the half that is left, so that no packet leaves half translated.

use proxy_common::{DropReason, Flow, FlowFlags, FlowKind, Tuple};

use super::{masquerade_key, settle};
use crate::{
    env::{FlowTable, Insert, Kernel, Maps},
    headers::Headers,
    network::Network,
    rewrite::Rewrite,
    transport::{Hook, Step},
    verdict::Verdict,
};

/// Makes the reply half `other` anew from the forward half under `key`: without it the answer would
/// show the endpoint's address.
#[inline(never)]
pub(super) fn remake<A, E>(env: &E, hook: Hook, key: &Tuple<A>, other: &Tuple<A>)
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

/// Whether the half is there that masquerades the flow of the packet with `headers`, which becomes
/// `found` at ingress. If not, a packet that may open a flow leaves word for egress once more: without
/// it the packet would leave with its client's address, and the answer would not come back here.
#[inline(never)]
pub(super) fn keep_masquerade<A, E>(env: &E, headers: &Headers<A>, found: &Rewrite<A>) -> bool
where
    A: Network,
    E: Maps<A> + Kernel,
{
    let key = masquerade_key(&headers.tuple, found);
    let now = env.now();
    // Concurrency: another CPU may be moving the flow to the main tables.
    if env.with_flow(FlowTable::NewSrc, &key, |flow| flow.last_seen = now).is_some()
        || env.with_flow(FlowTable::Src, &key, |_| ()).is_some()
    {
        return true;
    }
    if headers.step() == Step::Opens
        && let Some(mut half) = env.with_flow(FlowTable::NewDst, &headers.tuple, |flow| *flow)
    {
        leave_word(&mut half, headers.tuple.source);
        env.insert_flow(FlowTable::NewSrc, &key, &half, Insert::Keep);
    }
    false
}

/// The verdict on an answer with `tuple`, which a new masqueraded flow turns into `found`: whether its
/// reply half will be found at egress, which looks for those of settled flows only when the packet is
/// late. Otherwise it would leave with its endpoint's address.
#[inline(never)]
pub fn answer<A, E>(env: &E, tuple: &Tuple<A>, found: &Rewrite<A>, is_late: bool) -> Verdict
where
    A: Network,
    E: Maps<A>,
{
    let key =
        Tuple::new((tuple.source, found.other_port), (found.address, found.port), tuple.protocol);
    if (!is_late && env.with_flow(FlowTable::NewSrc, &key, |_| ()).is_some())
        || env.with_flow(FlowTable::Src, &key, |_| ()).is_some()
    {
        Verdict::TRANSLATED
    } else {
        Verdict::drop(DropReason::NotEstablished)
    }
}

/// Makes a pending half of a flow's forward half, for egress to resolve.
#[inline(always)]
pub(super) fn leave_word<A: Network>(forward: &mut Flow<A>, client: A) {
    let (port, source_port) = (forward.port, forward.other_port);
    forward.write((client, source_port, port), FlowFlags::PENDING);
    forward.kind = FlowKind::Masquerade as u8;
    forward.packets = 0;
    forward.bytes = 0;
}
