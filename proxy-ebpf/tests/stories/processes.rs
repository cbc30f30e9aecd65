//! Processes of the node and of pods at frontends of every kind: what the socket path does itself, and
//! what it leaves to the packet path.

use proxy_common::{
    Affinity, AffinityKey, Algorithm, BackendId, ConfigOptions, Counter, DropReason, FrontendKind,
    MemberKey, Nanoseconds, Protocol, RejectReason, Scope, Seconds, Service, ServiceFlags,
    ServiceId,
};
use proxy_ebpf::{
    env::Maps,
    socket::{SocketVerdict, connect, release, sendmsg},
    user::build::End,
};

use crate::{
    call::{Call, HOST, POD, call},
    edge::{away, cluster_ip, frontends, here, load_balancer, node_port, service},
    stage::{Cast, Stage, for_both_families, pod},
};

for_both_families! {
    frontends_of_every_kind_are_translated
    loopback_is_the_nodes_and_a_pods_is_its_own
    a_local_policy_is_for_the_cluster_ip_alone
    pods_go_by_packets_where_their_address_matters
    pods_go_by_packets_to_cluster_ips_that_are_always_masqueraded
    the_node_is_admitted_or_times_out
    the_nodes_processes_are_one_client
    their_affinity_ends_like_any_others
    connected_sockets_count_until_they_are_released
    a_socket_that_connects_again_counts_once
    maglev_goes_by_the_cookie
}

fn stage<A: Cast>(flags: ServiceFlags, endpoints: &[End<A>]) -> Stage {
    Stage::edge_with::<A>(flags, endpoints).with_scope(Scope::All)
}

const NONE: ServiceFlags = ServiceFlags::empty();

#[track_caller]
fn goes_to<A: Cast>(stage: &Stage, to: End<A>, netns: u64, expected: End<A>) {
    for protocol in [Protocol::TCP, Protocol::UDP] {
        let mut socket = call(to, protocol, netns);
        assert_eq!(connect(&mut socket, &stage.machine), SocketVerdict::Allow);
        assert_eq!(socket.peer, expected);
        if protocol == Protocol::UDP {
            let mut socket = call(to, protocol, netns);
            assert_eq!(sendmsg(&mut socket, &stage.machine), SocketVerdict::Allow);
            assert_eq!(socket.peer, expected);
        }
    }
}

fn frontends_of_every_kind_are_translated<A: Cast>() {
    for (frontend, _) in frontends::<A>() {
        let stage = stage::<A>(NONE, &[away()]);
        goes_to(&stage, frontend, HOST, away());
        goes_to(&stage, frontend, POD, away());
    }
}

/// The loopback address, at the NodePort.
fn loopback<A: Cast>() -> End<A> {
    let mut bytes = vec![0; size_of::<A>()];
    if bytes.len() == 4 {
        bytes[0] = 127;
    }
    *bytes.last_mut().unwrap() = 1;
    (bytemuck::pod_read_unaligned(&bytes), node_port::<A>().1)
}

fn loopback_is_the_nodes_and_a_pods_is_its_own<A: Cast>() {
    let mut stage = stage::<A>(NONE, &[here()]);
    stage.offer(loopback::<A>(), service(FrontendKind::NodePort, NONE), &[here()]);
    goes_to(&stage, loopback(), HOST, here::<A>());
    goes_to(&stage, loopback(), POD, loopback::<A>());
    stage.counted(&[(Counter::SocketConnected, 2), (Counter::SocketSent, 1)]);
    stage.offer(loopback::<A>(), service(FrontendKind::NodePort, NONE), &[]);
    goes_to(&stage, loopback(), POD, loopback::<A>());
    let mut socket = call(loopback::<A>(), Protocol::TCP, HOST);
    let reason = RejectReason::NoEndpoint;
    assert_eq!(connect(&mut socket, &stage.machine), SocketVerdict::Refuse(reason));
}

