//! What happens to a packet that comes in by a device: destinations are rewritten here.
//!
//! The order of the questions is the order of their cost. Is the address of any interest? Does the
//! packet belong to a flow? Is it for a Service? Would it be mistaken for a flow?

use proxy_common::{DropReason, FilterBits, FlowKind, Frontend, Protocol, RejectReason, ServiceId};

use crate::{
    env::{FlowTable, Kernel, Maps},
    filter, flow,
    flow::Opening,
    lookup::{self, Lookup},
    network::{Ip, Network},
    packet::Packet,
    rewrite::rewrite,
    transport::{self, Hook, NoTransport, Step, Transport},
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
    let Some(ip) = A::parse(packet, at) else { return Verdict::Pass };
    let interest = filter::interest(env, ip.destination);
    if interest.is_empty() {
        return filter::unowned(env, ip.destination);
    }
    let transport = match transport::parse(packet, env, HOOK, &ip) {
        Ok(transport) => transport,
        Err(reason) => return without_transport(env, &ip, interest, reason),
    };
    match translation(packet, env, &ip, interest, &transport) {
        Ok(found) => match rewrite(packet, HOOK, &ip, &transport, &found) {
            Ok(()) => Verdict::Translated,
            Err(reason) => Verdict::Drop(reason),
        },
        Err(verdict) => verdict,
    }
}

/// What to write into the packet, or the verdict where nothing is written.
#[inline(always)]
fn translation<A, P, E>(
    packet: &P,
    env: &E,
    ip: &Ip<A>,
    interest: FilterBits,
    transport: &Transport<A>,
) -> Result<crate::rewrite::Rewrite<A>, Verdict>
where
    A: Network,
    P: Packet,
    E: Maps<A> + Kernel,
{
    let key = &transport.tuple;
    let step = transport.step();
    let bytes = u64::from(packet.length()).saturating_sub(ip.at as u64);
    if let Some(met) = flow::meet(env, HOOK.flows(), transport, bytes) {
        let begins_anew = step == Step::Opens
            && key.protocol == Protocol::TCP
            && flow::end_if_closed(env, HOOK, key);
        if !begins_anew {
            return Ok(met.rewrite);
        }
    }
    let for_frontend = interest.contains(FilterBits::FRONTEND);
    if step == Step::Continues && !for_frontend {
        return Err(Verdict::Pass);
    }
    if let Some(met) = flow::meet(env, HOOK.new_flows(), transport, bytes) {
        return match flow::advance(env, HOOK, key, &met) {
            Ok(()) => Ok(met.rewrite),
            Err(reason) => Err(Verdict::Drop(reason)),
        };
    }
    if for_frontend {
        let frontend = Frontend::new(key.destination, key.destination_port, key.protocol);
        match lookup::look_up(env, &frontend) {
            Lookup::Backend(..) if step != Step::Opens => {
                return Err(Verdict::Reject(RejectReason::NoFlow));
            }
            Lookup::Backend(service, _, backend) => {
                let opening = Opening {
                    address: backend.address,
                    port: backend.port,
                    service: service.id,
                    kind: FlowKind::Service,
                    // A pod that reaches itself: it would refuse its own address as a source.
                    masquerade: backend.address == key.source,
                };
                return flow::open(env, key, &opening).map_err(Verdict::Drop);
            }
            Lookup::Reject(reason) => return Err(Verdict::Reject(reason)),
            Lookup::Drop(reason) => return Err(Verdict::Drop(reason)),
            Lookup::NotAService => {}
        }
    }
    if step == Step::Opens && is_mistakable(env, transport) {
        let opening = Opening {
            address: key.destination,
            port: key.destination_port,
            service: ServiceId::NONE,
            kind: FlowKind::Direct,
            masquerade: false,
        };
        return flow::open(env, key, &opening).map_err(Verdict::Drop);
    }
    Err(Verdict::Pass)
}

/// Whether the answers to this packet, which is no Service's, would be taken for answers of a
/// Service's flow: the same client port and endpoint. Then it needs a flow of its own.
#[inline(never)]
fn is_mistakable<A, E>(env: &E, transport: &Transport<A>) -> bool
where
    A: Network,
    E: Maps<A>,
{
    let answer = transport.tuple.reversed();
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
    ip: &Ip<A>,
    interest: FilterBits,
    reason: NoTransport,
) -> Verdict
where
    A: Network,
    E: Maps<A> + Kernel,
{
    if !interest.contains(FilterBits::FRONTEND) || !lookup::is_cluster_ip(env, ip.destination) {
        return filter::unowned(env, ip.destination);
    }
    Verdict::Drop(match reason {
        NoTransport::NoPorts => DropReason::ClusterIpProtocol,
        NoTransport::Truncated => DropReason::Malformed,
        NoTransport::UnknownFragment => DropReason::FragmentUnknown,
    })
}
