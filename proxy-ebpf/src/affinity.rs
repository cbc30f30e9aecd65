//! Session affinity: a client's new flows go where its last one went. Called by [`crate::select`], and
//! for every packet of a flow of such a Service by [`crate::flow`].

use proxy_common::{
    Affinity, AffinityKey, Backend, BackendId, MemberKey, MemberSets, Nanoseconds, Service,
    ServiceId,
};

use crate::{
    env::{Insert, Kernel, Maps},
    network::Network,
};

/// Nanoseconds of a second.
const SECOND: u64 = 1_000_000_000;

/// What is known of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known<A> {
    /// It stays with this endpoint.
    Endpoint(BackendId, Backend<A>),
    /// Where it went is too long ago, or no endpoint of the set any more.
    Outdated,
    /// Nothing.
    Nothing,
}

/// The endpoint that `client` stays with, if it was seen lately and the endpoint is still in the set
/// `set`.
#[inline(always)]
pub fn endpoint<A, E>(
    env: &E,
    client: &AffinityKey<A>,
    service: &Service,
    set: MemberSets,
) -> Known<A>
where
    A: Network,
    E: Maps<A> + Kernel,
{
    let now = env.now();
    let timeout = u64::from(service.affinity.get()) * SECOND;
    let lately = env.with_affinity(client, |affinity| {
        let is_late = now.get().saturating_sub(affinity.last_seen.get()) > timeout;
        if is_late { BackendId::default() } else { affinity.backend }
    });
    let Some(id) = lately else { return Known::Nothing };
    let member = MemberKey { service: client.service, backend: id };
    if !env.member_sets(&member).contains(set) {
        return Known::Outdated;
    }
    let Some(backend) = env.backend(id) else { return Known::Outdated };
    refresh(env, client, id, now);
    Known::Endpoint(id, backend)
}

/// Has `client` stay with the endpoint that was picked for it; `false` when it is the client's first
/// flow and another one was faster.
///
/// Concurrency: a client may open several flows at once, on several CPUs. Its first ones agree by
/// this. When what is known is outdated the last one wins, and the others' flows go elsewhere.
#[inline(always)]
pub fn begin<A, E>(env: &E, client: &AffinityKey<A>, backend: BackendId, is_first: bool) -> bool
where
    A: Network,
    E: Maps<A> + Kernel,
{
    let affinity = Affinity { last_seen: env.now(), backend, pad: 0 };
    env.insert_affinity(client, &affinity, if is_first { Insert::Keep } else { Insert::Replace })
}

/// Notes that `client` was seen, if it still stays with `backend`.
#[inline(always)]
fn refresh<A, E>(env: &E, client: &AffinityKey<A>, backend: BackendId, now: Nanoseconds)
where
    A: Network,
    E: Maps<A>,
{
    env.with_affinity(client, |affinity| {
        if affinity.backend == backend {
            affinity.last_seen = now;
        }
    });
}

/// Notes a packet of a flow that keeps `client` with its endpoint.
///
/// verifier: a function of its own, so that flows without affinity don't pay for its stack.
#[inline(never)]
pub fn note_packet<A, E>(
    env: &E,
    client: &A,
    service: ServiceId,
    backend: BackendId,
    now: Nanoseconds,
) where
    A: Network,
    E: Maps<A>,
{
    refresh(env, &AffinityKey { client: *client, service }, backend, now);
}
