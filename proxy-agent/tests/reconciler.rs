//! The reconciler, operation by operation: what exactly one change writes, and what happens when
//! the maps refuse.

mod support;

use std::path::Path;

use proxy_agent::{
    model::NamespacedName,
    reconcile::{LiveFlows, Reconciler},
    source::manifests::{Catalog, Writer},
    store::{
        Capacity, FamilyOp, MapStore, Op,
        faulty::{Fault, FaultyStore},
        memory::MemoryStore,
    },
};
use proxy_common::{Nanoseconds, Scope};

use support::{
    agent::{Agent, SECOND, service, settings, slice},
    dump::dump,
};

#[test]
fn a_service_is_written_bottom_up() {
    let mut agent = Agent::new(MemoryStore::default());
    agent.manifests(&(service("a", 1) + &slice("a", &["10.1.0.1", "10.1.0.2"])));
    assert_eq!(
        agent.written(),
        [
            "backend 1 10.1.0.1:8080",
            "backend 2 10.1.0.2:8080",
            "slots 0..2",
            "name 1",
            "frontend 10.96.0.1:80 cluster 0+2 local 0+0",
            "frontend 10.96.0.1:0 cluster 0+0 local 0+0",
            "config",
        ]
    );
}

#[test]
fn a_new_endpoint_is_one_backend_one_run_of_slots_and_one_switch() {
    let mut agent = Agent::new(MemoryStore::default());
    let others: String = (2..50).map(|i| service(&format!("s{i}"), i)).collect();
    agent.manifests(&(service("a", 1) + &others + &slice("a", &["10.1.0.1"])));
    agent.written();
    agent.manifests(&(service("a", 1) + &others + &slice("a", &["10.1.0.1", "10.1.0.2"])));
    assert_eq!(
        agent.written(),
        ["backend 2 10.1.0.2:8080", "slots 1..3", "frontend 10.96.0.1:80 cluster 1+2 local 0+0",]
    );
    assert_eq!(agent.written(), Vec::<String>::new());
}

#[test]
fn an_endpoint_that_goes_is_cleared_after_the_grace_period_only() {
    let mut agent = Agent::new(MemoryStore::default());
    agent.manifests(&(service("a", 1) + &slice("a", &["10.1.0.1", "10.1.0.2"])));
    agent.written();
    agent.manifests(&(service("a", 1) + &slice("a", &["10.1.0.1"])));
    assert_eq!(agent.written(), ["slots 2..3", "frontend 10.96.0.1:80 cluster 2+1 local 0+0"]);
    assert_eq!(agent.reconciler.needs_reconcile_at(), Some(Nanoseconds::new(agent.now + SECOND)));
    agent.now += SECOND - 1;
    assert_eq!(agent.written(), Vec::<String>::new());
    agent.now += 1;
    assert_eq!(agent.written(), ["-backend 2"]);
    assert_eq!(agent.reconciler.needs_reconcile_at(), None);
}

#[test]
fn a_deleted_service_keeps_its_name_and_id_until_no_flow_has_it() {
    let mut agent = Agent::new(MemoryStore::default());
    agent.manifests(&service("a", 1));
    agent.written();
    agent.manifests("");
    assert_eq!(agent.written(), ["-frontend 10.96.0.1:0", "-frontend 10.96.0.1:80"]);
    agent.now += 2 * SECOND;
    let live = LiveFlows {
        since: Nanoseconds::new(agent.now),
        services: [proxy_common::ServiceId::new(1)].into(),
        ..LiveFlows::default()
    };
    agent.reconciler.live_flows(&live);
    assert_eq!(agent.written(), Vec::<String>::new());
    agent.manifests(&service("a", 1));
    assert_eq!(
        agent.written(),
        [
            "frontend 10.96.0.1:80 cluster 0+0 local 0+0",
            "frontend 10.96.0.1:0 cluster 0+0 local 0+0",
        ],
        "the name is there, the id is the old one"
    );
    agent.manifests("");
    agent.written();
    agent.now += 2 * SECOND;
    agent.sweep();
    assert_eq!(agent.written(), ["-name 1"]);
}

#[test]
fn before_the_first_lists_are_complete_only_the_settings_are_written() {
    let mut agent = Agent::new(MemoryStore::default());
    agent.manifests(&(service("a", 1) + &slice("a", &["10.1.0.1"])));
    agent.written();

    let mut restarted = settings();
    restarted.config.socket_lb_tcp = Scope::All as u8;
    let mut reconciler = Reconciler::new(restarted, agent.store.read().unwrap());
    reconciler.apply(Catalog::default().read(Path::new("f"), &service("a", 1), Writer::Gone));
    let report = reconciler.reconcile(&mut agent.store, Nanoseconds::new(agent.now));
    assert_eq!(agent.store.words, ["config"]);
    assert_eq!((report.applied, report.services), (1, 0));
}

