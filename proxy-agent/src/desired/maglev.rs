//! Maglev tables: consistent hashing that nodes agree on without talking.
//!
//! The population of Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer"
//! (NSDI '16, §3.4): every endpoint has a permutation of the table's slots of its own, and the
//! endpoints take turns, each taking the first slot of its permutation that is free. Shares differ
//! by a slot or two, and when an endpoint leaves few of the others' slots change hands.
//!
//! # The permutation
//! It depends on the endpoint's address and port alone. With `h` = FNV-1a (64 bits) over the
//! address and then the port, both in network order, and `mix` = the finish of SplitMix64, the
//! endpoint tries the slots `mix(h + n * 0x9E3779B97F4A7C15) mod size` for n = 1, 2, 3, …; a slot that
//! comes up again is taken already. Endpoints take turns in the order of address and port, so the
//! table is the same in whatever order they are listed, and on every node that knows the same ones.
//!
//! The paper steps through the slots by a constant instead, and says that better permutations do as
//! well. They do better: two endpoints that happen to step alike run into each other, take every
//! other slot from there on, and swap them all when a third one leaves. That was a third of the
//! table with the three endpoints of a test.
//!
//! # Weights
//! In every round an endpoint earns its weight, and a turn costs the largest weight. In the first
//! round all have what a turn costs, so that nobody is left out of a table that has room for all.
//!
//! Called by [`super::slots`].

use std::net::IpAddr;

/// An endpoint in the population of a table.
struct Member {
    /// Which of the given endpoints it is.
    index: u32,
    weight: u32,
    credit: u32,
    /// `h + n * GOLDEN` of its last try.
    tried: u64,
}

/// A table of `size` slots, each an index into `endpoints` (address, port and weight).
pub(super) fn table(endpoints: &[(IpAddr, u16, u8)], size: u32) -> Vec<u32> {
    let size = size.max(1) as usize;
    let mut members: Vec<Member> = (0u32..)
        .zip(endpoints)
        .map(|(index, (address, port, weight))| {
            let tried = hash(*address, *port);
            Member { index, weight: u32::from(*weight), credit: 0, tried }
        })
        .collect();
    members.sort_unstable_by_key(|member| {
        endpoints.get(member.index as usize).map(|(address, port, _)| (*address, *port))
    });
    let Some(cost) = members.iter().map(|member| member.weight).max().filter(|cost| *cost > 0)
    else {
        return Vec::new();
    };
    for member in &mut members {
        member.credit = cost - member.weight;
    }
    let mut slots: Vec<Option<u32>> = vec![None; size];
    let mut free = size;
    while free > 0 {
        for member in &mut members {
            member.credit += member.weight;
            if member.credit >= cost && free > 0 {
                member.credit -= cost;
                free -= 1;
                member.take(&mut slots);
            }
        }
    }
    slots.into_iter().flatten().collect()
}

impl Member {
    /// Takes the first slot of the permutation that is free; there must be one.
    fn take(&mut self, slots: &mut [Option<u32>]) {
        // The last free slot comes up in one try of `size`: that it doesn't in this many has a
        // chance of one in e^64.
        for _ in 0..slots.len() * 64 {
            self.tried = self.tried.wrapping_add(GOLDEN);
            let at = remainder(mix(self.tried), slots.len());
            if let Some(slot @ None) = slots.get_mut(at) {
                *slot = Some(self.index);
                return;
            }
        }
        if let Some(slot) = slots.iter_mut().find(|slot| slot.is_none()) {
            *slot = Some(self.index);
        }
    }
}

/// 2^64 divided by the golden ratio: the step of SplitMix64.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// FNV-1a over the address and the port, in network order.
fn hash(address: IpAddr, port: u16) -> u64 {
    const BASIS: u64 = 0xCBF2_9CE4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01B3;
    let fnv = |hash: u64, bytes: &[u8]| {
        bytes.iter().fold(hash, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(PRIME))
    };
    let hash = match address {
        IpAddr::V4(address) => fnv(BASIS, &address.octets()),
        IpAddr::V6(address) => fnv(BASIS, &address.octets()),
    };
    fnv(hash, &port.to_be_bytes())
}

/// The finish of SplitMix64: every bit of the result depends on every bit of `hash`.
const fn mix(hash: u64) -> u64 {
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    hash ^ (hash >> 31)
}

#[expect(clippy::cast_possible_truncation, reason = "less than `size`, which is a usize")]
const fn remainder(hash: u64, size: usize) -> usize {
    (hash % size as u64) as usize
}

#[cfg(test)]
#[path = "maglev_tests.rs"]
mod tests;
