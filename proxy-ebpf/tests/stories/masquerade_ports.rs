//! The ports that masqueraded flows take: no socket's, no NodePort's, no settled flow's, and where they can
//! choose, the ones that the client had before.

use std::collections::BTreeSet;

use proxy_common::{
    Be16, Counter, DropReason, FlowFlags, FlowKind, FrontendKind, Nanoseconds, Protocol,
    ServiceFlags,
};
use proxy_ebpf::{
    masquerade::usual_port,
    transport::Hook::{Egress, Ingress},
    user::{
        UserPacket,
        build::{End, tcp, tcp_syn, udp},
    },
};

use crate::{
    edge::{away, here, load_balancer, node_port, outside, service},
    masquerade::end,
    stage::{Cast, Stage, for_both_families, node, ports},
};

for_both_families! {
    a_port_of_a_socket_of_the_node_is_not_taken
    a_node_port_is_not_taken
    every_port_serves_one_flow_to_an_endpoint
    a_flood_keeps_nobody_from_a_port
    a_client_that_comes_back_by_its_port_gets_the_same_one
    ports_that_a_client_is_handed_one_after_the_other_do_not_share_one
    a_port_whose_connection_has_ended_is_left_alone_while_others_are_unused
    a_port_whose_connection_has_ended_is_taken_where_there_is_no_other
}

/// A node where every masqueraded packet takes one of these ports.
pub(crate) fn with_ports<A: Cast>(count: u16) -> Stage {
    Stage::edge_with::<A>(ServiceFlags::empty(), &[away()]).with_masquerade_ports(count)
}

/// A SYN or datagram that comes in and is about to leave.
pub(crate) fn comes_in<A: Cast>(stage: &Stage, protocol: Protocol, port: u16) -> UserPacket {
    let client = (outside::<A>().0, port);
    let packet = |to| match protocol {
        Protocol::TCP => tcp_syn(client, to),
        _ => udp(client, to),
    };
    stage.at_uplink().translates(Ingress, &packet(node_port()), &packet(away()));
    packet(away()).packet()
}

fn a_port_of_a_socket_of_the_node_is_not_taken<A: Cast>() {
    for protocol in [Protocol::TCP, Protocol::UDP] {
        let mut stage = with_ports::<A>(2);
        stage.machine.bound_ports.insert((Be16::new(12_000), protocol));
        let out = stage.translated::<A>(Egress, &comes_in::<A>(&stage, protocol, 1000));
        assert_eq!(ports::<A>(&out).0, 12_001);
        let other = if protocol == Protocol::TCP { Protocol::UDP } else { Protocol::TCP };
        stage.machine.bound_ports.insert((Be16::new(12_001), other));
        stage.machine.bound_ports.insert((Be16::new(12_001), protocol));
        let next = comes_in::<A>(&stage, protocol, 1001);
        stage.counted(&[(Counter::FlowOpened, 2)]);
        stage.drops::<A>(Egress, &next, DropReason::MasqueradePortsExhausted);
        // It stays undecided. When the socket is gone, the port may be taken.
        stage.machine.bound_ports.clear();
        let out = stage.translated::<A>(Egress, &next);
        assert_eq!(ports::<A>(&out).0, 12_000);
    }
}

fn a_node_port_is_not_taken<A: Cast>() {
    let mut stage = with_ports::<A>(2);
    let kind = FrontendKind::NodePort;
    stage.offer((node::<A>(), 12_001), service(kind, ServiceFlags::empty()), &[here()]);
    for protocol in [Protocol::TCP, Protocol::UDP] {
        let out = stage.translated::<A>(Egress, &comes_in::<A>(&stage, protocol, 1000));
        assert_eq!(ports::<A>(&out).0, 12_000);
    }
    stage.offer((node::<A>(), 12_000), service(kind, ServiceFlags::empty()), &[here()]);
    let next = comes_in::<A>(&stage, Protocol::TCP, 1001);
    stage.counted(&[(Counter::FlowOpened, 3)]);
    stage.drops::<A>(Egress, &next, DropReason::MasqueradePortsExhausted);
}

