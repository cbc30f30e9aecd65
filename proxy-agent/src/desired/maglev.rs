//! Maglev tables: consistent hashing that nodes agree on without talking.
//!
//! The population of Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer"
//! (NSDI '16, §3.4): every endpoint has a permutation of the table's slots of its own, and the
//! endpoints take turns, each taking the first slot of its permutation that is free. Shares differ
//! by a slot or two, and when an endpoint leaves few of the others' slots change hands.
//!
//! # The permutation
//! It depends on the endpoint's address and port alone. With `h` = FNV-1a (64 bits) over the
//! address and then the port, both in network order, and `mix` = the finish of SplitMix64:
//! `offset = mix(h) mod size`, `skip = mix(h + 0x9E3779B97F4A7C15) mod (size - 1) + 1`, and the
//! permutation is `offset, offset + skip, offset + 2 skip, … mod size`. Endpoints take turns in the
//! order of address and port, so the table is the same in whatever order they are listed, and on
//! every node that knows the same ones.
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
    /// The next slot of its permutation.
    at: usize,
    skip: usize,
}

/// A table of `size` slots, each an index into `endpoints` (address, port and weight). `size` has
/// to be a prime number for every permutation to be one; if it isn't, the shares are less even.
pub(super) fn table(endpoints: &[(IpAddr, u16, u8)], size: u32) -> Vec<u32> {
    let size = size.max(2) as usize;
    let mut members: Vec<Member> = (0u32..)
        .zip(endpoints)
        .map(|(index, (address, port, weight))| {
            let hash = hash(*address, *port);
            let at = remainder(mix(hash), size);
            let skip = remainder(mix(hash.wrapping_add(GOLDEN)), size - 1) + 1;
            Member { index, weight: u32::from(*weight), credit: 0, at, skip }
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
    /// Takes the first free slot of the permutation; there must be one.
    fn take(&mut self, slots: &mut [Option<u32>]) {
        let size = slots.len();
        for _ in 0..size {
            let at = self.at;
            self.at = (at + self.skip) % size;
            if let Some(slot @ None) = slots.get_mut(at) {
                *slot = Some(self.index);
                return;
            }
        }
        // Of a size that isn't prime the permutation may leave slots out.
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
