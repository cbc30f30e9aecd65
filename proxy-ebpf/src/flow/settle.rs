//! Settling: a new flow moves to the main tables with all its halves, or with none. A masqueraded flow
//! has four.

use proxy_common::{Address, ConfigOptions, Counter, DropReason, Flow, FlowFlags, Tuple};

use super::{is_held, other_key};
use crate::{
    env::{FlowTable, Insert, Kernel, Maps},
    network::Network,
    transport::Hook,
    verdict::Verdict,
};

/// Moves the new flow with the half under `key` at `hook` to the main tables. When there is no room
/// the flow stays where it is, and the packet must not go on: the connection would be established
/// and then forgotten. The same holds while the main tables are being replaced.
#[inline(always)]
pub fn settle<A, E>(env: &E, hook: Hook, key: &Tuple<A>) -> Verdict
where
    A: Network,
    E: Maps<A> + Kernel,
{
    if is_held(env, ConfigOptions::HOLD_SETTLING) {
        return Verdict::drop(DropReason::FlowTableMoving);
    }
    let verdict = enter(env, hook, key);
    if verdict == Verdict::TRANSLATED && leave(env, hook, key) {
        env.count(Counter::FlowSettled);
    }
    verdict
}

/// Moves the new flow of `tuple`, and the pair under `masquerade` at egress, which masquerades it.
#[inline(always)]
pub(super) fn settle_masqueraded<A, E>(env: &E, tuple: &Tuple<A>, masquerade: &Tuple<A>) -> Verdict
where
    A: Network,
    E: Maps<A> + Kernel,
{
    if is_held(env, ConfigOptions::HOLD_SETTLING) {
        return Verdict::drop(DropReason::FlowTableMoving);
    }
    let verdict = enter(env, Hook::Egress, masquerade);
    if verdict != Verdict::TRANSLATED {
        return verdict;
    }
    let verdict = enter(env, Hook::Ingress, tuple);
    if verdict != Verdict::TRANSLATED {
        withdraw(env, Hook::Egress, masquerade);
        return verdict;
    }
    leave(env, Hook::Egress, masquerade);
    if leave(env, Hook::Ingress, tuple) {
        env.count(Counter::FlowSettled);
    }
    verdict
}

/// Copies the pair with the new half under `key` at `hook` to the main tables, both halves or none.
///
/// Concurrency: another CPU may be settling the same flow. Whoever comes second finds nothing to do,
/// or writes the same once more.
#[inline(never)]
fn enter<A, E>(env: &E, hook: Hook, key: &Tuple<A>) -> Verdict
where
    A: Network,
    E: Maps<A> + Kernel,
{
    // verifier: one half at a time in the same memory, for the stack is small.
    let Some(mut half) = copy(env, hook.new_flows(), key) else { return Verdict::TRANSLATED };
    if half.flags.contains(FlowFlags::PENDING) {
        // Somebody else has masqueraded the flow's packets before they came to our egress hook.
        return Verdict::TRANSLATED;
    }
    let other = other_key(hook, key, &half);
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
    Verdict::TRANSLATED
}

/// Removes the pair with the half under `key` at `hook` from the tables of new flows; `false` when it
/// isn't there, or pending.
#[inline(never)]
fn leave<A, E>(env: &E, hook: Hook, key: &Tuple<A>) -> bool
where
    A: Network,
    E: Maps<A>,
{
    let other = env.with_flow(hook.new_flows(), key, |flow| {
        if flow.flags.contains(FlowFlags::PENDING) {
            None
        } else {
            Some(other_key(hook, key, flow))
        }
    });
    let Some(Some(other)) = other else { return false };
    env.remove_flow(hook.new_flows(), key);
    env.remove_flow(hook.other().new_flows(), &other);
    true
}

/// Removes the pair with the half under `key` at `hook` from the main tables again.
#[inline(never)]
fn withdraw<A, E>(env: &E, hook: Hook, key: &Tuple<A>)
where
    A: Network,
    E: Maps<A>,
{
    let other = env.with_flow(hook.flows(), key, |flow| other_key(hook, key, flow));
    if let Some(other) = other {
        env.remove_flow(hook.flows(), key);
        env.remove_flow(hook.other().flows(), &other);
    }
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
