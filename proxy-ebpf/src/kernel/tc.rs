//! From a tc hook into the library, and from its verdict to the kernel's: the only place that knows
//! verdict numbers.

use aya_ebpf::{
    bindings::{__sk_buff, TC_ACT_SHOT, TC_ACT_UNSPEC},
    helpers::generated::bpf_redirect,
    programs::TcContext,
};
use proxy_common::{Counter, V4, V6};
use proxy_ebpf::{
    egress::egress,
    env::{Kernel as _, Maps},
    ingress::ingress,
    network::Network,
    reject,
    verdict::{Decision, Verdict},
};

use super::{env::Live, skb::Skb};

/// Bytes of an Ethernet header.
pub(crate) const ETHERNET_HEADER: usize = 14;

const IPV4: u32 = 0x0800_u16.to_be() as u32;
const IPV6: u32 = 0x86dd_u16.to_be() as u32;

/// A network header without options and a TCP header, per family.
const HEADERS_V4: u32 = 20 + 20;
const HEADERS_V6: u32 = 40 + 20;

/// Decides about a packet that comes in, whose network header is at `AT`.
#[inline(always)]
pub(crate) fn run_ingress<const AT: usize>(context: &TcContext) -> i32 {
    let Some((mut packet, env, protocol)) = enter(context) else { return TC_ACT_UNSPEC };
    match protocol {
        IPV4 => ingress_of::<V4, AT>(&mut packet, &env, HEADERS_V4),
        IPV6 => ingress_of::<V6, AT>(&mut packet, &env, HEADERS_V6),
        _ => TC_ACT_UNSPEC,
    }
}

/// Decides about a packet that goes out, whose network header is at `AT`.
#[inline(always)]
pub(crate) fn run_egress<const AT: usize>(context: &TcContext) -> i32 {
    let Some((mut packet, env, protocol)) = enter(context) else { return TC_ACT_UNSPEC };
    match protocol {
        IPV4 => egress_of::<V4, AT>(&mut packet, &env, HEADERS_V4),
        IPV6 => egress_of::<V6, AT>(&mut packet, &env, HEADERS_V6),
        _ => TC_ACT_UNSPEC,
    }
}

/// The packet, its surroundings, and its protocol (an Ethernet type in network order); `None` for a
/// packet of a VLAN: the VLAN's own device, above this one, has seen it or is going to.
#[inline(always)]
fn enter(context: &TcContext) -> Option<(Skb, Live, u32)> {
    let skb = context.skb.skb;
    // SAFETY: the context is valid while the program runs.
    let protocol = unsafe { (*skb).protocol };
    if is_of_vlan(skb) {
        return None;
    }
    Some((Skb::new(skb), Live::at_device(skb), protocol))
}

/// Whether the packet has a VLAN tag beside it, as a device leaves it there and the kernel takes it off
/// before ingress hooks run. VLAN 0 is none: such a tag is about priority only (IEEE 802.1Q §6.9).
#[inline(always)]
fn is_of_vlan(skb: *mut __sk_buff) -> bool {
    const VLAN_ID: u32 = 0x0fff;
    // SAFETY: the context is valid while the program runs. The second question is for old kernels,
    // which leave the number when they take a tag off.
    unsafe { (*skb).vlan_tci & VLAN_ID != 0 && (*skb).vlan_present != 0 }
}

// verifier: a function of its own for each family, so that the stack holds one family at a time.
#[inline(never)]
fn ingress_of<A: Network, const AT: usize>(packet: &mut Skb, env: &Live, headers: u32) -> i32
where
    Live: Maps<A>,
{
    packet.make_readable(AT as u32 + headers);
    let verdict = ingress::<A, _, _>(packet, env, AT);
    if let Decision::Reject(reason) = verdict.decision() {
        return conclude(env, reject::answer::<A, _, _>(packet, env, AT, reason));
    }
    conclude(env, verdict)
}

#[inline(never)]
fn egress_of<A: Network, const AT: usize>(packet: &mut Skb, env: &Live, headers: u32) -> i32
where
    Live: Maps<A>,
{
    packet.make_readable(AT as u32 + headers);
    conclude(env, egress::<A, _, _>(packet, env, AT))
}

/// The kernel's verdict.
#[inline(always)]
fn conclude(env: &Live, verdict: Verdict) -> i32 {
    match verdict.decision() {
        // Not "accept": what isn't ours goes on to whoever else is attached.
        Decision::Pass | Decision::Translated => TC_ACT_UNSPEC,
        Decision::Drop(reason) => {
            env.count(Counter::Drop(reason));
            TC_ACT_SHOT
        }
        Decision::SendBack(reason) | Decision::Reject(reason) => {
            env.count(Counter::Reject(reason));
            // SAFETY: takes two numbers; sends the packet out by the device it came in by.
            unsafe { bpf_redirect(env.ifindex(), 0) as i32 }
        }
    }
}
