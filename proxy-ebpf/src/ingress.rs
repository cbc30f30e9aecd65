//! What happens to a packet that comes in by a device: destinations are rewritten here.
//!
//! The order of the questions is the order of their cost. Is the address of any interest, and the
//! port there? Does the packet belong to a flow? Is it for a Service? Would it be mistaken for a flow?

use proxy_common::{
    Algorithm, ConfigOptions, DropReason, FilterBits, FlowFlags, Frontend, Protocol, RejectReason,
    ServiceFlags,
};

use crate::{
    env::{Kernel, Maps},
    filter,
    flow::{self, Opening},
    headers::Headers,
    icmp, lookup, masquerade,
    network::Network,
    packet::Packet,
    rewrite::{Rewrite, rewrite},
    select,
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
    // verifier: one place for what is found, wherever it is found.
    let mut found = Rewrite::default();
    if !flow::follow(env, HOOK, &headers, bytes, &mut found) {
        let is_late = headers.is_past_opening(packet.length());
        let verdict = first_packet(env, (interest, is_late), &headers, bytes, &mut found);
        if verdict != Verdict::TRANSLATED {
            return verdict;
        }
    }
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
    let Err(reason) = transport::parse(packet, env, HOOK, headers) else {
        let tuple = &headers.tuple;
        let at_port = filter::at_port(env, interest, tuple.destination_port, tuple.protocol);
        if at_port.is_empty() {
            return Err(filter::not_at_port(env, interest, destination));
        }
        return Ok(at_port);
    };
    if headers.tuple.protocol == A::ICMP {
        let verdict = icmp::translate(packet, env, HOOK, at, headers);
        if verdict != Verdict::PASS {
            return Err(verdict);
        }
    }
    Err(without_transport(env, &headers.tuple.destination, interest, reason))
}

/// What becomes of a packet that belongs to no settled flow; `is_late` says that it can't be one that
/// opens a flow or answers such a one. [`Verdict::TRANSLATED`]: `found` says what to write.
#[inline(always)]
fn first_packet<A, E>(
    env: &E,
    (interest, is_late): (FilterBits, bool),
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
    match flow::follow_new(env, HOOK, headers, bytes, found) {
        Verdict::PASS => {}
        Verdict::SETTLE => return flow::settle(env, HOOK, &headers.tuple),
        Verdict::MASQUERADED => return flow::follow_masqueraded(env, headers, found),
        Verdict::MASQUERADED_ANSWER => {
            return flow::masqueraded_answer(env, &headers.tuple, found, is_late);
        }
        decided => return decided,
    }
    let mut opening = Opening::default();
    let verdict = if interest.contains(FilterBits::FRONTEND) {
        service_flow(env, headers, &mut opening)
    } else {
        Verdict::PASS
    };
    if verdict == Verdict::PASS {
        // Would the answers to this packet, which is no Service's, be taken for answers of a
        // Service's flow with the same client port and endpoint? Then it needs a flow of its own.
        opening.address = headers.tuple.destination;
        opening.port = headers.tuple.destination_port;
        opening.direct = true;
        if step != Step::Opens || !flow::is_taken(env, &headers.tuple, &opening) {
            return Verdict::PASS;
        }
    } else if verdict == Verdict::TRANSLATED {
        // It gets another source port if it must: only room is to be made where a flow has ended.
        let _ = flow::is_taken(env, &headers.tuple, &opening);
    } else {
        return verdict;
    }
    flow::open(env, &headers.tuple, &opening, bytes, found)
}

/// Decides about a packet to an address that may be a frontend's and that belongs to no flow.
/// [`Verdict::TRANSLATED`]: it opens one, and `opening` says which. [`Verdict::PASS`]: no Service's.
///
/// The order of the questions: is it a Service's, may its sender use it, is there an endpoint, may
/// the packet open a flow, which endpoint, and with which source.
#[inline(never)]
fn service_flow<A, E>(env: &E, headers: &Headers<A>, opening: &mut Opening<A>) -> Verdict
where
    A: Network,
    E: Maps<A> + Kernel,
{
    let tuple = &headers.tuple;
    if tuple.destination.is_loopback() {
        // The node's own processes reach such a frontend; from a device it is nobody's address.
        return Verdict::PASS;
    }
    let frontend = Frontend::new(tuple.destination, tuple.destination_port, tuple.protocol);
    let service = match lookup::service(env, &frontend) {
        Ok(service) => service,
        Err(verdict) => return verdict,
    };
    if !lookup::admits(env, &service, tuple.destination, tuple.source) {
        return Verdict::drop(DropReason::SourceRange);
    }
    let role = env.device_role();
    let options = env.config().map_or(ConfigOptions::empty(), |config| config.options);
    let opens = headers.step() == Step::Opens;
    if !opens && options.contains(ConfigOptions::PASS_UNKNOWN_CONNECTIONS) {
        return Verdict::PASS;
    }
    if lookup::is_refused(&service, role, options) {
        return Verdict::reject(RejectReason::ExternalClusterIp);
    }
    let set = match lookup::endpoints(&service, role) {
        Ok(set) => set,
        Err(verdict) => return verdict,
    };
    if !opens {
        return Verdict::reject(RejectReason::NoFlow);
    }
    let hash = || select::hash_of_client(tuple.source, tuple.source_port, tuple.protocol);
    let Some((id, backend)) = select::select(env, &service, &set, tuple.source, hash) else {
        return Verdict::drop(DropReason::BackendMissing);
    };
    if tuple.protocol == Protocol::SCTP && backend.port != tuple.destination_port {
        // The checksum covers the ports, and a device may be about to compute it.
        return Verdict::drop(DropReason::SctpPort);
    }
    let is_client = backend.address == tuple.source;
    let mut flags = FlowFlags::empty();
    if masquerade::is_needed(&service, role, backend.flags, is_client, options) {
        flags = flags.union(FlowFlags::MASQUERADED);
    }
    if service.flags.contains(ServiceFlags::AFFINITY) {
        flags = flags.union(FlowFlags::AFFINE);
    }
    opening.address = backend.address;
    opening.port = backend.port;
    opening.flags = flags;
    opening.service = service.id;
    opening.backend = id;
    opening.counted = service.algorithm == Algorithm::LeastConnections as u8;
    Verdict::TRANSLATED
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
