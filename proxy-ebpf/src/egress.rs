//! What happens to a packet that goes out by a device: sources are rewritten here.

use proxy_common::{FilterBits, FlowFlags};

use crate::{
    env::{Kernel, Maps},
    filter, flow, masquerade,
    network::{Ip, Network},
    packet::Packet,
    rewrite::{Rewrite, rewrite},
    transport::{self, Hook, Step, Transport},
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
    let Some(ip) = A::parse(packet, at) else { return Verdict::Pass };
    // An answer comes from a backend; what is masqueraded goes to one.
    let is_backend = |address| filter::interest(env, address).contains(FilterBits::BACKEND);
    if !is_backend(ip.source) && !is_backend(ip.destination) {
        return Verdict::Pass;
    }
    let Ok(transport) = transport::parse(packet, env, HOOK, &ip) else { return Verdict::Pass };
    match translation(packet, env, &ip, &transport) {
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
    transport: &Transport<A>,
) -> Result<Rewrite<A>, Verdict>
where
    A: Network,
    P: Packet,
    E: Maps<A> + Kernel,
{
    let bytes = u64::from(packet.length()).saturating_sub(ip.at as u64);
    if let Some(met) = flow::meet(env, HOOK.flows(), transport, bytes) {
        return Ok(met.rewrite);
    }
    if transport.step() == Step::Continues {
        return Err(Verdict::Pass);
    }
    let Some(met) = flow::meet(env, HOOK.new_flows(), transport, bytes) else {
        return Err(Verdict::Pass);
    };
    if met.flags.contains(FlowFlags::PENDING) {
        return masquerade::resolve(env, &transport.tuple).map_err(Verdict::Drop);
    }
    match flow::advance(env, HOOK, &transport.tuple, &met) {
        Ok(()) => Ok(met.rewrite),
        Err(reason) => Err(Verdict::Drop(reason)),
    }
}
