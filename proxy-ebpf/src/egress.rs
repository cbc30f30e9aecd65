//! What happens to a packet that goes out by a device: sources are rewritten here.

use proxy_common::FilterBits;

use crate::{
    env::{Kernel, Maps},
    filter, flow,
    headers::Headers,
    masquerade,
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
    let mut headers = Headers::empty();
    if read(packet, env, at, &mut headers).is_none() {
        return Verdict::PASS;
    }
    let bytes = u64::from(packet.length()).saturating_sub(at as u64);
    let found = match flow::follow(env, HOOK, &headers, bytes) {
        Some(found) => found,
        None if headers.step() == Step::Continues => return Verdict::PASS,
        None => {
            let mut found = Rewrite::default();
            let verdict = flow::follow_new(env, HOOK, &headers, bytes, &mut found);
            let verdict = if verdict == Verdict::MASQUERADE {
                masquerade::resolve(env, &headers.tuple, &mut found)
            } else {
                verdict
            };
            if verdict != Verdict::TRANSLATED {
                return verdict;
            }
            found
        }
    };
    match rewrite(packet, HOOK, at, &headers, &found) {
        Ok(()) => Verdict::TRANSLATED,
        Err(reason) => Verdict::drop(reason),
    }
}

/// Reads the packet's headers; `None` when it belongs to no flow.
#[inline(always)]
fn read<A, P, E>(packet: &P, env: &E, at: usize, headers: &mut Headers<A>) -> Option<()>
where
    A: Network,
    P: Packet,
    E: Maps<A> + Kernel,
{
    A::parse(packet, at, headers)?;
    // An answer comes from a backend; what is masqueraded goes to one.
    let is_backend = |address| filter::interest(env, address).contains(FilterBits::BACKEND);
    if !is_backend(headers.tuple.source) && !is_backend(headers.tuple.destination) {
        return None;
    }
    transport::parse(packet, env, HOOK, headers).ok()
}
