//! The first question about a packet: is its address, and is its port there, of any interest?

use proxy_common::{Be16, DropReason, FilterBits, FilterSlot, Protocol};

use crate::{env::Kernel, network::Network, verdict::Verdict};

/// What `address` may be, without a hash look-up. Clear bits are proof, set bits are not.
#[inline(always)]
pub fn interest<A: Network, E: Kernel>(env: &E, address: A) -> FilterBits {
    let slot = FilterSlot::of(address);
    slot.read(env.filter_word(slot.word))
}

/// What `port` of `protocol` at an address may be that may be `interest`: nothing, a frontend's or a
/// flow's (FRONTEND), a backend's (BACKEND). Clear bits are proof, set bits are not.
///
/// A ClusterIP has an answer for every port, so it isn't asked about.
#[inline(always)]
pub fn at_port<E: Kernel>(
    env: &E,
    interest: FilterBits,
    port: Be16,
    protocol: Protocol,
) -> FilterBits {
    if interest.contains(FilterBits::FRONTEND) {
        return interest;
    }
    let both = match FilterSlot::of_port(port, protocol) {
        Some(slot) => interest.intersection(slot.read(env.filter_word(slot.word))),
        None => interest,
    };
    // A node's address is a frontend's there.
    if both.contains(FilterBits::NODE) { both.union(FilterBits::FRONTEND) } else { both }
}

/// The verdict on a packet to a port that nothing waits for, at an address that may be `interest`.
#[inline(always)]
pub fn not_at_port<A: Network, E: Kernel>(
    env: &E,
    interest: FilterBits,
    destination: A,
) -> Verdict {
    if interest.contains(FilterBits::NODE) {
        // Another address may share the slot: one that no Service owns.
        unowned(env, destination)
    } else {
        Verdict::PASS
    }
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
