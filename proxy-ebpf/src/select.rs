//! Which endpoint of a set a new flow gets. The cost is independent of how many there are: an array
//! look-up or two, whatever the algorithm. Called for the first packet of a flow and at connect().

use proxy_common::{
    AffinityKey, Algorithm, Backend, BackendId, Be16, Protocol, Service, ServiceFlags, SlotRange,
};

use crate::{
    affinity::{self, Known},
    env::{Kernel, Maps},
    lookup::EndpointSet,
    network::Network,
};

/// Picks an endpoint of `set` for a new flow of `client`: the one it stays with, if the Service has
/// session affinity, otherwise one by the Service's algorithm. `hash` is what a Maglev table is asked
/// with. `None`: a slot or backend is empty.
#[inline(always)]
pub fn select<A, E>(
    env: &E,
    service: &Service,
    set: &EndpointSet,
    client: A,
    hash: impl FnOnce() -> u32,
) -> Option<(BackendId, Backend<A>)>
where
    A: Network,
    E: Maps<A> + Kernel,
{
    if !service.flags.contains(ServiceFlags::AFFINITY) {
        let id = by_algorithm(env, service, set.slots, hash)?;
        return Some((id, env.backend(id)?));
    }
    let client = AffinityKey { client, service: service.id };
    let known = affinity::endpoint(env, &client, service, set.name);
    if let Known::Endpoint(id, backend) = known {
        return Some((id, backend));
    }
    let id = by_algorithm(env, service, set.slots, hash)?;
    let backend = env.backend(id)?;
    let is_first = matches!(known, Known::Nothing);
    if !affinity::begin(env, &client, id, is_first) && is_first {
        // Another CPU was faster with a flow of the same client.
        if let Known::Endpoint(id, backend) = affinity::endpoint(env, &client, service, set.name) {
            return Some((id, backend));
        }
    }
    Some((id, backend))
}

/// Picks a slot and returns what it names.
#[inline(always)]
fn by_algorithm<A, E>(
    env: &E,
    service: &Service,
    slots: SlotRange,
    hash: impl FnOnce() -> u32,
) -> Option<BackendId>
where
    A: Network,
    E: Maps<A> + Kernel,
{
    let slot = |index: u32| env.slot(slots.base.wrapping_add(index));
    let random = || slot(scaled(env.random(), slots.count));
    match Algorithm::from_number(service.algorithm) {
        Some(Algorithm::RoundRobin) => {
            slot(env.take_turn(service.id).checked_rem(slots.count).unwrap_or(0))
        }
        Some(Algorithm::Maglev) => slot(scaled(hash(), slots.count)),
        Some(Algorithm::LeastConnections) => {
            // The better of two: nearly as even as the best of all, at a fixed price (Mitzenmacher).
            let (one, other) = (random()?, random()?);
            Some(if env.open_flows(other) < env.open_flows(one) { other } else { one })
        }
        Some(Algorithm::Random) | None => random(),
    }
}

/// A number below `count` from 32 even bits, by a multiplication and a shift instead of a division.
#[inline(always)]
fn scaled(bits: u32, count: u32) -> u32 {
    ((u64::from(bits) * u64::from(count)) >> 32) as u32
}

/// What a Maglev table is asked with about a packet: its sender, the same on every node and for
/// every frontend.
#[inline(always)]
pub fn hash_of_client<A: Network>(address: A, port: Be16, protocol: Protocol) -> u32 {
    let words = address.words();
    let mut hash = 0;
    for word in words.iter().take(A::WORDS) {
        hash = with_word(hash, *word);
    }
    let port_and_protocol = u32::from(port.get()) | (u32::from(protocol.number()) << 16);
    mixed(with_word(hash, port_and_protocol))
}

/// What a Maglev table is asked with about a connect(), where the client's port isn't known yet.
#[inline(always)]
pub fn hash_of_socket(cookie: u64) -> u32 {
    #[expect(clippy::cast_possible_truncation, reason = "the halves one by one")]
    let (low, high) = (cookie as u32, (cookie >> 32) as u32);
    mixed(with_word(with_word(0, low), high))
}

/// A step of MurmurHash3 for 32 bits (Appleby).
#[inline(always)]
const fn with_word(hash: u32, word: u32) -> u32 {
    let word = word.wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593);
    (hash ^ word).rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64)
}

/// Its end: every bit of `hash` changes every bit of the result.
#[inline(always)]
const fn mixed(mut hash: u32) -> u32 {
    hash ^= hash >> 16;
    hash = hash.wrapping_mul(0x85eb_ca6b);
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(0xc2b2_ae35);
    hash ^ (hash >> 16)
}
