//! What happens to a packet that goes out by a device: sources are rewritten here.

use proxy_common::FilterBits;

use crate::{
    env::{Kernel, Maps},
    filter, flow,
    headers::Headers,
    icmp, masquerade,
    network::Network,
    packet::Packet,
    rewrite::{Rewrite, rewrite},
    transport::{self, Hook},
    verdict::Verdict,
};

const HOOK: Hook = Hook::Egress;

/// Decides about the packet, whose network header is at `at`, and rewrites it.
#[inline(always)]
pub fn egress<A, P, E>(packet: &mut P, env: &E, at: usize) -> Verdict
where
    A: Network,
    P: Packet,
    E: Maps<A> + Kernel,
{
    let mut headers = Headers::empty();
    if A::parse(packet, at, &mut headers).is_none() {
        return Verdict::PASS;
    }
    if headers.tuple.protocol == A::ICMP {
        // Also from senders that are no backend: any router, this node itself.
        return icmp::translate(packet, env, HOOK, at, &headers);
    }
    let interest = interest(env, &headers);
    if !interest.0 && !interest.1 || transport::parse(packet, env, HOOK, &mut headers).is_err() {
        return Verdict::PASS;
    }
    if !may_belong(env, interest, &headers) {
        return Verdict::PASS;
    }
    let bytes = u64::from(packet.length()).saturating_sub(at as u64);
    // verifier: one place for what is found, wherever it is found.
    let mut found = Rewrite::default();
    if !flow::follow(env, HOOK, &headers, bytes, &mut found) {
        let is_late = headers.is_past_opening(packet.length());
        let verdict = first_packet(env, is_late, &headers, bytes, &mut found);
        if verdict != Verdict::TRANSLATED {
            return verdict;
        }
    }
    rewrite(packet, HOOK, at, &headers, &found)
}

/// What becomes of a packet that belongs to no settled flow; `is_late` says that it can't be one that
/// opens a flow or answers such a one. [`Verdict::TRANSLATED`]: `found` says what to write.
#[inline(always)]
fn first_packet<A, E>(
    env: &E,
    is_late: bool,
    headers: &Headers<A>,
    bytes: u64,
    found: &mut Rewrite<A>,
) -> Verdict
where
    A: Network,
    E: Maps<A> + Kernel,
{
    if is_late {
        return Verdict::PASS;
    }
    match flow::follow_new(env, HOOK, headers, bytes, found) {
        Verdict::MASQUERADE => masquerade::resolve(env, &headers.tuple, found),
        Verdict::SETTLE => flow::settle(env, HOOK, &headers.tuple),
        decided => decided,
    }
}

/// Whether source and destination may be backends' addresses: an answer comes from one, what is
/// masqueraded goes to one.
#[inline(always)]
fn interest<A, E>(env: &E, headers: &Headers<A>) -> (bool, bool)
where
    A: Network,
    E: Kernel,
{
    let is_backend = |address| filter::interest(env, address).contains(FilterBits::BACKEND);
    (is_backend(headers.tuple.source), is_backend(headers.tuple.destination))
}

/// Whether the packet may belong to a flow: at one of its ends that `interest` calls a backend's
/// address, the port may be a backend's too.
#[inline(always)]
fn may_belong<A, E>(env: &E, (source, destination): (bool, bool), headers: &Headers<A>) -> bool
where
    A: Network,
    E: Kernel,
{
    let tuple = &headers.tuple;
    let serves = |port| {
        let bits = filter::at_port(env, FilterBits::BACKEND, port, tuple.protocol);
        bits.contains(FilterBits::BACKEND)
    };
    (source && serves(tuple.source_port)) || (destination && serves(tuple.destination_port))
}