fn a_local_policy_is_for_the_cluster_ip_alone<A: Cast>() {
    let mut stage = stage::<A>(ServiceFlags::LOCAL_ONLY, &[away()]);
    for netns in [HOST, POD] {
        for frontend in [load_balancer(), node_port()] {
            goes_to(&stage, frontend, netns, away::<A>());
        }
    }
    stage.counted(&[(Counter::SocketConnected, 8), (Counter::SocketSent, 4)]);
    let reason = DropReason::NoLocalEndpoint;
    let mut socket = call(cluster_ip::<A>(), Protocol::TCP, HOST);
    assert_eq!(connect(&mut socket, &stage.machine), SocketVerdict::TimeOut(reason));
    stage.counted(&[(Counter::Drop(reason), 1)]);
}

fn pods_go_by_packets_where_their_address_matters<A: Cast>() {
    for flags in [
        ServiceFlags::AFFINITY,
        ServiceFlags::SOURCE_RANGES,
        ServiceFlags::SOURCE_RANGES.union(ServiceFlags::NODE_ADMITTED),
    ] {
        for endpoints in [&[here::<A>()][..], &[]] {
            let mut stage = stage::<A>(flags, endpoints);
            goes_to(&stage, load_balancer(), POD, load_balancer::<A>());
            stage.counted(&[]);
            assert!(A::of(&stage.machine).sockets.borrow().is_empty());
        }
    }
}

fn pods_go_by_packets_to_cluster_ips_that_are_always_masqueraded<A: Cast>() {
    let mut stage = stage::<A>(NONE, &[here()]);
    stage.machine.config.options = ConfigOptions::MASQUERADE_ALL;
    goes_to(&stage, cluster_ip(), POD, cluster_ip::<A>());
    stage.counted(&[]);
    goes_to(&stage, cluster_ip(), HOST, here::<A>());
    goes_to(&stage, load_balancer(), POD, here::<A>());
    stage.counted(&[(Counter::SocketConnected, 4), (Counter::SocketSent, 2)]);
}

fn the_node_is_admitted_or_times_out<A: Cast>() {
    let ranges = ServiceFlags::SOURCE_RANGES;
    let admitted = stage::<A>(ranges.union(ServiceFlags::NODE_ADMITTED), &[here()]);
    goes_to(&admitted, load_balancer(), HOST, here::<A>());
    for endpoints in [&[here::<A>()][..], &[]] {
        let mut closed = stage::<A>(ranges, endpoints);
        let reason = DropReason::SourceRange;
        let mut socket = call(load_balancer::<A>(), Protocol::TCP, HOST);
        assert_eq!(connect(&mut socket, &closed.machine), SocketVerdict::TimeOut(reason));
        let mut socket = call(load_balancer::<A>(), Protocol::UDP, HOST);
        assert_eq!(sendmsg(&mut socket, &closed.machine), SocketVerdict::TimeOut(reason));
        closed.counted(&[(Counter::Drop(reason), 2)]);
    }
}

const TIMEOUT: u32 = 100;

/// A Service with affinity and many endpoints.
fn affine<A: Cast>() -> Stage {
    let mut stage = stage::<A>(NONE, &[]);
    let endpoints: Vec<End<A>> = (100..140).map(|host| (pod(host), 8080)).collect();
    for (at, kind) in frontends::<A>() {
        let service =
            Service { affinity: Seconds::new(TIMEOUT), ..service(kind, ServiceFlags::AFFINITY) };
        stage.offer(at, service, &endpoints);
    }
    stage
}

fn connected<A: Cast>(stage: &Stage, cookie: u64, to: End<A>) -> End<A> {
    let mut socket = Call { cookie, ..call(to, Protocol::TCP, HOST) };
    assert_eq!(connect(&mut socket, &stage.machine), SocketVerdict::Allow);
    socket.peer
}

fn the_nodes_processes_are_one_client<A: Cast>() {
    let stage = affine::<A>();
    let first = connected::<A>(&stage, 1, cluster_ip());
    for (cookie, (frontend, _)) in (2..).zip(frontends::<A>()) {
        assert_eq!(connected(&stage, cookie, frontend), first);
    }
    let mut socket = call(node_port::<A>(), Protocol::UDP, HOST);
    assert_eq!(sendmsg(&mut socket, &stage.machine), SocketVerdict::Allow);
    assert_eq!(socket.peer, first);
    let key = AffinityKey { client: A::zeroed(), service: ServiceId::new(7) };
    let known = A::of(&stage.machine).affinity.borrow();
    assert_eq!(known.keys().collect::<Vec<_>>(), [&key]);
}

