//! Laws of endpoint selection (SEMANTICS §3), for any endpoints.

mod support;

use std::{collections::BTreeSet, net::IpAddr};

use proptest::{collection::vec, prelude::*, sample::select as one_of};
use proxy_agent::{
    endpoints::{Backend, Sets, Viewpoint, select},
    model::{Conditions, Endpoint, EndpointPort, EndpointSlice, Family, Hints, NamespacedName},
};
use proxy_common::Protocol;

use support::universe::{NODE, endpoint};

const PORT: u16 = 8080;

fn from(zone: Option<&str>) -> Viewpoint<'_> {
    Viewpoint { port: "http", protocol: Protocol::TCP, family: Family::V4, node: NODE, zone }
}

fn slice(endpoints: Vec<Endpoint>) -> EndpointSlice {
    EndpointSlice {
        name: NamespacedName::new("default", "s"),
        service: None,
        family: Family::V4,
        ports: vec![EndpointPort { name: "http".into(), protocol: Protocol::TCP, port: PORT }],
        endpoints,
    }
}

/// Endpoints, some of them with the same address.
fn endpoints() -> impl Strategy<Value = Vec<Endpoint>> {
    vec(endpoint(Family::V4), 0..8)
}

/// Endpoints that all have hints, so that filters take effect.
fn hinted() -> impl Strategy<Value = Vec<Endpoint>> {
    endpoints().prop_map(|mut endpoints| {
        for (index, endpoint) in endpoints.iter_mut().enumerate() {
            if endpoint.for_zones().is_empty() {
                let zone = if index % 2 == 0 { "east" } else { "west" };
                endpoint.hints = Hints::new(endpoint.for_nodes().to_vec(), vec![zone.into()]);
            }
        }
        endpoints
    })
}

fn zone() -> impl Strategy<Value = Option<&'static str>> {
    one_of(&[None, Some("east"), Some("north")][..])
}

fn selected(endpoints: &[Endpoint], zone: Option<&str>) -> Sets {
    select([&slice(endpoints.to_vec())], &from(zone))
}

fn without_hints(endpoints: &[Endpoint]) -> Vec<Endpoint> {
    let strip = |endpoint: &Endpoint| Endpoint { hints: None, ..endpoint.clone() };
    endpoints.iter().map(strip).collect()
}

/// The conditions that count for an address: those of the endpoint that wins.
fn conditions(endpoints: &[Endpoint], address: IpAddr) -> Conditions {
    let of_address = endpoints.iter().filter(|endpoint| endpoint.address == address);
    of_address
        .map(|endpoint| endpoint.conditions)
        .min_by_key(|it| (it.terminating, !it.ready, !it.serving))
        .unwrap()
}

fn addresses(endpoints: &[Endpoint]) -> BTreeSet<IpAddr> {
    endpoints.iter().map(|endpoint| endpoint.address).collect()
}

fn with(endpoints: &[Endpoint], admitted: impl Fn(Conditions) -> bool) -> BTreeSet<IpAddr> {
    let mut addresses = addresses(endpoints);
    addresses.retain(|address| admitted(conditions(endpoints, *address)));
    addresses
}

fn set(backends: &[Backend]) -> BTreeSet<IpAddr> {
    backends.iter().map(|backend| backend.address).collect()
}

fn draining(it: Conditions) -> bool {
    !it.ready && it.serving && it.terminating
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn without_hints_all_that_are_ready_or_else_all_that_drain(endpoints in endpoints()) {
        let endpoints = without_hints(&endpoints);
        let ready = with(&endpoints, |it| it.ready);
        let expected = if ready.is_empty() { with(&endpoints, draining) } else { ready };
        prop_assert_eq!(set(&selected(&endpoints, Some("east")).cluster), expected);
    }

    #[test]
    fn sets_are_in_order_and_without_repetition(endpoints in endpoints(), zone in zone()) {
        let Sets { cluster, local } = selected(&endpoints, zone);
        for set in [cluster, local] {
            prop_assert!(set.is_sorted());
            let distinct: BTreeSet<_> = set.iter().map(|it| (it.address, it.port)).collect();
            prop_assert_eq!(distinct.len(), set.len());
        }
    }

    #[test]
    fn the_order_of_endpoints_and_slices_makes_no_difference(
        (endpoints, shuffled) in endpoints().prop_flat_map(|it| (Just(it.clone()), Just(it).prop_shuffle())),
        cut in 0..8usize,
        zone in zone(),
    ) {
        let (first, second) = shuffled.split_at(cut.min(shuffled.len()));
        let (first, second) = (slice(first.to_vec()), slice(second.to_vec()));
        prop_assert_eq!(select([&second, &first], &from(zone)), selected(&endpoints, zone));
    }

    #[test]
    fn the_local_set_is_local_and_falls_back_on_its_own(endpoints in endpoints(), zone in zone()) {
        let local = selected(&endpoints, zone).local;
        prop_assert!(local.iter().all(|backend| backend.local));
        let ready = local.iter().all(|it| conditions(&endpoints, it.address).ready);
        let drain = local.iter().all(|it| draining(conditions(&endpoints, it.address)));
        prop_assert!(ready || drain);
        prop_assert_eq!(&selected(&without_hints(&endpoints), zone).local, &local, "hints");
        let here = |it: &Endpoint| it.node.as_deref() == Some(NODE);
        let only_local: Vec<Endpoint> = endpoints.iter().filter(|it| here(it)).cloned().collect();
        let remote: Vec<Endpoint> = endpoints.iter().filter(|it| !here(it)).cloned().collect();
        if addresses(&only_local).is_disjoint(&addresses(&remote)) {
            prop_assert_eq!(selected(&only_local, zone).local, local, "remote endpoints");
        }
    }

    #[test]
    fn hints_leave_some_of_what_there_is_and_never_nothing(endpoints in hinted(), zone in zone()) {
        let filtered = set(&selected(&endpoints, zone).cluster);
        let all = set(&selected(&without_hints(&endpoints), zone).cluster);
        prop_assert!(filtered.is_subset(&all));
        prop_assert_eq!(filtered.is_empty(), all.is_empty());
        if zone.is_none() && endpoints.iter().all(|it| it.for_nodes().is_empty()) {
            prop_assert_eq!(filtered, all, "a node without a zone");
        }
    }

    #[test]
    fn one_ready_endpoint_without_hints_turns_the_filter_off(
        endpoints in hinted(),
        zone in zone(),
    ) {
        let bare = Endpoint {
            address: "10.9.9.9".parse().unwrap(),
            node: None,
            conditions: Conditions::default(),
            pod: None,
            hints: None,
        };
        let mut endpoints = endpoints;
        endpoints.push(bare);
        let all = selected(&without_hints(&endpoints), zone);
        prop_assert_eq!(selected(&endpoints, zone).cluster, all.cluster);
    }

    #[test]
    fn endpoints_that_are_not_ready_do_not_turn_it_off(endpoints in hinted(), zone in zone()) {
        let mut more = endpoints.clone();
        more.push(Endpoint {
            address: "10.9.9.9".parse().unwrap(),
            node: None,
            conditions: Conditions { ready: false, serving: true, terminating: true },
            pod: None,
            hints: None,
        });
        if !with(&endpoints, |it| it.ready).is_empty() {
            prop_assert_eq!(selected(&more, zone).cluster, selected(&endpoints, zone).cluster);
        }
    }
}
