//! connect(), sendmsg(), recvmsg() and getpeername() on the socket path.

use proxy_common::{Counter, DropReason, Protocol, RejectReason, Scope, ServiceFlags, SlotRange};
use proxy_ebpf::{
    socket::{SocketVerdict, connect, getpeername, recvmsg, sendmsg},
    user::build::End,
};

use crate::{
    call::{Call, HOST, POD, call},
    stage::{Cast, Stage, backend, cluster_ip, for_both_families, frontend, pod},
};

for_both_families! {
    connect_goes_to_a_backend_and_getpeername_shows_the_frontend
    scopes_say_whose_connections_are_translated
    an_unconnected_socket_stays_with_its_backend
    an_unconnected_socket_leaves_a_backend_that_is_gone
    recvmsg_shows_the_frontend
    a_dead_service_refuses
    what_is_dropped_times_out_for_the_node_only
    other_addresses_and_protocols_are_let_go
}

fn stage<A: Cast>(scope: Scope) -> Stage {
    Stage::with_service::<A>().with_scope(scope)
}

fn connect_goes_to_a_backend_and_getpeername_shows_the_frontend<A: Cast>() {
    let mut stage = stage::<A>(Scope::All);
    for protocol in [Protocol::TCP, Protocol::UDP] {
        let mut socket = call(frontend::<A>(), protocol, POD);
        assert_eq!(connect(&mut socket, &stage.machine), SocketVerdict::Allow);
        assert_eq!(socket.peer, backend());
        stage.counted(&[(Counter::SocketConnected, 1)]);
        getpeername(&mut socket, &stage.machine);
        assert_eq!(socket.peer, frontend());
        // Another socket that went there directly.
        let mut other = Call { cookie: 100, ..call(backend::<A>(), protocol, POD) };
        getpeername(&mut other, &stage.machine);
        assert_eq!(other.peer, backend());
    }
    stage.counted(&[]);
    assert_eq!(stage.halves::<A>(), [0; 4]);
}

fn scopes_say_whose_connections_are_translated<A: Cast>() {
    for (scope, host, pod) in
        [(Scope::Off, false, false), (Scope::Host, true, false), (Scope::All, true, true)]
    {
        for (netns, translated) in [(HOST, host), (POD, pod)] {
            for protocol in [Protocol::TCP, Protocol::UDP] {
                let mut stage = stage::<A>(scope);
                let mut socket = call(frontend::<A>(), protocol, netns);
                assert_eq!(connect(&mut socket, &stage.machine), SocketVerdict::Allow);
                assert_eq!(socket.peer, if translated { backend() } else { frontend() });
                stage.counted(&[(Counter::SocketConnected, 1)][usize::from(!translated)..]);
            }
        }
    }
    // Each protocol has a scope of its own.
    let mut stage = stage::<A>(Scope::Off);
    stage.machine.config.socket_lb_udp = Scope::All as u8;
    for (protocol, expected) in [(Protocol::TCP, frontend::<A>()), (Protocol::UDP, backend())] {
        let mut socket = call(frontend::<A>(), protocol, POD);
        assert_eq!(connect(&mut socket, &stage.machine), SocketVerdict::Allow);
        assert_eq!(socket.peer, expected);
    }
}

fn many<A: Cast>() -> (Stage, Vec<End<A>>) {
    let mut stage = stage::<A>(Scope::All);
    let backends: Vec<_> = (10..60).map(|host| (pod::<A>(host), 5353)).collect();
    stage.serve((cluster_ip::<A>(2), 53), Protocol::UDP, &backends);
    (stage, backends)
}

fn send<A: Cast>(stage: &Stage) -> End<A> {
    let mut socket = call((cluster_ip::<A>(2), 53), Protocol::UDP, POD);
    assert_eq!(sendmsg(&mut socket, &stage.machine), SocketVerdict::Allow);
    socket.peer
}

fn an_unconnected_socket_stays_with_its_backend<A: Cast>() {
    let (mut stage, backends) = many::<A>();
    let first = send::<A>(&stage);
    assert!(backends.contains(&first));
    for _ in 0..20 {
        assert_eq!(send::<A>(&stage), first);
    }
    stage.counted(&[(Counter::SocketSent, 1)]);
}

