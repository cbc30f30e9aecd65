//! The other half of a new flow. A flood may evict it, one half at a time, and another flow may take its
//! place; so it is looked at with every packet of a new flow, and made anew where it is missing.

use proxy_common::{Flow, FlowFlags, Tuple};

use super::{closing::is_closed, settle};
use crate::{
    env::{Insert, Kernel, Maps},
    network::Network,
    transport::Hook,
};

/// What is under the other half's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Partner {
    /// The other half.
    Ours,
    /// The other half, of a connection that has ended.
    Ended,
    /// Nothing.
    Missing,
    /// A half of another flow.
    Anothers,
}

/// What is under `other`, where the half under `key` at `hook` (with `flags`) has its other half. A half
/// that is used keeps the other one from being evicted, and an answer is noted there.
#[inline(never)]
pub(super) fn partner<A, E>(
    env: &E,
    hook: Hook,
    key: &Tuple<A>,
    other: &Tuple<A>,
    flags: FlowFlags,
) -> Partner
where
    A: Network,
    E: Maps<A> + Kernel,
{
    let now = env.now();
    let is_reply = flags.contains(FlowFlags::REPLY);
    let new = env.with_flow(hook.other().new_flows(), other, |flow| {
        if !leads_to(hook, key, flow) {
            return Partner::Anothers;
        }
        flow.last_seen = now;
        if is_reply {
            flow.flags = flow.flags.union(FlowFlags::ANSWERED);
        }
        if is_closed(flags, flow.flags) { Partner::Ended } else { Partner::Ours }
    });
    let settled = || {
        env.with_flow(hook.other().flows(), other, |flow| {
            if leads_to(hook, key, flow) { Partner::Ours } else { Partner::Anothers }
        })
    };
    new.or_else(settled).unwrap_or(Partner::Missing)
}

/// Whether `flow`, found where the half under `key` at `hook` has its other half, is that half.
#[inline(always)]
pub(super) fn leads_to<A: Network>(hook: Hook, key: &Tuple<A>, flow: &Flow<A>) -> bool {
    match hook {
        Hook::Ingress => {
            flow.address == key.destination
                && flow.port == key.destination_port
                && flow.other_port == key.source_port
        }
        Hook::Egress => {
            flow.address == key.source
                && flow.port == key.source_port
                && flow.other_port == key.destination_port
        }
    }
}

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
