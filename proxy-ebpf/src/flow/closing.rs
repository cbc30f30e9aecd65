//! The end of a flow: when a connection has ended, all its halves go together.

use bytemuck::Zeroable as _;
use proxy_common::{FlowFlags, FlowKind, Tuple};

use super::{other_key, partner::leads_to};
use crate::{
    env::{FlowTable, Maps},
    network::Network,
    transport::Hook,
};

/// Whether two halves with these flags belong to a connection that has ended: a RST in either
/// direction, or a FIN in both.
#[must_use]
pub fn is_closed(one: FlowFlags, other: FlowFlags) -> bool {
    one.union(other).contains(FlowFlags::RST)
        || (one.contains(FlowFlags::FIN) && other.contains(FlowFlags::FIN))
}

/// Removes the flow under `key` at `hook` from the main tables if its connection has ended; `true`
/// when there is none (any more).
///
/// A masqueraded flow goes with the pair that masquerades it, and that pair with its flow. Each has
/// its half at egress, and one's key is the other's reversed.
#[inline(never)]
pub fn end_if_closed<A, E>(env: &E, hook: Hook, key: &Tuple<A>) -> bool
where
    A: Network,
    E: Maps<A>,
{
    let mut other = Tuple::zeroed();
    let Some((flags, kind)) = env.with_flow(hook.flows(), key, |flow| {
        other = other_key(hook, key, flow);
        (flow.flags, flow.kind)
    }) else {
        return true;
    };
    let flags = match env.with_flow(hook.other().flows(), &other, |flow| flow.flags) {
        Some(others) if is_closed(flags, others) => flags.union(others),
        Some(_) => return false,
        // Half a pair is no flow.
        None => flags,
    };
    env.remove_flow(hook.flows(), key);
    env.remove_flow(hook.other().flows(), &other);
    if flags.contains(FlowFlags::MASQUERADED) || kind == FlowKind::Masquerade as u8 {
        let companion = match hook {
            Hook::Ingress => other.reversed(),
            Hook::Egress => key.reversed(),
        };
        let found = env.with_flow(FlowTable::Src, &companion, |flow| {
            other = flow.dst_key(&companion);
        });
        if found.is_some() {
            env.remove_flow(FlowTable::Dst, &other);
            env.remove_flow(FlowTable::Src, &companion);
        }
    }
    true
}

/// Removes the settled pair that masquerades under `key` at egress, if word was left there for a new flow
/// of the same client, port and endpoint; `true` when there is none (any more).
///
/// Concurrency: the agent takes the four halves of a flow that has ended one after the other. A new one
/// may come between them. What is left of the old one must not masquerade it: it will be gone before the
/// answer.
#[inline(never)]
pub(super) fn end_if_left_behind<A, E>(env: &E, key: &Tuple<A>) -> bool
where
    A: Network,
    E: Maps<A>,
{
    let pending =
        env.with_flow(FlowTable::NewSrc, key, |flow| flow.flags.contains(FlowFlags::PENDING));
    if pending != Some(true) {
        return false;
    }
    let mut other = Tuple::zeroed();
    let found = env.with_flow(FlowTable::Src, key, |flow| other = flow.dst_key(key));
    if found.is_some() {
        env.remove_flow(FlowTable::Src, key);
        let theirs =
            env.with_flow(FlowTable::Dst, &other, |flow| leads_to(Hook::Egress, key, flow));
        if theirs == Some(true) {
            env.remove_flow(FlowTable::Dst, &other);
        }
    }
    true
}