fn an_unconnected_socket_leaves_a_backend_that_is_gone<A: Cast>() {
    let (mut stage, _) = many::<A>();
    let first = send::<A>(&stage);
    let backends = &mut A::of_mut(&mut stage.machine).backends;
    let gone = *backends
        .iter()
        .find(|(_, backend)| (backend.address, backend.port.get()) == first)
        .unwrap()
        .0;
    // The agent has given its id to somebody else, and its slot too.
    backends.get_mut(&gone).unwrap().address = pod(200);
    let second = send::<A>(&stage);
    assert_ne!(second, first);
    assert_eq!(send::<A>(&stage), second);
    stage.counted(&[(Counter::SocketSent, 2)]);
}

fn recvmsg_shows_the_frontend<A: Cast>() {
    let (mut stage, _) = many::<A>();
    let endpoint = send::<A>(&stage);
    let mut from_endpoint = call(endpoint, Protocol::UDP, POD);
    recvmsg(&mut from_endpoint, &stage.machine);
    assert_eq!(from_endpoint.peer, (cluster_ip(2), 53));
    let mut from_other = call((pod::<A>(250), 5353), Protocol::UDP, POD);
    recvmsg(&mut from_other, &stage.machine);
    assert_eq!(from_other.peer, (pod(250), 5353));
    stage.machine.config.socket_lb_udp = Scope::Off as u8;
    let mut off = call(endpoint, Protocol::UDP, POD);
    recvmsg(&mut off, &stage.machine);
    assert_eq!(off.peer, endpoint);
}

fn a_dead_service_refuses<A: Cast>() {
    let mut stage = stage::<A>(Scope::All);
    stage.serve_nobody((cluster_ip::<A>(2), 80), |service| service);
    for (peer, reason) in [
        ((cluster_ip::<A>(2), 80), RejectReason::NoEndpoint),
        ((frontend::<A>().0, 81), RejectReason::UndefinedPort),
    ] {
        for netns in [HOST, POD] {
            let mut socket = call(peer, Protocol::TCP, netns);
            assert_eq!(connect(&mut socket, &stage.machine), SocketVerdict::Refuse(reason));
            let mut socket = call(peer, Protocol::UDP, netns);
            assert_eq!(sendmsg(&mut socket, &stage.machine), SocketVerdict::Refuse(reason));
            assert_eq!(socket.peer, peer);
            stage.counted(&[(Counter::Reject(reason), 2)]);
        }
    }
}

fn what_is_dropped_times_out_for_the_node_only<A: Cast>() {
    let mut stage = stage::<A>(Scope::All);
    let peer = (cluster_ip::<A>(2), 80);
    stage.serve_nobody(peer, |service| proxy_common::Service {
        flags: ServiceFlags::LOCAL_ONLY,
        cluster: SlotRange { base: 0, count: 1 },
        ..service
    });
    let reason = DropReason::NoLocalEndpoint;
    let mut socket = call(peer, Protocol::TCP, HOST);
    assert_eq!(connect(&mut socket, &stage.machine), SocketVerdict::TimeOut(reason));
    stage.counted(&[(Counter::Drop(reason), 1)]);
    // What a pod sends is dropped where it comes in by a device.
    let mut socket = call(peer, Protocol::TCP, POD);
    assert_eq!(connect(&mut socket, &stage.machine), SocketVerdict::Allow);
    assert_eq!(socket.peer, peer);
    stage.counted(&[]);
}

fn other_addresses_and_protocols_are_let_go<A: Cast>() {
    let mut stage = stage::<A>(Scope::All);
    for peer in [backend::<A>(), (pod(3), 80), (A::address(200, 1), 443)] {
        for protocol in [Protocol::TCP, Protocol::UDP] {
            let mut socket = call(peer, protocol, HOST);
            assert_eq!(connect(&mut socket, &stage.machine), SocketVerdict::Allow);
            assert_eq!(sendmsg(&mut socket, &stage.machine), SocketVerdict::Allow);
            assert_eq!(socket.peer, peer);
        }
    }
    let mut socket = call(frontend::<A>(), Protocol::SCTP, HOST);
    assert_eq!(connect(&mut socket, &stage.machine), SocketVerdict::Allow);
    assert_eq!(socket.peer, frontend());
    stage.counted(&[]);
}
