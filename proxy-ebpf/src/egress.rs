//! What happens to a packet that goes out by a device: sources are rewritten here.

use proxy_common::FilterBits;

use crate::{
    env::{Kernel, Maps},
    filter, flow, masquerade,
    network::Network,
    packet::Packet,
    rewrite::{Rewrite, rewrite},
    transport::{self, Hook, Step},
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
    let Some(ip) = A::parse(packet, at) else { return Verdict::PASS };
    // An answer comes from a backend; what is masqueraded goes to one.
    let is_backend = |address| filter::interest(env, address).contains(FilterBits::BACKEND);
    if !is_backend(ip.source) && !is_backend(ip.destination) {
        return Verdict::PASS;
    }
    let Ok(transport) = transport::parse(packet, env, HOOK, &ip) else { return Verdict::PASS };
    let bytes = u64::from(packet.length()).saturating_sub(at as u64);
    let found = match flow::follow(env, HOOK, &transport, bytes) {
        Some(found) => found,
        None if transport.step() == Step::Continues => return Verdict::PASS,
        None => {
            let mut found = Rewrite::default();
            let verdict = flow::follow_new(env, HOOK, &transport, bytes, &mut found);
            let verdict = if verdict == Verdict::MASQUERADE {
                masquerade::resolve(env, &transport.tuple, &mut found)
            } else {
                verdict
            };
            if verdict != Verdict::TRANSLATED {
                return verdict;
            }
            found
        }
    };
    match rewrite(packet, HOOK, &ip, &transport, &found) {
        Ok(()) => Verdict::TRANSLATED,
        Err(reason) => Verdict::drop(reason),
    }
}
