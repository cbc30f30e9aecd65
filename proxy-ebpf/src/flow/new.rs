//! Following a new flow: from its first packet until it settles.

use proxy_common::{FlowFlags, FlowKind};

use super::{
    meet,
    partner::{Partner, partner, remake},
};
use crate::{
    env::{Kernel, Maps},
    headers::Headers,
    network::Network,
    rewrite::Rewrite,
    transport::Hook,
    verdict::Verdict,
};

/// What to write into a packet of a new flow, into `found`.
///
/// [`Verdict::PASS`]: there is no such flow, or the packet belongs to none. [`Verdict::MASQUERADE`]: its
/// source isn't known yet. [`Verdict::SETTLE`]: with this packet it is to be settled.
/// [`Verdict::MASQUERADED`] and [`Verdict::MASQUERADED_ANSWER`]: the pair that masquerades it has a say.
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
    let Some(met) = meet(env, hook.new_flows(), headers, bytes, found) else {
        return Verdict::PASS;
    };
    if met.flags.contains(FlowFlags::PENDING) {
        return Verdict::MASQUERADE;
    }
    let key = &headers.tuple;
    let other = found.other_key(hook, key);
    let partner = partner(env, hook, key, &other, met.flags);
    if met.flags.contains(FlowFlags::REPLY) {
        return match hook {
            // An endpoint that opens a connection to a masqueraded flow's port answers nobody.
            Hook::Ingress if headers.opens_tcp() => Verdict::PASS,
            Hook::Ingress => Verdict::MASQUERADED_ANSWER,
            // Nobody looks for a new flow on behalf of a packet that continues one and is no
            // frontend's, so such a flow settles with its answer.
            Hook::Egress if met.kind == FlowKind::Direct as u8 && partner != Partner::Anothers => {
                Verdict::SETTLE
            }
            Hook::Egress => Verdict::TRANSLATED,
        };
    }
    match (hook, partner) {
        // Another flow has the port by now: it takes one once more.
        (Hook::Egress, Partner::Anothers) => return Verdict::MASQUERADE,
        (Hook::Ingress, Partner::Anothers) => return Verdict::PASS,
        // Refused: the next attempt goes where it goes, and reserves its halves anew. At egress it is
        // for the flow to be masqueraded, whatever became of it here.
        (Hook::Ingress, Partner::Ended) if headers.opens_tcp() => {
            env.remove_flow(hook.new_flows(), key);
            env.remove_flow(hook.other().new_flows(), &other);
            return Verdict::PASS;
        }
        (_, Partner::Missing) => remake(env, hook, key, &other),
        (_, Partner::Ours | Partner::Ended) => {}
    }
    if met.flags.contains(FlowFlags::MASQUERADED) {
        Verdict::MASQUERADED
    } else if met.kind == FlowKind::Service as u8 && settles(met.flags, headers) {
        Verdict::SETTLE
    } else {
        Verdict::TRANSLATED
    }
}

/// Whether the packet with `headers`, of the one who opened the new flow, settles it; `flags` are those
/// of its forward half.
#[inline(always)]
pub(super) fn settles<A: Network>(flags: FlowFlags, headers: &Headers<A>) -> bool {
    flags.contains(FlowFlags::ANSWERED) && !headers.opens_tcp() && !headers.flags.rst()
}
