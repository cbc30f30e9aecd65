//! The first question about a packet: is its address of any interest?

use proxy_common::{DropReason, FilterBits, FilterSlot};

use crate::{env::Kernel, network::Network, verdict::Verdict};

/// What `address` may be, without a hash look-up. Clear bits are proof, set bits are not.
#[inline(always)]
pub fn interest<A: Network, E: Kernel>(env: &E, address: A) -> FilterBits {
    let slot = FilterSlot::of(address);
    slot.read(env.filter_word(slot.word))
}

/// The verdict on a destination that no Service and no flow has: dropped inside a ServiceCIDR,
/// untouched elsewhere.
#[inline(always)]
pub fn unowned<A: Network, E: Kernel>(env: &E, destination: A) -> Verdict {
    if is_service_address(env, destination) {
        Verdict::drop(DropReason::UnallocatedClusterIp)
    } else {
        Verdict::PASS
    }
}

/// Whether `address` is inside one of the cluster's ServiceCIDRs.
#[inline(always)]
pub fn is_service_address<A: Network, E: Kernel>(env: &E, address: A) -> bool {
    let Some(config) = env.config() else { return false };
    let (prefixes, count) = A::service_cidrs(config);
    for (index, prefix) in prefixes.iter().enumerate() {
        if index >= usize::from(count) {
            return false;
        }
        if address.is_inside(prefix) {
            return true;
        }
    }
    false
}
