//! What a Service port has beside its frontends and sets, operation by operation: source ranges,
//! affinity members, turns and markers come before the frontends that need them and go after them.

mod support;

use proxy_agent::{
    reconcile::Reconciler,
    store::{
        Capacity, FamilyOp, MapStore, Op,
        faulty::{Fault, FaultyStore},
        memory::MemoryStore,
    },
};
use proxy_common::Nanoseconds;

use support::{
    agent::{Agent, SECOND, settings, slice},
    dump::dump,
};

/// A Service with what `annotations` and `spec` say beside, and a load balancer at 203.0.113.1 that
/// admits `ranges`.
fn service(annotations: &str, spec: &str, ranges: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: a, annotations: {{{annotations}}}}}\n\
         spec: {{clusterIP: 10.96.0.1, type: LoadBalancer, {spec} loadBalancerSourceRanges: [{ranges}], ports: [{{port: 80}}]}}\n\
         status: {{loadBalancer: {{ingress: [{{ip: 203.0.113.1}}]}}}}\n"
    )
}

fn plain(ranges: &str) -> String {
    service("", "", ranges) + &slice("a", &["10.1.0.1"])
}

fn affine(addresses: &[&str]) -> String {
    service("", "sessionAffinity: ClientIP,", "") + &slice("a", addresses)
}

fn in_turn(algorithm: &str) -> String {
    service(&format!("sluice.dev/algorithm: {algorithm}"), "", "") + &slice("a", &["10.1.0.1"])
}

/// Only these kinds of words.
fn only(words: Vec<String>, kinds: &[&str]) -> Vec<String> {
    let mut words = words;
    words.retain(|word| kinds.iter().any(|kind| word.trim_start_matches('-').starts_with(kind)));
    words
}

#[test]
fn ranges_come_before_the_frontend_that_checks_and_go_after_it() {
    let mut agent = Agent::new(MemoryStore::default());
    agent.manifests(&plain("10.0.0.0/8"));
    assert_eq!(
        only(agent.written(), &["range", "frontend 203"]),
        ["range 1:10.0.0.0/8", "frontend 203.0.113.1:80 cluster 0+1 local 0+0"]
    );
    agent.manifests(&plain("192.0.2.0/24"));
    assert_eq!(agent.written(), ["range 1:192.0.2.0/24", "-range 1:10.0.0.0/8"]);
    agent.manifests(&plain(""));
    assert_eq!(
        agent.written(),
        ["frontend 203.0.113.1:80 cluster 0+1 local 0+0", "-range 1:192.0.2.0/24"]
    );
    assert_eq!(agent.written(), Vec::<String>::new());
}

#[test]
fn members_come_before_the_switch_and_go_after_it() {
    let mut agent = Agent::new(MemoryStore::default());
    agent.manifests(&affine(&["10.1.0.1", "10.1.0.2"]));
    agent.written();
    agent.manifests(&affine(&["10.1.0.2", "10.1.0.3"]));
    assert_eq!(
        agent.written(),
        [
            "backend 3 10.1.0.3:8080",
            "slots 2..4",
            "member 1:3",
            "frontend 10.96.0.1:80 cluster 2+2 local 0+0",
            "frontend 203.0.113.1:80 cluster 2+2 local 0+0",
            "-member 1:1",
        ]
    );
    agent.now += 2 * SECOND;
    assert_eq!(agent.written(), ["-backend 1"]);
}

#[test]
fn a_backend_is_not_given_away_while_it_is_a_member() {
    let stuck = std::rc::Rc::new(std::cell::Cell::new(false));
    let fails = stuck.clone();
    let decide = move |op: &Op| match op {
        Op::DeleteMember { .. } if fails.get() => Some(Fault::Errno(12)),
        _ => None,
    };
    let mut agent = Agent::new(FaultyStore::new(MemoryStore::default(), decide));
    agent.manifests(&affine(&["10.1.0.1"]));
    agent.written();
    stuck.set(true);
    agent.manifests(&affine(&["10.1.0.2"]));
    assert_eq!(agent.reconcile().failures.len(), 1);
    for _ in 0..3 {
        agent.now += 10 * SECOND;
        agent.reconcile();
    }
    assert!(!agent.store.words.iter().any(|word| word == "-backend 1"), "{:?}", agent.store.words);
    stuck.set(false);
    for _ in 0..2 {
        agent.now += 10 * SECOND;
        agent.reconcile();
    }
    assert!(agent.store.words.iter().any(|word| word == "-backend 1"));
    assert_eq!(agent.reconciler.needs_reconcile_at(), None);
}

#[test]
fn a_turn_is_counted_from_its_first_write_to_the_last_frontend() {
    let mut agent = Agent::new(MemoryStore::default());
    agent.manifests(&in_turn("round-robin"));
    let words = only(agent.written(), &["turn", "frontend 10.96.0.1:80"]);
    assert_eq!(words, ["turn 1", "frontend 10.96.0.1:80 cluster 0+1 local 0+0"]);
    agent.manifests(&(in_turn("round-robin") + &slice("a", &["10.1.0.1", "10.1.0.2"])));
    assert_eq!(only(agent.written(), &["turn"]), [""; 0], "an update goes on counting");
    agent.manifests(&in_turn("random"));
    let words = only(agent.written(), &["turn", "frontend"]);
    assert_eq!(words.last().map(String::as_str), Some("-turn 1"));
}

