//! How endpoints are picked: shares, turns, busy endpoints, and who agrees with whom.

use std::collections::{BTreeSet, HashMap};

use proxy_common::{
    Algorithm, BackendId, Counter, FrontendKind, Protocol, Service, ServiceFlags, SlotRange,
};
use proxy_ebpf::{
    env::Maps,
    transport::Hook::Ingress,
    user::build::{End, udp},
};

use crate::{
    edge::{cluster_ip, node_port, service},
    stage::{Cast, Stage, for_both_families, pod, ports},
};

for_both_families! {
    random_gives_every_endpoint_its_share
    weights_are_repeated_slots
    round_robin_takes_turns
    least_connections_prefers_the_idle
    least_connections_evens_out
    open_flows_are_counted_once_a_flow
    maglev_is_the_same_on_every_node
    maglev_spreads_clients_and_their_ports
    an_algorithm_nobody_knows_is_random
}

const BACKENDS: u16 = 10;

fn endpoints<A: Cast>() -> Vec<End<A>> {
    (0..BACKENDS).map(|index| (pod(9), 8000 + index)).collect()
}

fn by(algorithm: Algorithm) -> Service {
    let service = service(FrontendKind::ClusterIp, ServiceFlags::empty());
    Service { algorithm: algorithm as u8, ..service }
}

fn stage<A: Cast>(algorithm: Algorithm) -> Stage {
    let mut stage = Stage::edge::<A>();
    stage.offer(cluster_ip::<A>(), by(algorithm), &endpoints::<A>());
    stage
}

/// The endpoint (by its port) that a datagram from this client goes to.
fn picked<A: Cast>(stage: &Stage, client: End<A>) -> u16 {
    ports::<A>(&stage.translated::<A>(Ingress, &udp(client, cluster_ip()).packet())).1
}

/// How often each endpoint is picked for as many clients.
fn shares<A: Cast>(stage: &Stage, clients: u16) -> HashMap<u16, f64> {
    let mut shares = HashMap::new();
    for port in 1..=clients {
        *shares.entry(picked::<A>(stage, (pod(1), port))).or_default() += 1.0;
    }
    shares
}

/// Chi-square of `shares` against `expected` (by endpoint).
fn chi_square(shares: &HashMap<u16, f64>, expected: impl Fn(u16) -> f64) -> f64 {
    shares.iter().map(|(port, share)| (share - expected(*port)).powi(2) / expected(*port)).sum()
}

/// What chi-square with 9 degrees of freedom exceeds once in 10,000 runs. Seeds are fixed.
const UNLIKELY: f64 = 33.7;

fn random_gives_every_endpoint_its_share<A: Cast>() {
    let shares = shares::<A>(&stage::<A>(Algorithm::Random), 10_000);
    assert_eq!(shares.len(), usize::from(BACKENDS));
    let chi_square = chi_square(&shares, |_| 1000.0);
    assert!(chi_square < UNLIKELY, "{chi_square}: {shares:?}");
}

fn weights_are_repeated_slots<A: Cast>() {
    // The first endpoint three times as often as each of the others.
    let mut stage = stage::<A>(Algorithm::Random);
    let first = stage.machine.slots[&0];
    let count = u32::from(BACKENDS);
    stage.machine.slots.extend([(count, first), (count + 1, first)]);
    for service in A::of_mut(&mut stage.machine).services.values_mut() {
        service.cluster = SlotRange { base: 0, count: count + 2 };
    }
    let shares = shares::<A>(&stage, 12_000);
    let chi_square = chi_square(&shares, |port| if port == 8000 { 3000.0 } else { 1000.0 });
    assert!(chi_square < UNLIKELY, "{chi_square}: {shares:?}");
}

fn round_robin_takes_turns<A: Cast>() {
    let mut stage = stage::<A>(Algorithm::RoundRobin);
    // All frontends of the Service port share the turns.
    stage.offer(
        node_port(),
        Service { kind: FrontendKind::NodePort as u8, ..by(Algorithm::RoundRobin) },
        &endpoints::<A>(),
    );
    let turns: Vec<u16> = (1..=25)
        .map(|port| {
            let frontend = if port % 2 == 0 { cluster_ip() } else { node_port() };
            let packet = udp((pod::<A>(1), port), frontend).packet();
            ports::<A>(&stage.translated::<A>(Ingress, &packet)).1
        })
        .collect();
    let expected: Vec<u16> = (0..25).map(|turn| 8000 + turn % BACKENDS).collect();
    assert_eq!(turns, expected);
}

