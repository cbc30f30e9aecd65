//! In which order, and how often, the endpoints of a set stand in its slots.
//!
//! Every algorithm picks a slot, none looks at weights: a heavier endpoint stands in more slots,
//! or has more of a Maglev table. Pure; called by [`super`] for each set of a Service port.

use std::{collections::HashMap, net::IpAddr};

use proxy_common::Algorithm;

use crate::endpoints::Backend;

use super::maglev;

/// Weights by address and port; who isn't there has weight 1.
pub(super) type WeightOf = HashMap<(IpAddr, u16), u8>;

/// Weights never make a set longer than this, or than [`SLOTS_EACH`] for each endpoint, whichever
/// is more (and one slot each on top of that, since nobody is left out).
const SLOTS_ENOUGH: u64 = 4_096;
/// See [`SLOTS_ENOUGH`].
const SLOTS_EACH: u64 = 4;

/// The slots of a set, as indexes into it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Slots {
    pub(super) order: Vec<u32>,
    pub(super) shortfall: Option<Shortfall>,
}

/// Why the shares are not what was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shortfall {
    /// The weights asked for this many slots.
    WeightsScaled { wanted: u64 },
    /// There are more endpoints than the Maglev table has slots.
    TableSmall,
}

/// The slots of `set`.
pub(super) fn slots(
    set: &[Backend],
    weights: &WeightOf,
    algorithm: Algorithm,
    table_size: u32,
) -> Slots {
    let weight =
        |backend: &Backend| weights.get(&(backend.address, backend.port)).copied().unwrap_or(1);
    match algorithm {
        // The table of a lone endpoint is that endpoint, over and over: one slot says as much.
        Algorithm::Maglev if set.len() > 1 => {
            let endpoints: Vec<_> = set
                .iter()
                .map(|backend| (backend.address, backend.port, weight(backend)))
                .collect();
            let order = maglev::table(&endpoints, table_size);
            let small = order.len() < endpoints.len();
            Slots { order, shortfall: small.then_some(Shortfall::TableSmall) }
        }
        Algorithm::Random
        | Algorithm::RoundRobin
        | Algorithm::LeastConnections
        | Algorithm::Maglev => repeated(set.iter().map(weight).collect()),
    }
}

/// Each index as often as its weight says, and its occurrences as evenly apart as can be, so that
/// taking turns doesn't come in bursts.
fn repeated(weights: Vec<u8>) -> Slots {
    let divisor = weights.iter().copied().fold(0, greatest_common_divisor).max(1);
    let mut weights: Vec<u64> = weights.iter().map(|weight| u64::from(weight / divisor)).collect();
    let wanted: u64 = weights.iter().sum();
    let enough = SLOTS_ENOUGH.max(SLOTS_EACH * weights.len() as u64);
    let mut shortfall = None;
    if wanted > enough {
        shortfall = Some(Shortfall::WeightsScaled { wanted });
        for weight in &mut weights {
            *weight = (*weight * enough / wanted).max(1);
        }
    }
    let mut places: Vec<(u64, u32)> = (0u32..)
        .zip(&weights)
        .flat_map(|(index, weight)| {
            // The middles of `weight` equal parts of the whole.
            (0..*weight).map(move |nth| ((2 * nth + 1) * (1 << 32) / weight, index))
        })
        .collect();
    places.sort_unstable();
    Slots { order: places.into_iter().map(|(_, index)| index).collect(), shortfall }
}

const fn greatest_common_divisor(a: u8, b: u8) -> u8 {
    let (mut a, mut b) = (a, b);
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};
    use proxy_common::Algorithm;

    use super::{Shortfall, Slots, WeightOf, repeated, slots};
    use crate::endpoints::Backend;

    fn order(weights: &[u8]) -> Vec<u32> {
        repeated(weights.to_vec()).order
    }

    #[test]
    fn without_weights_everybody_has_one_slot_in_order() {
        assert_eq!(order(&[1, 1, 1]), [0, 1, 2]);
        assert_eq!(order(&[]), [0; 0]);
    }

    #[test]
    fn weights_are_reduced_and_a_heavy_endpoint_is_spread() {
        assert_eq!(order(&[50, 50]), [0, 1]);
        assert_eq!(order(&[60, 20]), [0, 0, 1, 0]);
        assert_eq!(order(&[1, 4]), [1, 1, 0, 1, 1]);
    }

    #[test]
    fn ten_thousand_heavy_endpoints_do_not_take_a_million_slots() {
        let mut weights = vec![100; 10_000];
        weights[0] = 99;
        let Slots { order, shortfall } = repeated(weights);
        assert_eq!(shortfall, Some(Shortfall::WeightsScaled { wanted: 999_999 }));
        assert!((10_000..=50_000).contains(&order.len()), "{}", order.len());
    }

    #[test]
    fn a_lone_endpoint_takes_one_slot_whatever_the_algorithm() {
        let set = [Backend { address: [10, 1, 0, 1].into(), port: 80, local: true }];
        let weights = WeightOf::from([(([10, 1, 0, 1].into(), 80), 7)]);
        for algorithm in Algorithm::ALL {
            assert_eq!(slots(&set, &weights, algorithm, 4_093).order, [0]);
            assert!(slots(&[], &weights, algorithm, 4_093).order.is_empty());
        }
    }

    #[test]
    fn more_endpoints_than_a_table_has_slots_are_told() {
        let backend = |last| Backend { address: [10, 1, 0, last].into(), port: 80, local: false };
        let set: Vec<Backend> = (0..9).map(backend).collect();
        let slots = slots(&set, &WeightOf::new(), Algorithm::Maglev, 7);
        assert_eq!((slots.order.len(), slots.shortfall), (7, Some(Shortfall::TableSmall)));
    }

    proptest! {
        #[test]
        fn shares_are_exactly_the_weights_unless_told(weights in vec(1..=100u8, 1..60)) {
            let Slots { order, shortfall } = repeated(weights.clone());
            prop_assert!(order.len() <= 4_096 + weights.len());
            let share = |index: u32| order.iter().filter(|it| **it == index).count();
            let first = share(0) * 100 / usize::from(weights[0]);
            for (index, weight) in (0u32..).zip(&weights) {
                prop_assert!(share(index) > 0, "nobody is left out");
                let exact = share(index) * 100 == first * usize::from(*weight);
                let close = share(index) * usize::from(weights[0]) == share(0) * usize::from(*weight);
                prop_assert!(shortfall.is_some() || exact || close);
            }
        }
    }
}