fn their_affinity_ends_like_any_others<A: Cast>() {
    let mut stage = affine::<A>();
    let key = AffinityKey { client: A::zeroed(), service: ServiceId::new(7) };
    let at = |stage: &Stage, seconds: u64| {
        stage.machine.now.set(Nanoseconds::new(seconds * 1_000_000_000));
    };
    // What an earlier agent or the packet path left counts like what this one writes.
    let backend = BackendId::new(5);
    let affinity = Affinity { last_seen: Nanoseconds::new(0), backend, pad: 0 };
    A::of(&stage.machine).affinity.borrow_mut().insert(key, affinity);
    let fifth = Maps::<A>::backend(&stage.machine, backend).unwrap();
    at(&stage, u64::from(TIMEOUT));
    assert_eq!(connected::<A>(&stage, 1, cluster_ip()), (fifth.address, 8080));
    let member = MemberKey { service: ServiceId::new(7), backend };
    stage.machine.members.remove(&member);
    let next = connected::<A>(&stage, 2, cluster_ip());
    assert_ne!(next, (fifth.address, 8080));
    assert_eq!(connected::<A>(&stage, 3, cluster_ip()), next);
    let moved = (4..40).filter(|cookie| {
        at(&stage, 1000 * cookie);
        connected::<A>(&stage, *cookie, cluster_ip()) != next
    });
    assert!(moved.count() > 20);
}

/// A Service that picks by least connections, with endpoints here and away.
fn counting<A: Cast>() -> Stage {
    let mut stage = stage::<A>(NONE, &[]);
    let algorithm = Algorithm::LeastConnections as u8;
    let service = Service { algorithm, ..service(FrontendKind::ClusterIp, NONE) };
    stage.offer(cluster_ip(), service, &[here::<A>(), away()]);
    stage
}

fn open<A: Cast>(stage: &Stage) -> u32 {
    (1..3).map(|id| Maps::<A>::open_flows(&stage.machine, BackendId::new(id))).sum()
}

fn connected_sockets_count_until_they_are_released<A: Cast>() {
    let stage = counting::<A>();
    for cookie in 1..=100 {
        connected::<A>(&stage, cookie, cluster_ip());
    }
    assert_eq!(open::<A>(&stage), 100);
    let one = Maps::<A>::open_flows(&stage.machine, BackendId::new(1));
    assert!((40..=60).contains(&one), "{one} of 100");
    for cookie in 50..=150 {
        release(&stage.machine, cookie);
        release(&stage.machine, cookie);
    }
    assert_eq!(open::<A>(&stage), 49);
    assert_eq!(stage.machine.counted_sockets.borrow().len(), 49);
    // Other algorithms need no count, and datagrams of unconnected sockets have no end.
    let others = self::stage::<A>(NONE, &[here()]);
    connected::<A>(&others, 1, cluster_ip());
    assert!(others.machine.counted_sockets.borrow().is_empty());
    let mut socket = call(cluster_ip::<A>(), Protocol::UDP, HOST);
    assert_eq!(sendmsg(&mut socket, &stage.machine), SocketVerdict::Allow);
    assert_eq!(open::<A>(&stage), 49);
}

fn a_socket_that_connects_again_counts_once<A: Cast>() {
    let stage = counting::<A>();
    for _ in 0..20 {
        connected::<A>(&stage, 1, cluster_ip());
    }
    assert_eq!(open::<A>(&stage), 1);
    release(&stage.machine, 1);
    assert_eq!(open::<A>(&stage), 0);
}

fn maglev_goes_by_the_cookie<A: Cast>() {
    let mut stage = stage::<A>(NONE, &[]);
    let algorithm = Algorithm::Maglev as u8;
    let service = Service { algorithm, ..service(FrontendKind::ClusterIp, NONE) };
    let endpoints: Vec<End<A>> = (100..110).map(|host| (pod(host), 8080)).collect();
    stage.offer(cluster_ip(), service, &endpoints);
    let mut seen = Vec::new();
    for cookie in 1..200 {
        let endpoint = connected::<A>(&stage, cookie, cluster_ip());
        assert_eq!(connected::<A>(&stage, cookie, cluster_ip()), endpoint);
        seen.push(endpoint);
    }
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), endpoints.len());
}
