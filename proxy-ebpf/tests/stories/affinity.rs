//! Session affinity by client address: for how long, across which frontends, and what ends it.

use proxy_common::{
    AffinityKey, Counter, FlowFlags, FrontendKind, Nanoseconds, Protocol, Seconds, Service,
    ServiceFlags, ServiceId, Tuple,
};
use proxy_ebpf::{
    env::{FlowTable, Insert, Maps as _},
    transport::Hook::{Egress, Ingress},
    user::build::{End, tcp, tcp_syn, udp},
};

use crate::{
    edge::{away, cluster_ip, frontends, here, load_balancer, node_port, service},
    stage::{Cast, Stage, client, for_both_families, pod, ports, tuple},
};

for_both_families! {
    new_connections_go_where_the_last_one_went
    it_holds_across_the_services_frontends
    it_ends_when_the_client_was_not_seen_for_long
    every_packet_of_the_client_prolongs_it
    packets_of_flows_to_a_former_endpoint_prolong_nothing
    it_ends_when_the_endpoint_leaves_the_set
    the_sets_are_told_apart
    two_first_flows_at_once_agree
    without_affinity_nothing_is_remembered
}

const TIMEOUT: u32 = 100;
const MANY: u8 = 40;

fn affine(kind: FrontendKind, flags: ServiceFlags) -> Service {
    let flags = flags.union(ServiceFlags::AFFINITY);
    Service { affinity: Seconds::new(TIMEOUT), ..service(kind, flags) }
}

fn endpoints<A: Cast>() -> Vec<End<A>> {
    (100..100 + MANY).map(|host| (pod(host), 8080)).collect()
}

/// A Service of [`MANY`] endpoints, with frontends of every kind.
fn stage<A: Cast>() -> Stage {
    let mut stage = Stage::edge::<A>();
    for (at, kind) in frontends::<A>() {
        stage.offer(at, affine(kind, ServiceFlags::empty()), &endpoints());
    }
    stage
}

/// Opens a connection from `client`, another port each time; the endpoint.
fn connect<A: Cast>(stage: &Stage, client: A, port: u16, frontend: End<A>) -> A {
    let syn = tcp_syn((client, port), frontend).packet();
    stage.translated::<A>(Ingress, &syn);
    let key = tuple((client, port), frontend, Protocol::TCP);
    A::of(&stage.machine).new_dst.borrow()[&key].address
}

fn at(stage: &Stage, seconds: u64) {
    stage.machine.now.set(Nanoseconds::new(seconds * 1_000_000_000));
}

fn new_connections_go_where_the_last_one_went<A: Cast>() {
    let mut stage = stage::<A>();
    let clients = 1..30;
    let firsts: Vec<A> =
        clients.clone().map(|host| connect::<A>(&stage, pod(host), 1000, cluster_ip())).collect();
    let mut different = firsts.clone();
    different.sort_unstable();
    different.dedup();
    assert!(different.len() > 10, "{different:?}");
    for (host, first) in clients.clone().zip(&firsts) {
        for port in 1001..1010 {
            assert_eq!(connect::<A>(&stage, pod(host), port, cluster_ip()), *first);
        }
    }
    stage.counted(&[(Counter::FlowOpened, 29 * 10)]);
    assert_eq!(A::of(&stage.machine).affinity.borrow().len(), 29);
    let half = stage.half::<A>(FlowTable::NewDst, (pod(1), 1000), cluster_ip(), Protocol::TCP);
    assert_eq!(half.flags, FlowFlags::AFFINE);
}

fn it_holds_across_the_services_frontends<A: Cast>() {
    let stage = stage::<A>();
    let first = connect::<A>(&stage, pod(1), 1000, cluster_ip());
    for (index, (frontend, _)) in (2000..).zip(frontends::<A>()) {
        assert_eq!(connect::<A>(&stage, pod(1), index, frontend), first);
    }
    let datagram = udp((pod::<A>(1), 9), node_port()).packet();
    assert_eq!(ports::<A>(&stage.translated::<A>(Ingress, &datagram)), (9, 8080));
    let key = tuple((pod(1), 9), node_port(), Protocol::UDP);
    assert_eq!(A::of(&stage.machine).new_dst.borrow()[&key].address, first);
}

fn it_ends_when_the_client_was_not_seen_for_long<A: Cast>() {
    let stage = stage::<A>();
    let (mut now, mut moved) = (10, 0);
    at(&stage, now);
    let mut last = connect::<A>(&stage, pod(1), 1000, cluster_ip());
    for port in 1001..1020 {
        now += u64::from(TIMEOUT);
        at(&stage, now);
        assert_eq!(connect::<A>(&stage, pod(1), port, cluster_ip()), last, "after {TIMEOUT} s");
        now += u64::from(TIMEOUT) + 1;
        at(&stage, now);
        let next = connect::<A>(&stage, pod(1), 2000 + port, cluster_ip());
        moved += u32::from(next != last);
        last = next;
    }
    assert!(moved > 10, "{moved} of 19");
}

