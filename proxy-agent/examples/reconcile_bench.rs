//! How much work the control plane does: many Services at once, then one change, then a restart.
//!
//! Prints counts and times of this machine; asserts nothing.
//! `cargo run --release -p proxy-agent --example reconcile_bench [SERVICES [ENDPOINTS]]`

use std::{
    net::{IpAddr, Ipv4Addr},
    time::Instant,
};

use bytemuck::Zeroable;
use proxy_agent::{
    desired::{FrontendKinds, NodePortAddresses},
    model::{
        Conditions, Endpoint, EndpointPort, EndpointSlice, Family, NamespacedName, Service,
        ServicePort, ServiceType, TrafficPolicy, Weights,
    },
    reconcile::{LiveFlows, Reconciler, Report, Settings},
    source::{Change, Event},
    store::{Capacity, Installed, MapStore, memory::MemoryStore},
};
use proxy_common::{Algorithm, Config, Nanoseconds, Protocol};

fn main() {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<u32>());
    let mut next = |default| arguments.next().transpose().map(|it| it.unwrap_or(default));
    let (Ok(services), Ok(endpoints)) = (next(10_000), next(10)) else {
        eprintln!("usage: reconcile_bench [SERVICES [ENDPOINTS]]");
        std::process::exit(2);
    };

    let capacity = Capacity {
        frontends: (services * 2).max(1 << 17),
        slots: (services * endpoints * 2).max(1 << 20),
        backends_v4: (services * endpoints + 2).max(1 << 18),
        ..Capacity::default()
    };
    let mut store = MemoryStore::with_capacity(capacity);
    let mut now = 0;
    let installed = Installed { capacity, ..Installed::default() };
    let mut reconciler = Reconciler::new(settings(), installed);

    let events = objects(services, endpoints);
    let begin = Instant::now();
    reconciler.apply(events.clone());
    reconciler.apply([Event::Synced]);
    let report = reconciler.reconcile(&mut store, Nanoseconds::new(now));
    shown("everything", begin, &report);

    // An even number of rounds ends where they began.
    for round in 0..4 {
        now += 2_000_000_000;
        let begin = Instant::now();
        let index = services / 2;
        reconciler.apply([slice(index, endpoints + (round + 1) % 2)]);
        let report = reconciler.reconcile(&mut store, Nanoseconds::new(now));
        shown("one endpoint more or less", begin, &report);
    }
    now += 2_000_000_000;
    let begin = Instant::now();
    let report = reconciler.reconcile(&mut store, Nanoseconds::new(now));
    shown("what the last change left", begin, &report);
    reconciler.live_flows(&LiveFlows { since: Nanoseconds::new(now), ..LiveFlows::default() });
    reconciler.reconcile(&mut store, Nanoseconds::new(now));

    let Ok(installed) = store.read() else { return };
    let begin = Instant::now();
    let mut restarted = Reconciler::new(settings(), installed);
    restarted.apply(events);
    restarted.apply([Event::Synced]);
    let report = restarted.reconcile(&mut store, Nanoseconds::new(now));
    shown("a restart with nothing changed", begin, &report);
}

fn shown(what: &str, begin: Instant, report: &Report) {
    println!(
        "{what}: {} Services looked at, {} operations, {} failures, {:.3} ms",
        report.services,
        report.applied,
        report.failures.len(),
        begin.elapsed().as_secs_f64() * 1e3,
    );
}

fn settings() -> Settings {
    Settings {
        node_name: "here".into(),
        frontend_kinds: FrontendKinds::ALL,
        node_port_addresses: NodePortAddresses::All,
        algorithm: Algorithm::Random,
        maglev_table_size: 4093,
        config: Config { host_netns_cookie: 1, ..Config::zeroed() },
    }
}

fn objects(services: u32, endpoints: u32) -> Vec<Event> {
    (0..services).flat_map(|index| [service(index), slice(index, endpoints)]).collect()
}

fn name(index: u32) -> NamespacedName {
    NamespacedName::new("bench", format!("service-{index}"))
}

fn address(base: Ipv4Addr, index: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from_bits(base.to_bits() + index))
}

fn service(index: u32) -> Event {
    Event::Service(Change::Applied(Service {
        name: name(index),
        created: None,
        unserved: None,
        kind: ServiceType::ClusterIp,
        families: vec![Family::V4],
        cluster_ips: vec![address(Ipv4Addr::new(10, 96, 0, 0), index)],
        external_ips: Vec::new(),
        load_balancer: Vec::new(),
        source_ranges: None,
        ports: vec![ServicePort {
            name: "http".into(),
            protocol: Protocol::TCP,
            port: 80,
            node_port: None,
        }],
        internal_traffic_policy: TrafficPolicy::Cluster,
        external_traffic_policy: TrafficPolicy::Cluster,
        affinity: None,
        algorithm: None,
        weights: Weights::default(),
        health_check_node_port: None,
    }))
}

fn slice(index: u32, endpoints: u32) -> Event {
    let endpoint = |number| Endpoint {
        address: address(Ipv4Addr::new(11, 0, 0, 0), index * 64 + number),
        pod: None,
        node: Some(if number == 0 { "here" } else { "there" }.into()),
        conditions: Conditions::default(),
        hints: None,
    };
    Event::EndpointSlice(Change::Applied(EndpointSlice {
        name: NamespacedName::new("bench", format!("service-{index}-1")),
        service: Some(name(index)),
        family: Family::V4,
        ports: vec![EndpointPort { name: "http".into(), protocol: Protocol::TCP, port: 8080 }],
        endpoints: (0..endpoints).map(endpoint).collect(),
    }))
}
