//! bind() of a NodePort: refused to the node's processes, so that nobody waits for connections that
//! never come.

use proxy_common::{Counter, FrontendKind, Protocol, Scope, ServiceFlags, V4, V6};
use proxy_ebpf::{
    socket::{SocketVerdict, bind, bind_v6},
    user::build::End,
};

use crate::{
    call::{HOST, POD, call},
    edge::{here, node_port, service},
    stage::{Cast, Stage, for_both_families, node},
};

for_both_families! {
    a_node_port_is_refused_at_any_address
    pods_bind_what_they_like
    each_protocol_has_its_own
    other_ports_are_free
}

fn stage<A: Cast>() -> Stage {
    let mut stage = Stage::edge_with::<A>(ServiceFlags::empty(), &[here()]).with_scope(Scope::Off);
    // Of another number SCTP alone is somebody's.
    let frontend =
        proxy_common::Frontend::new(node::<A>(), proxy_common::Be16::new(30_090), Protocol::SCTP);
    let service = service(FrontendKind::NodePort, ServiceFlags::empty());
    stage.machine.serve(frontend, service, &[here()]);
    stage
}

fn binds<A: Cast>(stage: &Stage, at: End<A>, protocol: Protocol, netns: u64) -> SocketVerdict {
    bind(&call(at, protocol, netns), &stage.machine)
}

fn a_node_port_is_refused_at_any_address<A: Cast>() {
    let mut stage = stage::<A>();
    let port = node_port::<A>().1;
    for address in [A::zeroed(), node(), A::address(99, 9)] {
        for protocol in [Protocol::TCP, Protocol::UDP, Protocol::SCTP] {
            let verdict = binds(&stage, (address, port), protocol, HOST);
            assert_eq!(verdict, SocketVerdict::InUse);
        }
    }
    stage.counted(&[(Counter::BindRefused, 9)]);
}

fn pods_bind_what_they_like<A: Cast>() {
    let mut stage = stage::<A>();
    let verdict = binds(&stage, (A::zeroed(), node_port::<A>().1), Protocol::TCP, POD);
    assert_eq!(verdict, SocketVerdict::Allow);
    stage.counted(&[]);
}

fn each_protocol_has_its_own<A: Cast>() {
    let stage = stage::<A>();
    for (protocol, expected) in [
        (Protocol::TCP, SocketVerdict::Allow),
        (Protocol::UDP, SocketVerdict::Allow),
        (Protocol::SCTP, SocketVerdict::InUse),
    ] {
        assert_eq!(binds::<A>(&stage, (A::zeroed(), 30_090), protocol, HOST), expected);
    }
}

fn other_ports_are_free<A: Cast>() {
    let mut stage = stage::<A>();
    for port in [0, 22, 80, 8080, 30_081, 61_000] {
        for protocol in [Protocol::TCP, Protocol::UDP, Protocol::new(255), Protocol::ICMP] {
            let verdict = binds::<A>(&stage, (A::zeroed(), port), protocol, HOST);
            assert_eq!(verdict, SocketVerdict::Allow);
        }
    }
    stage.counted(&[]);
}

#[test]
fn an_ipv6_socket_at_no_address_is_there_for_ipv4_too() {
    let port = node_port::<V4>().1;
    let mut stage = stage::<V4>();
    let binds = |stage: &Stage, address: V6| {
        bind_v6(&call((address, port), Protocol::TCP, HOST), &stage.machine)
    };
    assert_eq!(binds(&stage, V6::from_words([0; 4])), SocketVerdict::InUse);
    // At an address of its own it is not.
    assert_eq!(binds(&stage, V6::address(1, 1)), SocketVerdict::Allow);
    stage.counted(&[(Counter::BindRefused, 1)]);
    let stage = self::stage::<V6>();
    assert_eq!(binds(&stage, V6::from_words([0; 4])), SocketVerdict::InUse);
    assert_eq!(binds(&stage, V6::address(1, 1)), SocketVerdict::InUse);
}