#[test]
fn the_marker_of_a_node_port_comes_first_and_goes_last() {
    let with = |spec: &str| {
        service("", spec, "").replace("{port: 80}", "{port: 80, nodePort: 30080}")
            + &slice("a", &["10.1.0.1"])
    };
    let mut agent = Agent::new(MemoryStore::default());
    agent.reconciler.node_addresses(vec!["192.0.2.1".parse().unwrap()]);
    agent.manifests(&with(""));
    let node_ports = ["frontend 0.", "frontend 127.", "frontend 192."];
    assert_eq!(
        only(agent.written(), &node_ports),
        [
            "frontend 0.0.0.0:30080 cluster 0+0 local 0+0",
            "frontend 192.0.2.1:30080 cluster 0+1 local 0+0",
            "frontend 127.0.0.1:30080 cluster 0+1 local 0+0",
        ]
    );
    agent.manifests(&plain(""));
    assert_eq!(
        only(agent.written(), &node_ports),
        ["-frontend 127.0.0.1:30080", "-frontend 192.0.2.1:30080", "-frontend 0.0.0.0:30080"]
    );
}

#[test]
fn ranges_without_room_leave_the_service_as_it_was() {
    let capacity = Capacity { ranges: 2, ..Capacity::default() };
    let mut agent = Agent::new(MemoryStore::with_capacity(capacity));
    agent.manifests(&plain("10.0.0.0/8"));
    agent.written();
    agent.manifests(&plain("10.1.0.0/16, 10.2.0.0/16"));
    let report = agent.reconcile();
    assert_eq!(report.failures.len(), 1);
    assert_eq!(
        report.failures[0].error.to_string(),
        "map SOURCE_RANGES_V4 is full: raise --service-map-limit, or serve less"
    );
    assert_eq!(report.failures[0].services.len(), 1, "though no frontend waited to be written");
    assert!(dump(agent.store.inner.content()).contains("admitted: 10.0.0.0/8"));

    agent.manifests(&plain("10.0.0.0/8, 10.2.0.0/16"));
    agent.reconcile();
    agent.now += SECOND;
    assert!(agent.reconcile().failures.is_empty(), "what was written in vain made room");
    assert!(dump(agent.store.inner.content()).contains("admitted: 10.0.0.0/8, 10.2.0.0/16\n"));
}

#[test]
fn a_restart_adopts_all_of_it() {
    let text =
        service("sluice.dev/algorithm: round-robin", "sessionAffinity: ClientIP,", "10.0.0.0/8")
            + &slice("a", &["10.1.0.1", "10.1.0.2"]);
    let mut agent = Agent::new(MemoryStore::default());
    agent.manifests(&text);
    agent.written();
    let mut restarted = Agent::new(agent.store.inner);
    restarted.now = agent.now;
    restarted.manifests(&text);
    assert_eq!(restarted.written(), Vec::<String>::new());
    restarted.now += 2 * SECOND;
    restarted.sweep();
    assert_eq!(restarted.written(), Vec::<String>::new());

    let mut unneeded = Agent::new(restarted.store.inner);
    unneeded.now = restarted.now;
    unneeded.manifests("");
    let words = only(unneeded.written(), &["range", "member", "turn"]);
    assert_eq!(words, ["-range 1:10.0.0.0/8", "-member 1:1", "-member 1:2", "-turn 1"]);
}

#[test]
fn what_an_id_had_that_was_let_go_goes_with_it() {
    let stuck = std::rc::Rc::new(std::cell::Cell::new(true));
    let fails = stuck.clone();
    let decide = move |op: &Op| match op {
        Op::V4(FamilyOp::PutFrontend { .. }) if fails.get() => Some(Fault::Full),
        _ => None,
    };
    let mut agent = Agent::new(FaultyStore::new(MemoryStore::default(), decide));
    agent.manifests(&affine(&["10.1.0.1"]));
    for _ in 0..4 {
        agent.reconcile();
        agent.now += 10 * SECOND;
        agent.sweep();
    }
    stuck.set(false);
    for _ in 0..4 {
        agent.now += 10 * SECOND;
        agent.reconcile();
    }
    let installed = agent.store.inner.inner().content();
    assert_eq!(installed.members.len(), 1, "{:?}", agent.store.words);
    dump(installed);
}

#[test]
fn before_the_first_lists_are_complete_nothing_is_trimmed() {
    let mut agent = Agent::new(MemoryStore::default());
    agent.manifests(&affine(&["10.1.0.1"]));
    agent.written();
    let mut reconciler = Reconciler::new(settings(), agent.store.read().unwrap());
    let report = reconciler.reconcile(&mut agent.store, Nanoseconds::new(agent.now));
    assert_eq!(report.applied, 0);
}