fn least_connections_prefers_the_idle<A: Cast>() {
    let stage = stage::<A>(Algorithm::LeastConnections);
    // All but one are busy: whenever it is one of the two, it is picked.
    for id in 2..=u32::from(BACKENDS) {
        A::of(&stage.machine).open_flows.borrow_mut().insert(BackendId::new(id), 10_000);
    }
    let shares = shares::<A>(&stage, 2_000);
    // One in ten as the first pick, one in ten as the second: 19 of 100.
    let idle = shares[&8000];
    assert!((320.0..440.0).contains(&idle), "{shares:?}");
}

fn least_connections_evens_out<A: Cast>() {
    let stage = stage::<A>(Algorithm::LeastConnections);
    let shares = shares::<A>(&stage, 10_000);
    let most = shares.values().fold(0.0, |most: f64, share| most.max(*share));
    let least = shares.values().fold(f64::MAX, |least: f64, share| least.min(*share));
    // Picked at random they would differ by a hundred.
    assert!(most - least < 20.0, "{shares:?}");
}

fn open_flows_are_counted_once_a_flow<A: Cast>() {
    let mut stage = stage::<A>(Algorithm::LeastConnections);
    for port in 1..=100 {
        for _ in 0..3 {
            picked::<A>(&stage, (pod(1), port));
        }
    }
    stage.counted(&[(Counter::FlowOpened, 100)]);
    let counted = |stage: &Stage| -> u32 {
        (1..=u32::from(BACKENDS))
            .map(|id| Maps::<A>::open_flows(&stage.machine, BackendId::new(id)))
            .sum()
    };
    assert_eq!(counted(&stage), 100);
    let others = self::stage::<A>(Algorithm::Random);
    shares::<A>(&others, 100);
    assert_eq!(counted(&others), 0);
}

fn maglev_is_the_same_on_every_node<A: Cast>() {
    let (one, other) = (stage::<A>(Algorithm::Maglev), stage::<A>(Algorithm::Maglev));
    other.machine.seed(4711);
    for host in 1..20 {
        for port in 1000..1020 {
            let client = (pod::<A>(host), port);
            assert_eq!(picked(&one, client), picked(&other, client));
        }
    }
    // Also after the flow is forgotten.
    let before = picked::<A>(&one, (pod(1), 1000));
    A::of(&one.machine).new_dst.borrow_mut().clear();
    A::of(&one.machine).new_src.borrow_mut().clear();
    assert_eq!(picked::<A>(&one, (pod(1), 1000)), before);
}

fn maglev_spreads_clients_and_their_ports<A: Cast>() {
    let stage = stage::<A>(Algorithm::Maglev);
    let by_port = shares::<A>(&stage, 10_000);
    let (by_port, port_shares) = (chi_square(&by_port, |_| 1000.0), by_port);
    assert!(by_port < UNLIKELY, "{by_port}: {port_shares:?}");
    let mut by_address: HashMap<u16, f64> = HashMap::new();
    for net in 0..40 {
        for host in 0..250 {
            let client = (A::address(net, host), 5555);
            *by_address.entry(picked::<A>(&stage, client)).or_default() += 1.0;
        }
    }
    let chi_square = chi_square(&by_address, |_| 1000.0);
    assert!(chi_square < UNLIKELY, "{chi_square}: {by_address:?}");
}

fn an_algorithm_nobody_knows_is_random<A: Cast>() {
    let mut stage = Stage::edge::<A>();
    let service = Service { algorithm: 77, ..by(Algorithm::Random) };
    stage.offer(cluster_ip::<A>(), service, &endpoints::<A>());
    let seen: BTreeSet<u16> = (1..500).map(|port| picked::<A>(&stage, (pod(1), port))).collect();
    assert_eq!(seen.len(), usize::from(BACKENDS));
    assert!(A::of(&stage.machine).services.keys().any(|key| key.protocol == Protocol::UDP));
}
