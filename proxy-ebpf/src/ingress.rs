//! What happens to a packet that comes in by a device: destinations are rewritten here.
//!
//! The order of the questions is the order of their cost. Is the address of any interest? Does the
//! packet belong to a flow? Is it for a Service? Would it be mistaken for a flow?

use proxy_common::{DropReason, FilterBits, Frontend, RejectReason};

use crate::{
    env::{FlowTable, Kernel, Maps},
    filter, flow,
    flow::Opening,
    headers::Headers,
    icmp,
    lookup::{self, Lookup},
    network::Network,
    packet::Packet,
    rewrite::{Rewrite, rewrite},
    transport::{self, Hook, NoTransport, Step},
    verdict::Verdict,
};

const HOOK: Hook = Hook::Ingress;

/// Decides about the packet, whose network header is at `at`, and rewrites it.
#[inline(always)]
pub fn ingress<A, P, E>(packet: &mut P, env: &E, at: usize) -> Verdict
where
    A: Network,
    P: Packet,
    E: Maps<A> + Kernel,
{
    let mut headers = Headers::empty();
    let interest = match read(packet, env, at, &mut headers) {
        Ok(interest) => interest,
        Err(verdict) => return verdict,
    };
    let bytes = u64::from(packet.length()).saturating_sub(at as u64);
    let found = match flow::follow(env, HOOK, &headers, bytes) {
        Some(found) => found,
        None => {
            let mut found = Rewrite::default();
            let verdict = first_packet(env, interest, &headers, bytes, &mut found);
            if verdict != Verdict::TRANSLATED {
                return verdict;
            }
            found
        }
    };
    rewrite(packet, HOOK, at, &headers, &found)
}

/// Reads the packet's headers and says what its destination may be, or the verdict where that is
/// enough.
#[inline(always)]
fn read<A, P, E>(
    packet: &mut P,
    env: &E,
    at: usize,
    headers: &mut Headers<A>,
) -> Result<FilterBits, Verdict>
where
    A: Network,
    P: Packet,
    E: Maps<A> + Kernel,
{
    A::parse(packet, at, headers).ok_or(Verdict::PASS)?;
    let destination = headers.tuple.destination;
    let interest = filter::interest(env, destination);
    if interest.is_empty() {
        return Err(filter::unowned(env, destination));
    }
    let Err(reason) = transport::parse(packet, env, HOOK, headers) else { return Ok(interest) };
    if headers.tuple.protocol == A::ICMP {
        let verdict = icmp::translate(packet, env, HOOK, at, headers);
        if verdict != Verdict::PASS {
            return Err(verdict);
        }
    }
    Err(without_transport(env, &headers.tuple.destination, interest, reason))
}

/// What becomes of a packet that belongs to no settled flow. [`Verdict::TRANSLATED`]: `found` says
/// what to write.
#[inline(always)]
fn first_packet<A, E>(
    env: &E,
    interest: FilterBits,
    headers: &Headers<A>,
    bytes: u64,
    found: &mut Rewrite<A>,
) -> Verdict
where
    A: Network,
    E: Maps<A> + Kernel,
{
    let step = headers.step();
    if step == Step::Continues && !interest.contains(FilterBits::FRONTEND) {
        return Verdict::PASS;
    }
    let verdict = flow::follow_new(env, HOOK, headers, bytes, found);
    if verdict == Verdict::SETTLE {
        let settled = flow::settle(env, HOOK, &headers.tuple);
        if settled == Verdict::MASQUERADE {
            return flow::settle_masquerade(env, &headers.tuple, found);
        }
        return settled;
    }
    if verdict != Verdict::PASS {
        return verdict;
    }
    let mut opening = Opening::default();
    let verdict = new_flow(env, interest, headers, &mut opening);
    if verdict != Verdict::TRANSLATED {
        return verdict;
    }
    flow::open(env, &headers.tuple, &opening, bytes, found)
}

/// Whether a packet that belongs to no flow opens one. [`Verdict::TRANSLATED`]: `opening` says which.
#[inline(never)]
fn new_flow<A, E>(
    env: &E,
    interest: FilterBits,
    headers: &Headers<A>,
    opening: &mut Opening<A>,
) -> Verdict
where
    A: Network,
    E: Maps<A> + Kernel,
{
    let key = &headers.tuple;
    let opens = headers.step() == Step::Opens;
    if interest.contains(FilterBits::FRONTEND) {
        let frontend = Frontend::new(key.destination, key.destination_port, key.protocol);
        match lookup::look_up(env, &frontend) {
            Lookup::Backend(..) if !opens => return Verdict::reject(RejectReason::NoFlow),
            Lookup::Backend(service, _, backend) => {
                opening.address = backend.address;
                opening.port = backend.port;
                opening.service = service.id;
                // A pod that reaches itself: it would refuse its own address as a source.
                opening.masquerade = backend.address == key.source;
                flow::end_if_closed(env, Hook::Egress, &opening.reply_key(key));
                return Verdict::TRANSLATED;
            }
            Lookup::Reject(reason) => return Verdict::reject(reason),
            Lookup::Drop(reason) => return Verdict::drop(reason),
            Lookup::NotAService => {}
        }
    }
    if opens && is_mistakable(env, headers) {
        opening.address = key.destination;
        opening.port = key.destination_port;
        opening.direct = true;
        return Verdict::TRANSLATED;
    }
    Verdict::PASS
}

/// Whether the answers to this packet, which is no Service's, would be taken for answers of a
/// Service's flow: the same client port and endpoint. Then it needs a flow of its own.
#[inline(always)]
fn is_mistakable<A, E>(env: &E, headers: &Headers<A>) -> bool
where
    A: Network,
    E: Maps<A>,
{
    let answer = headers.tuple.reversed();
    if env.with_flow(FlowTable::NewSrc, &answer, |_| ()).is_some() {
        return true;
    }
    env.with_flow(FlowTable::Src, &answer, |_| ()).is_some()
        && !flow::end_if_closed(env, Hook::Egress, &answer)
}

/// The verdict on a packet without ports: a ClusterIP answers nothing but its Services' protocols.
#[inline(never)]
fn without_transport<A, E>(
    env: &E,
    destination: &A,
    interest: FilterBits,
    reason: NoTransport,
) -> Verdict
where
    A: Network,
    E: Maps<A> + Kernel,
{
    if !interest.contains(FilterBits::FRONTEND) || !lookup::is_cluster_ip(env, *destination) {
        return filter::unowned(env, *destination);
    }
    Verdict::drop(match reason {
        NoTransport::NoPorts => DropReason::ClusterIpProtocol,
        NoTransport::Truncated => DropReason::Malformed,
        NoTransport::UnknownFragment => DropReason::FragmentUnknown,
    })
}