fn every_port_serves_one_flow_to_an_endpoint<A: Cast>() {
    let mut stage = with_ports::<A>(4);
    let other = (A::address(245, 10), 8080);
    let mut seen: Vec<End<A>> = (0..4)
        .map(|index| stage.connected((outside::<A>().0, 1000 + index), node_port(), away()))
        .collect();
    seen.sort_unstable();
    let all: Vec<End<A>> = (12_000..12_004).map(|port| (node(), port)).collect();
    assert_eq!(seen, all);
    let next = comes_in::<A>(&stage, Protocol::TCP, 2000);
    stage.counted(&[(Counter::FlowOpened, 1)]);
    stage.drops::<A>(Egress, &next, DropReason::MasqueradePortsExhausted);
    // Another endpoint is another matter.
    let flags = ServiceFlags::empty();
    stage.offer(load_balancer(), service(FrontendKind::LoadBalancer, flags), &[other]);
    stage.connected((outside::<A>().0, 3000), load_balancer(), other);
}

fn a_flood_keeps_nobody_from_a_port<A: Cast>() {
    let mut stage = with_ports::<A>(8);
    let established = stage.connected(outside(), node_port(), away());
    for time in 1..200 {
        stage.machine.now.set(Nanoseconds::new(time));
        let packet = comes_in::<A>(&stage, Protocol::TCP, 1000 + u16::try_from(time).unwrap());
        let out = stage.translated::<A>(Egress, &packet);
        assert_ne!(ports::<A>(&out).0, established.1);
    }
    // Nobody has two ports, and no port has two flows.
    let [dst, _, new_dst, new_src] = stage.halves::<A>();
    let new = A::of(&stage.machine).new_src.borrow();
    let resolved = new.values().filter(|flow| {
        flow.kind == FlowKind::Masquerade as u8 && !flow.flags.contains(FlowFlags::PENDING)
    });
    assert_eq!((dst, resolved.count()), (2, 7));
    assert_eq!((new_dst, new_src), (199 + 7, 199 + 7));
    drop(new);
    stage.counted(&[(Counter::FlowOpened, 199)]);
    // The one who means it gets through, and those who lost their port get another.
    stage.connected((outside::<A>().0, 500), node_port(), away());
    let again = tcp_syn((outside::<A>().0, 1001), node_port::<A>()).packet();
    stage.translated::<A>(Ingress, &again);
    let out = tcp_syn((outside::<A>().0, 1001), away::<A>()).packet();
    let seen = (node(), ports::<A>(&stage.translated::<A>(Egress, &out)).0);
    assert_ne!(seen, established);
    let data = |from, to| tcp::<A>(from, to).ack().data(b"undisturbed");
    stage.translates(Ingress, &data(outside(), node_port()), &data(outside(), away()));
    stage.translates(Egress, &data(outside(), away()), &data(established, away()));
}

fn a_client_that_comes_back_by_its_port_gets_the_same_one<A: Cast>() {
    let mut stage = with_ports::<A>(4_000);
    let seen = stage.connected(outside(), node_port(), away());
    for by_rst in [true, false] {
        end::<A>(&stage, seen, by_rst);
        assert_eq!(stage.connected(outside(), node_port(), away()), seen);
    }
}

fn ports_that_a_client_is_handed_one_after_the_other_do_not_share_one<A: Cast>() {
    let mut stage = with_ports::<A>(18_000);
    stage.machine.config.masquerade_port_base = 12_000;
    for host in 1..20 {
        let client = A::address(7, host);
        let usual = |port| usual_port(&stage.machine.config, &client, Be16::new(port)).get();
        let even: BTreeSet<u16> = (32_768..=60_998).step_by(2).map(usual).collect();
        assert_eq!(even.len(), 14_116);
        assert!(even.iter().all(|port| (12_000..30_000).contains(port)));
    }
}

/// A client's port whose usual port is that of the client at `outside()`.
fn rival<A: Cast>(stage: &Stage) -> u16 {
    let (client, port) = outside::<A>();
    let usual = |port| usual_port(&stage.machine.config, &client, Be16::new(port));
    (1024..u16::MAX).find(|other| *other != port && usual(*other) == usual(port)).unwrap()
}

fn a_port_whose_connection_has_ended_is_left_alone_while_others_are_unused<A: Cast>() {
    let mut stage = with_ports::<A>(4_000);
    let seen = stage.connected(outside(), node_port(), away());
    end::<A>(&stage, seen, false);
    let rival = (outside::<A>().0, rival::<A>(&stage));
    assert_ne!(stage.connected(rival, node_port(), away()), seen);
}

fn a_port_whose_connection_has_ended_is_taken_where_there_is_no_other<A: Cast>() {
    let mut stage = with_ports::<A>(1);
    let seen = stage.connected(outside(), node_port(), away());
    end::<A>(&stage, seen, false);
    let rival = (outside::<A>().0, rival::<A>(&stage));
    assert_eq!(stage.connected(rival, node_port(), away()), seen);
}
