//! Settling: a new flow moves to the main tables, both halves together.

use proxy_common::{Address, Counter, DropReason, Flow, FlowFlags, Tuple};

use super::other_key;
use crate::{
    env::{FlowTable, Insert, Kernel, Maps},
    network::Network,
    rewrite::Rewrite,
    transport::Hook,
    verdict::Verdict,
};

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
pub(super) fn turn<A: Address>(half: &mut Flow<A>, hook: Hook, key: &Tuple<A>) {
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
