//! A cluster that is larger than the maps, written into the kernel's maps by the control plane itself:
//! they grow, everything is served, and a second agent finds nothing to write.
//!
//! No packet is sent here; `stories/growing.rs` shows that growing interrupts none. How many Services
//! there are, `SLUICE_SCALE_SERVICES` says: 100000 with ten endpoints each, a million, take some
//! minutes.

use std::{
    collections::BTreeMap,
    env,
    net::{IpAddr, Ipv4Addr},
    time::Instant,
};

use anyhow::{Context as _, Result, ensure};
use bytemuck::Zeroable as _;
use lab::{Lab, Wiring};
use proxy_agent::{
    datapath::{Datapath, DeviceHook, kernel::Kernel, pins::Pins, sizes::Sizes},
    desired::{FrontendKinds, NodePortAddresses},
    model::{
        Conditions, Endpoint, EndpointPort, EndpointSlice, Family, NamespacedName, Service,
        ServicePort, ServiceType, TrafficPolicy, Weights,
    },
    reconcile::{Reconciler, Settings},
    source::{Change, Event},
    store::{Installed, MapStore as _, bpf::BpfStore},
};
use proxy_common::{Algorithm, Config, Nanoseconds, Protocol};

/// Services, unless `SLUICE_SCALE_SERVICES` says otherwise.
const SERVICES: u32 = 2_000;
/// Endpoints of each.
const ENDPOINTS: u32 = 10;
/// Room at first.
const SMALL: u32 = 1024;

#[test]
fn a_cluster_larger_than_the_maps_is_written_and_written_once() -> Result<()> {
    let services = match env::var("SLUICE_SCALE_SERVICES") {
        Ok(text) => text.parse().context("SLUICE_SCALE_SERVICES")?,
        Err(_) => SERVICES,
    };
    ensure!(services < 1 << 18, "SLUICE_SCALE_SERVICES: that many have no addresses");
    let lab = Lab::new()?;
    let node = lab.node("node-a", Wiring::Routed)?;
    let pins = Pins::new(&node.pin_path());
    let kernel = Kernel::probe();
    let sizes = Sizes { services: Some(SMALL), ..Sizes::default() };
    let mut datapath = Datapath::load(pins.clone(), DeviceHook::Auto, sizes, &kernel)?;
    ensure!(datapath.rejected().is_empty(), "{:?}", datapath.rejected());
    let mut store = BpfStore::open(&pins.maps())?;
    let mut reconciler = Reconciler::new(settings(), store.read()?);
    reconciler.apply(cluster(services));
    let begin = Instant::now();
    let mut times = 0;
    loop {
        let report = reconciler.reconcile(&mut store, Nanoseconds::new(1));
        if report.short.is_empty() {
            ensure!(report.failures.is_empty(), "{:?}", report.failures);
            break;
        }
        times += 1;
        ensure!(times < 30, "still short of {:?}", report.short);
        let rooms = store.rooms();
        let larger = |(map, more): (&&'static str, &u32)| Some((*map, rooms.get(map)? + more));
        let larger: BTreeMap<_, _> = report.short.iter().filter_map(larger).collect();
        let prepared = datapath.prepare(&larger)?;
        datapath.grow(prepared)?;
        store = BpfStore::open(&pins.maps())?;
        reconciler.grown(store.capacity());
    }
    println!("{services} Services after {:?}, maps grew {times} times", begin.elapsed());
    ensure!(times > 0, "nothing was too small");
    ensure!(reconciler.unserved().count() == 0);
    drop(reconciler);

    let installed = store.read()?;
    expect(&installed, services)?;
    // The next agent finds maps of the size that they have grown to, and all that is in them.
    drop((store, datapath));
    let _datapath = Datapath::load(pins.clone(), DeviceHook::Auto, sizes, &kernel)?;
    let mut store = BpfStore::open(&pins.maps())?;
    let found = store.read()?;
    ensure!(found == installed, "the next agent finds something else");
    let mut next = Reconciler::new(settings(), found);
    next.apply(cluster(services));
    let begin = Instant::now();
    let report = next.reconcile(&mut store, Nanoseconds::new(2));
    println!("the next agent looked at {} after {:?}", report.services, begin.elapsed());
    ensure!(report.failures.is_empty() && report.applied == 0, "{} written anew", report.applied);
    Ok(())
}

fn expect(installed: &Installed, services: u32) -> Result<()> {
    let count = |wanted: u32| usize::try_from(wanted);
    // A frontend and its ClusterIP's marker.
    ensure!(installed.v4.frontends.len() == count(services * 2)?);
    ensure!(installed.names.len() == count(services)?);
    ensure!(installed.v4.backends.len() == count(services * ENDPOINTS)?);
    ensure!(installed.v6.backends.is_empty() && installed.capacity.backends_v6 == SMALL);
    let set = installed.v4.frontends.values().filter(|it| it.cluster.count == ENDPOINTS);
    ensure!(set.count() == count(services)?, "not every Service has all its endpoints");
    Ok(())
}

fn settings() -> Settings {
    Settings {
        node_name: "here".into(),
        frontend_kinds: FrontendKinds::ALL,
        node_port_addresses: NodePortAddresses::All,
        algorithm: Algorithm::Random,
        maglev_table_size: 1021,
        config: Config { host_netns_cookie: 1, ..Config::zeroed() },
    }
}

/// Services and their endpoints, which are nowhere, as a source tells of them.
fn cluster(services: u32) -> impl Iterator<Item = Event> {
    let objects = (0..services).flat_map(|number| [service(number), endpoints(number)]);
    objects.chain([Event::Synced])
}

fn name(number: u32) -> NamespacedName {
    NamespacedName::new("many", format!("service-{number}"))
}

fn address(base: [u8; 4], number: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from_bits(u32::from_be_bytes(base) + number))
}

fn service(number: u32) -> Event {
    Event::Service(Change::Applied(Service {
        name: name(number),
        created: None,
        unserved: None,
        kind: ServiceType::ClusterIp,
        families: vec![Family::V4],
        cluster_ips: vec![address([100, 64, 0, 0], number)],
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

fn endpoints(number: u32) -> Event {
    let endpoint = |of: u32| Endpoint {
        address: address([30, 0, 0, 0], number * ENDPOINTS + of),
        pod: None,
        node: Some("there".into()),
        conditions: Conditions::default(),
        hints: None,
    };
    Event::EndpointSlice(Change::Applied(EndpointSlice {
        name: NamespacedName::new("many", format!("service-{number}-1")),
        service: Some(name(number)),
        family: Family::V4,
        ports: vec![EndpointPort { name: "http".into(), protocol: Protocol::TCP, port: 8080 }],
        endpoints: (0..ENDPOINTS).map(endpoint).collect(),
    }))
}
