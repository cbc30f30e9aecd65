//! What a Maglev table promises.

use std::{collections::BTreeMap, net::IpAddr};

use proptest::{collection::btree_map, prelude::*};

use super::table;

type Endpoint = (IpAddr, u16, u8);

fn endpoints(count: u8) -> Vec<Endpoint> {
    (1..=count).map(|last| (IpAddr::from([10, 1, 0, last]), 8080, 1)).collect()
}

/// How many slots each endpoint has.
fn shares(endpoints: &[Endpoint], table: &[u32]) -> BTreeMap<IpAddr, u32> {
    let mut shares: BTreeMap<IpAddr, u32> = endpoints.iter().map(|it| (it.0, 0)).collect();
    for index in table {
        *shares.get_mut(&endpoints[*index as usize].0).unwrap() += 1;
    }
    shares
}

/// Who has each slot.
fn owners(endpoints: &[Endpoint], table: &[u32]) -> Vec<IpAddr> {
    table.iter().map(|index| endpoints[*index as usize].0).collect()
}

/// Different addresses of both kinds of prefix, with weights up to `heaviest`.
fn some(heaviest: u8) -> impl Strategy<Value = Vec<Endpoint>> {
    let address = prop_oneof![
        any::<u32>().prop_map(|bits| IpAddr::V4(bits.into())),
        (0..5_000u128).prop_map(|host| IpAddr::V6((0xfd00_u128 << 112 | host).into())),
    ];
    btree_map(address, (1..4u16, 1..=heaviest), 2..40).prop_map(|endpoints| {
        endpoints.into_iter().map(|(address, (port, weight))| (address, port, weight)).collect()
    })
}

/// The table is part of what nodes agree on: another version has to make the same one.
#[test]
fn a_table_is_the_same_for_ever() {
    let endpoints = endpoints(3);
    assert_eq!(table(&endpoints, 13), [2, 2, 0, 0, 0, 1, 1, 0, 0, 2, 1, 2, 1]);
}

#[test]
fn nobody_has_no_table_and_a_lone_endpoint_has_all_of_it() {
    assert_eq!(table(&[], 13), [0; 0]);
    assert_eq!(table(&endpoints(1), 13), [0; 13]);
}

#[test]
fn a_table_of_any_size_is_filled() {
    for size in [0, 1, 2, 4, 12, 100] {
        let table = table(&endpoints(5), size);
        assert_eq!(table.len(), size.max(1) as usize);
    }
}

/// With a constant step from slot to slot, a third of the table changed hands here.
#[test]
fn endpoints_that_would_step_alike_do_not_run_into_each_other() {
    let all: Vec<Endpoint> = [("0.0.0.0", 1), ("111.48.245.138", 3), ("fd00::1224", 1)]
        .map(|(address, port)| (address.parse().unwrap(), port, 1))
        .to_vec();
    assert!(moved(&all, 0) < 4_093 / 20);
}

/// How many slots of a table of 4093 the others swap when one of `endpoints` leaves.
fn moved(endpoints: &[Endpoint], gone: usize) -> usize {
    let before = owners(endpoints, &table(endpoints, 4_093));
    let mut left = endpoints.to_vec();
    let gone = left.remove(gone).0;
    let after = owners(&left, &table(&left, 4_093));
    Iterator::zip(before.iter(), &after)
        .filter(|(before, after)| **before != gone && before != after)
        .count()
}

#[test]
fn an_endpoint_that_leaves_moves_few_slots_of_the_others() {
    let all = endpoints(40);
    for gone in 0..all.len() {
        let moved = moved(&all, gone);
        assert!(moved < 4_093 / 20, "{moved} of 4093 slots moved without need");
    }
}

proptest! {
    #[test]
    fn shares_follow_the_weights(endpoints in some(100)) {
        let total: u32 = endpoints.iter().map(|it| u32::from(it.2)).sum();
        let shares = shares(&endpoints, &table(&endpoints, 4_093));
        for (address, _, weight) in &endpoints {
            let due = 4_093 * u32::from(*weight) / total;
            // What the light ones have too much by rounding, the heavy ones lack.
            let slack = 2 + u32::try_from(endpoints.len()).unwrap() * u32::from(*weight) / total;
            let share = shares[address];
            prop_assert!(share > 0, "nobody is left out");
            prop_assert!(share.abs_diff(due) <= slack, "{share} slots, {due} due");
        }
    }

    #[test]
    fn the_order_of_endpoints_makes_no_difference(
        (endpoints, shuffled) in some(3).prop_flat_map(|endpoints| {
            (Just(endpoints.clone()), Just(endpoints).prop_shuffle())
        })
    ) {
        prop_assert_eq!(
            owners(&endpoints, &table(&endpoints, 251)),
            owners(&shuffled, &table(&shuffled, 251))
        );
    }

    #[test]
    fn what_moves_when_an_endpoint_leaves_is_bounded(
        endpoints in some(1),
        gone in any::<prop::sample::Index>(),
    ) {
        let moved = moved(&endpoints, gone.index(endpoints.len()));
        prop_assert!(moved < 4_093 / 20, "{moved} of 4093 slots moved without need");
    }
}
