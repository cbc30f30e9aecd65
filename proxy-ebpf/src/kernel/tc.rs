//! From a tc hook into the library, and from its verdict to the kernel's: the only place that knows
//! verdict numbers.

use aya_ebpf::{
    bindings::{TC_ACT_SHOT, TC_ACT_UNSPEC},
    helpers::generated::bpf_redirect,
    programs::TcContext,
};
use proxy_common::{Counter, V4, V6};
use proxy_ebpf::{
    egress::egress, env::Kernel as _, ingress::ingress, network::Network, reject, transport::Hook,
    verdict::Verdict,
};

use super::{env::Live, skb::Skb};

/// Bytes of an Ethernet header.
pub(crate) const ETHERNET_HEADER: usize = 14;

const IPV4: u32 = 0x0800_u16.to_be() as u32;
const IPV6: u32 = 0x86dd_u16.to_be() as u32;

/// A network header without options and a TCP header, per family.
const HEADERS_V4: u32 = 20 + 20;
const HEADERS_V6: u32 = 40 + 20;

/// Decides about the packet, whose network header is at `at`.
#[inline(always)]
pub(crate) fn run(context: &TcContext, hook: Hook, at: usize) -> i32 {
    let skb = context.skb.skb;
    // SAFETY: the context is valid while the program runs.
    let (protocol, ifindex) = unsafe { ((*skb).protocol, (*skb).ifindex) };
    let env = Live { ifindex };
    let mut packet = Skb::new(skb);
    match protocol {
        IPV4 => decide::<V4>(&mut packet, &env, hook, at, HEADERS_V4),
        IPV6 => decide::<V6>(&mut packet, &env, hook, at, HEADERS_V6),
        _ => TC_ACT_UNSPEC,
    }
}

#[inline(always)]
fn decide<A: Network>(packet: &mut Skb, env: &Live, hook: Hook, at: usize, headers: u32) -> i32
where
    Live: proxy_ebpf::env::Maps<A>,
{
    packet.make_readable(at as u32 + headers);
    let verdict = match hook {
        Hook::Ingress => ingress::<A, _, _>(packet, env, at),
        Hook::Egress => egress::<A, _, _>(packet, env, at),
    };
    let verdict = match verdict {
        Verdict::Reject(reason) => reject::answer::<A, _, _>(packet, env, at, reason),
        decided => decided,
    };
    match verdict {
        // Not "accept": what isn't ours goes on to whoever else is attached.
        Verdict::Pass | Verdict::Translated => TC_ACT_UNSPEC,
        Verdict::Drop(reason) => {
            env.count(Counter::Drop(reason));
            TC_ACT_SHOT
        }
        Verdict::SendBack(reason) | Verdict::Reject(reason) => {
            env.count(Counter::Reject(reason));
            // SAFETY: takes two numbers; sends the packet out by the device it came in by.
            unsafe { bpf_redirect(env.ifindex, 0) as i32 }
        }
    }
}