fn every_packet_of_the_client_prolongs_it<A: Cast>() {
    for settled in [false, true] {
        let stage = stage::<A>();
        let syn = |to| tcp_syn((pod::<A>(1), 1000), to).packet();
        stage.translated::<A>(Ingress, &syn(load_balancer()));
        let key = tuple((pod(1), 1000), load_balancer(), Protocol::TCP);
        let endpoint = A::of(&stage.machine).new_dst.borrow()[&key].address;
        if settled {
            let agreed = tcp_syn((endpoint, 8080), (pod::<A>(1), 1000)).ack().packet();
            stage.translated::<A>(Egress, &agreed);
        }
        let packet = tcp((pod::<A>(1), 1000), load_balancer()).ack().data(b"x").packet();
        for step in 1..20 {
            at(&stage, step * u64::from(TIMEOUT));
            stage.translated::<A>(Ingress, &packet);
        }
        assert_eq!(stage.halves::<A>()[0], usize::from(settled));
        at(&stage, 20 * u64::from(TIMEOUT) - 1);
        assert_eq!(connect::<A>(&stage, pod(1), 1001, cluster_ip()), endpoint);
    }
}

fn packets_of_flows_to_a_former_endpoint_prolong_nothing<A: Cast>() {
    let mut stage = Stage::edge::<A>();
    let service = affine(FrontendKind::ClusterIp, ServiceFlags::empty());
    stage.offer(cluster_ip::<A>(), service, &[away()]);
    at(&stage, 1);
    assert_eq!(connect::<A>(&stage, pod(1), 1000, cluster_ip()), away::<A>().0);
    // The endpoint left; the client's next connection goes elsewhere, its first one goes on.
    stage.machine.members.clear();
    stage.offer(cluster_ip::<A>(), service, &[here()]);
    assert_eq!(connect::<A>(&stage, pod(1), 1001, cluster_ip()), here::<A>().0);
    at(&stage, 1 + u64::from(TIMEOUT));
    let old = tcp((pod::<A>(1), 1000), cluster_ip()).ack().packet();
    stage.translated::<A>(Ingress, &old);
    let key = AffinityKey { client: pod::<A>(1), service: ServiceId::new(7) };
    assert_eq!(A::of(&stage.machine).affinity.borrow()[&key].last_seen.get(), 1_000_000_000);
}

fn it_ends_when_the_endpoint_leaves_the_set<A: Cast>() {
    let mut stage = stage::<A>();
    let first = connect::<A>(&stage, pod(1), 1000, cluster_ip());
    let rest: Vec<_> =
        endpoints::<A>().into_iter().filter(|(address, _)| *address != first).collect();
    stage.machine.members.clear();
    for (at, kind) in frontends::<A>() {
        stage.offer(at, affine(kind, ServiceFlags::empty()), &rest);
    }
    let second = connect::<A>(&stage, pod(1), 1001, cluster_ip());
    assert_ne!(second, first);
    assert_eq!(connect::<A>(&stage, pod(1), 1002, node_port()), second);
}

fn the_sets_are_told_apart<A: Cast>() {
    let mut stage = Stage::edge::<A>();
    let local = affine(FrontendKind::NodePort, ServiceFlags::LOCAL_ONLY);
    let both = [away::<A>(), here()];
    stage.offer(cluster_ip::<A>(), affine(FrontendKind::ClusterIp, ServiceFlags::empty()), &both);
    stage.offer(node_port::<A>(), local, &both);
    // Until the client happens to be sent to the other node.
    let host = (1..).find(|host| {
        connect::<A>(stage.at_workload(), pod(*host), 1000, cluster_ip()) == away::<A>().0
    });
    let client = pod(host.unwrap());
    // As a client from outside it is promised an endpoint here, and stays with that one.
    assert_eq!(connect::<A>(stage.at_uplink(), client, 1001, node_port()), here::<A>().0);
    assert_eq!(connect::<A>(stage.at_workload(), client, 1002, cluster_ip()), here::<A>().0);
}

fn two_first_flows_at_once_agree<A: Cast>() {
    let stage = stage::<A>();
    let first = connect::<A>(&stage, pod(1), 1000, cluster_ip());
    // Another CPU has found nothing known, picked another endpoint, and is about to write it.
    let machine = &stage.machine;
    let key = AffinityKey { client: pod::<A>(1), service: ServiceId::new(7) };
    let known = A::of(machine).affinity.borrow()[&key];
    assert!(!machine.insert_affinity(&key, &known, Insert::Keep));
    assert_eq!(connect::<A>(&stage, pod(1), 1001, cluster_ip()), first);
}

fn without_affinity_nothing_is_remembered<A: Cast>() {
    let stage = Stage::edge_with::<A>(ServiceFlags::empty(), &[here()]);
    stage.translated::<A>(Ingress, &tcp_syn(client::<A>(), cluster_ip()).packet());
    assert!(A::of(&stage.machine).affinity.borrow().is_empty());
    let key: Tuple<A> = tuple(client(), cluster_ip(), Protocol::TCP);
    assert_eq!(A::of(&stage.machine).new_dst.borrow()[&key].flags, FlowFlags::empty());
}
