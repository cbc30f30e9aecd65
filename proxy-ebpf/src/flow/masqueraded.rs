//! New flows that are masqueraded: their packets must not leave with their client's address, nor their
//! answers with their endpoint's, whatever a flood has evicted.

use bytemuck::Zeroable as _;
use proxy_common::{DropReason, Flow, FlowFlags, FlowKind, RejectReason, Tuple};

use super::{
    masquerade_key,
    new::settles,
    partner::{Partner, partner},
    settle::settle_masqueraded,
};
use crate::{
    env::{FlowTable, Insert, Kernel, Maps},
    headers::Headers,
    network::Network,
    rewrite::Rewrite,
    transport::{Hook, Step},
    verdict::Verdict,
};

/// The verdict on a packet of a new masqueraded flow, which becomes `found` at ingress, from the one
/// who opened it.
#[inline(never)]
pub fn follow_masqueraded<A, E>(env: &E, headers: &Headers<A>, found: &Rewrite<A>) -> Verdict
where
    A: Network,
    E: Maps<A> + Kernel,
{
    // Concurrency: another CPU may have moved the flow to the main tables.
    let forward = env.with_flow(FlowTable::NewDst, &headers.tuple, |flow| flow.flags);
    let Some(flags) = forward else { return Verdict::TRANSLATED };
    let key = masquerade_key(&headers.tuple, found);
    let is_whole = is_whole(env, &key);
    if !expects(headers.step(), flags, is_whole) {
        return Verdict::reject(RejectReason::NoFlow);
    }
    if !is_whole {
        leave_word_again(env, &headers.tuple, &key);
        return Verdict::TRANSLATED;
    }
    if settles(flags, headers) {
        return settle_masqueraded(env, &headers.tuple, &key);
    }
    Verdict::TRANSLATED
}

/// Whether a packet that means `step` will be masqueraded where it goes out.
///
/// Where the half for that was evicted the endpoint would see another port: only what opens a
/// connection goes on. Data before an answer is nobody's, and egress doesn't look for new flows on
/// behalf of data.
#[inline(always)]
fn expects(step: Step, flags: FlowFlags, is_whole: bool) -> bool {
    match step {
        Step::Opens => true,
        Step::Answers => is_whole,
        Step::Continues => is_whole && flags.contains(FlowFlags::ANSWERED),
    }
}

/// Whether the half under `key` at egress is there, and no other flow has its port.
#[inline(never)]
fn is_whole<A, E>(env: &E, key: &Tuple<A>) -> bool
where
    A: Network,
    E: Maps<A> + Kernel,
{
    let now = env.now();
    let mut other = Tuple::zeroed();
    let new = env.with_flow(FlowTable::NewSrc, key, |flow| {
        flow.last_seen = now;
        other = flow.dst_key(key);
        flow.flags.contains(FlowFlags::PENDING)
    });
    match new {
        Some(true) => true,
        Some(false) => {
            let partner = partner(env, Hook::Egress, key, &other, FlowFlags::empty());
            if partner == Partner::Anothers {
                env.remove_flow(FlowTable::NewSrc, key);
            }
            partner != Partner::Anothers
        }
        // Concurrency: another CPU may be moving the flow to the main tables.
        None => env.with_flow(FlowTable::Src, key, |_| ()).is_some(),
    }
}

/// Leaves word once more for egress that the packets of `tuple`'s flow need another source address there;
/// under `key`.
#[inline(never)]
fn leave_word_again<A, E>(env: &E, tuple: &Tuple<A>, key: &Tuple<A>)
where
    A: Network,
    E: Maps<A>,
{
    let Some(mut half) = env.with_flow(FlowTable::NewDst, tuple, |flow| *flow) else { return };
    leave_word(&mut half, tuple.source);
    env.insert_flow(FlowTable::NewSrc, key, &half, Insert::Keep);
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

/// The verdict on an answer with `tuple`, which a new masqueraded flow turns into `found`: whether its
/// reply half will be found at egress, which looks for those of settled flows only when the packet
/// `is_late`. Otherwise it would leave with its endpoint's address.
#[inline(never)]
pub fn masqueraded_answer<A, E>(
    env: &E,
    tuple: &Tuple<A>,
    found: &Rewrite<A>,
    is_late: bool,
) -> Verdict
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