#[test]
fn a_refused_operation_is_told_with_the_services_it_hurts_and_tried_again() {
    let broken = std::rc::Rc::new(std::cell::Cell::new(true));
    let fails = broken.clone();
    let decide = move |op: &Op| match op {
        Op::V4(FamilyOp::PutFrontend { .. }) if fails.get() => Some(Fault::Errno(12)),
        _ => None,
    };
    let mut agent = Agent::new(FaultyStore::new(MemoryStore::default(), decide));
    agent.manifests(&(service("a", 1) + &service("b", 2)));
    let report = agent.reconcile();
    assert_eq!(report.failures.len(), 1, "one map, one error number, one failure");
    let failure = &report.failures[0];
    assert_eq!((failure.error.map(), failure.error.errno()), ("SERVICES_V4", Some(12)));
    let names: Vec<String> = failure.services.iter().map(ToString::to_string).collect();
    assert_eq!(names, ["default/a", "default/b"]);
    assert_eq!(agent.reconciler.unserved().count(), 2);

    let retry = agent.reconciler.needs_reconcile_at().unwrap();
    assert_eq!(retry.get(), agent.now + SECOND / 10);
    broken.set(false);
    assert!(agent.reconcile().failures.is_empty());
    assert_eq!(agent.reconciler.unserved().count(), 2, "not before it is time");
    agent.now = retry.get();
    agent.reconcile();
    assert_eq!(agent.reconciler.unserved().count(), 0);
    assert!(dump(agent.store.inner.inner().content()).contains("10.96.0.2:80/tcp"));
}

#[test]
fn a_change_of_a_service_does_not_wait_for_the_retry_of_others() {
    let decide = |op: &Op| match op {
        Op::V4(FamilyOp::PutFrontend { frontend, .. })
            if frontend.address == proxy_common::V4::new([10, 96, 0, 1]) =>
        {
            Some(Fault::Full)
        }
        _ => None,
    };
    let mut agent = Agent::new(FaultyStore::new(MemoryStore::default(), decide));
    agent.manifests(&service("a", 1));
    agent.reconcile();
    agent.manifests(&(service("a", 1) + &service("b", 2)));
    let report = agent.reconcile();
    assert_eq!(report.services, 1, "only the one that changed");
    assert!(report.failures.is_empty());
    assert_eq!(
        agent.reconciler.unserved().cloned().collect::<Vec<_>>(),
        [NamespacedName::new("default", "a")]
    );
}

#[test]
fn full_slots_are_told_and_leave_the_old_set_in_force_until_there_is_room() {
    let capacity = Capacity { slots: 4, ..Capacity::default() };
    let mut agent = Agent::new(MemoryStore::with_capacity(capacity));
    agent.manifests(&(service("a", 1) + &slice("a", &["10.1.0.1", "10.1.0.2"])));
    agent.written();
    let more = ["10.1.0.1", "10.1.0.2", "10.1.0.3"];
    agent.manifests(&(service("a", 1) + &slice("a", &more)));
    let report = agent.reconcile();
    let error = &report.failures[0].error;
    assert_eq!(
        error.to_string(),
        "SLOTS has no run of 3 free slots left: raise --service-map-limit, use a \
         smaller --maglev-table-size, or serve fewer endpoints"
    );
    assert!(dump(agent.store.inner.content()).contains("10.1.0.2:8080\n"));
    agent.manifests(&(service("a", 1) + &slice("a", &["10.1.0.3"])));
    assert!(agent.reconcile().failures.is_empty());
    assert_eq!(agent.reconciler.unserved().count(), 0);
    assert!(dump(agent.store.inner.content()).contains("cluster: 10.1.0.3:8080\n"));
}

#[test]
fn full_frontends_serve_the_others() {
    let capacity = Capacity { frontends: 2, ..Capacity::default() };
    let mut agent = Agent::new(MemoryStore::with_capacity(capacity));
    agent.manifests(&(service("a", 1) + &service("b", 2)));
    let report = agent.reconcile();
    assert_eq!(report.failures.len(), 1);
    assert_eq!(
        report.failures[0].error.to_string(),
        "map SERVICES_V4 is full: raise --service-map-limit, or serve less"
    );
    assert_eq!(
        agent.reconciler.unserved().cloned().collect::<Vec<_>>(),
        [NamespacedName::new("default", "b")]
    );
    agent.manifests(&service("b", 2));
    agent.reconcile();
    agent.now += SECOND;
    agent.reconcile();
    assert_eq!(agent.reconciler.unserved().count(), 0);
    assert!(dump(agent.store.inner.content()).contains("10.96.0.2:80/tcp"));
}

#[test]
fn what_had_no_room_is_served_when_the_maps_have_grown() {
    let small = Capacity { frontends: 2, slots: 1, backends_v4: 2, ..Capacity::default() };
    let mut agent = Agent::new(MemoryStore::with_capacity(small));
    let endpoints = ["10.1.0.1", "10.1.0.2", "10.1.0.3"];
    agent.manifests(&(service("a", 1) + &slice("a", &endpoints) + &service("b", 2)));
    let report = agent.reconcile();
    assert_eq!(report.short.get("BACKENDS_V4"), Some(&2), "one of three ids is there");
    assert_eq!(report.short.get("SERVICES_V4"), Some(&1));

    let larger = Capacity { frontends: 8, slots: 2, backends_v4: 4, ..Capacity::default() };
    agent.store.inner.grow(larger);
    agent.reconciler.grown(larger);
    let report = agent.reconcile();
    assert_eq!(report.short.iter().collect::<Vec<_>>(), [(&"SLOTS", &3)]);
    assert!(dump(agent.store.inner.content()).contains("10.96.0.2:80/tcp"));

    let larger = Capacity { slots: 4, ..larger };
    agent.store.inner.grow(larger);
    agent.reconciler.grown(larger);
    let report = agent.reconcile();
    assert!(report.failures.is_empty() && report.short.is_empty());
    assert_eq!(agent.reconciler.unserved().count(), 0);
    assert!(dump(agent.store.inner.content()).contains("10.1.0.3:8080"));
}
