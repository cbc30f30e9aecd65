//! A pod that reaches itself through a Service: its packets come back to it from the node's
//! address, its answers from the frontend.

use proxy_common::{Counter, DropReason, FlowFlags, FlowKind, Protocol};
use proxy_ebpf::{
    env::FlowTable,
    transport::Hook::{Egress, Ingress},
    user::build::{End, tcp, tcp_syn, udp},
};

use crate::stage::{Cast, Stage, backend, for_both_families, frontend, node, ports};

for_both_families! {
    all_four_directions_are_translated
    a_masquerade_port_is_nobody_elses
    when_no_port_is_left_the_packet_is_dropped
    without_ports_or_an_address_nothing_is_masqueraded
    a_port_whose_connection_has_ended_is_free_again
}

/// The backend as a client of itself.
fn itself<A: Cast>(port: u16) -> End<A> {
    (backend::<A>().0, port)
}

/// Sends a SYN to the frontend and on to the pod; returns the address and port that the pod sees.
fn open<A: Cast>(stage: &Stage, port: u16) -> End<A> {
    let syn = |to| tcp_syn(itself::<A>(port), to);
    stage.translates(Ingress, &syn(frontend()), &syn(backend()));
    let out = stage.translated::<A>(Egress, &syn(backend()).packet());
    let masqueraded = (node(), ports::<A>(&out).0);
    assert_eq!(out, tcp_syn(masqueraded, backend()).packet());
    masqueraded
}

fn all_four_directions_are_translated<A: Cast>() {
    let mut stage = Stage::with_service::<A>().with_node_address::<A>();
    let client = itself::<A>(40_000);
    let masqueraded = open::<A>(&stage, 40_000);
    assert!((12_000..30_000).contains(&masqueraded.1), "{masqueraded:?}");
    stage.counted(&[(Counter::FlowOpened, 1)]);

    let agreed = |from, to| tcp_syn::<A>(from, to).ack();
    stage.translates(Ingress, &agreed(backend(), masqueraded), &agreed(backend(), client));
    stage.translates(Egress, &agreed(backend(), client), &agreed(frontend(), client));
    stage.counted(&[]);
    assert_eq!(stage.halves::<A>(), [0, 0, 2, 2]);

    let data = |from, to| tcp::<A>(from, to).ack().data(b"to myself");
    stage.translates(Ingress, &data(client, frontend()), &data(client, backend()));
    stage.counted(&[(Counter::FlowSettled, 1)]);
    assert_eq!(stage.halves::<A>(), [2, 2, 0, 0]);
    stage.translates(Egress, &data(client, backend()), &data(masqueraded, backend()));
    stage.translates(Ingress, &data(backend(), masqueraded), &data(backend(), client));
    stage.translates(Egress, &data(backend(), client), &data(frontend(), client));

    let forward = stage.half::<A>(FlowTable::Src, client, backend(), Protocol::TCP);
    let reply = stage.half::<A>(FlowTable::Dst, backend(), masqueraded, Protocol::TCP);
    assert_eq!(
        (forward.kind, reply.kind),
        (FlowKind::Masquerade as u8, FlowKind::Masquerade as u8)
    );
    assert_eq!(forward.flags, FlowFlags::ANSWERED);
    assert_eq!((forward.packets, reply.packets), (2, 2));
}

/// Connects the pod to itself; returns the address and port that it sees.
fn connect<A: Cast>(stage: &Stage, port: u16) -> End<A> {
    let masqueraded = open::<A>(stage, port);
    let agreed = |from, to| tcp_syn::<A>(from, to).ack().packet();
    stage.translated::<A>(Ingress, &agreed(backend(), masqueraded));
    stage.translated::<A>(Egress, &agreed(backend(), itself(port)));
    stage.translated::<A>(Ingress, &tcp(itself::<A>(port), frontend()).ack().packet());
    masqueraded
}

fn a_masquerade_port_is_nobody_elses<A: Cast>() {
    let mut stage = Stage::with_service::<A>().with_node_address::<A>();
    stage.machine.config.masquerade_port_count = 2;
    let mut ports_seen = [connect::<A>(&stage, 1000).1, connect::<A>(&stage, 1001).1];
    ports_seen.sort_unstable();
    assert_eq!(ports_seen, [12_000, 12_001]);
    stage.counted(&[(Counter::FlowOpened, 2), (Counter::FlowSettled, 2)]);
    for port in 1002..1010 {
        let syn = |to| tcp_syn(itself::<A>(port), to);
        stage.translates(Ingress, &syn(frontend()), &syn(backend()));
        stage.counted(&[(Counter::FlowOpened, 1)]);
        let reason = DropReason::MasqueradePortsExhausted;
        stage.drops::<A>(Egress, &syn(backend()).packet(), reason);
    }
}

fn when_no_port_is_left_the_packet_is_dropped<A: Cast>() {
    let mut stage = Stage::with_service::<A>().with_node_address::<A>();
    stage.machine.config.masquerade_port_count = 1;
    connect::<A>(&stage, 1000);
    let packet = |to| udp(itself::<A>(1000), to).packet();
    // Another protocol has ports of its own.
    stage.translated::<A>(Ingress, &packet(frontend()));
    stage.translated::<A>(Egress, &packet(backend()));
    let syn = |to| tcp_syn(itself::<A>(1001), to).packet();
    stage.translated::<A>(Ingress, &syn(frontend()));
    stage.counted(&[(Counter::FlowOpened, 3), (Counter::FlowSettled, 1)]);
    stage.drops::<A>(Egress, &syn(backend()), DropReason::MasqueradePortsExhausted);
    // It stays undecided, so that it can be tried again.
    stage.drops::<A>(Egress, &syn(backend()), DropReason::MasqueradePortsExhausted);
}

fn without_ports_or_an_address_nothing_is_masqueraded<A: Cast>() {
    let syn = |to| tcp_syn(itself::<A>(1001), to).packet();
    let mut stage = Stage::with_service::<A>();
    stage.translated::<A>(Ingress, &syn(frontend()));
    stage.counted(&[(Counter::FlowOpened, 1)]);
    stage.drops::<A>(Egress, &syn(backend()), DropReason::NoMasqueradeAddress);

    let mut stage = Stage::with_service::<A>().with_node_address::<A>();
    stage.machine.config.masquerade_port_count = 0;
    stage.translated::<A>(Ingress, &syn(frontend()));
    stage.counted(&[(Counter::FlowOpened, 1)]);
    stage.drops::<A>(Egress, &syn(backend()), DropReason::MasqueradePortsExhausted);
}

fn a_port_whose_connection_has_ended_is_free_again<A: Cast>() {
    let mut stage = Stage::with_service::<A>().with_node_address::<A>();
    stage.machine.config.masquerade_port_count = 1;
    let masqueraded = open::<A>(&stage, 1000);
    let agreed = |from, to| tcp_syn::<A>(from, to).ack().packet();
    stage.translated::<A>(Ingress, &agreed(backend(), masqueraded));
    stage.translated::<A>(Egress, &agreed(backend(), itself(1000)));
    stage.translated::<A>(Ingress, &tcp(itself::<A>(1000), frontend()).ack().packet());
    let rst = |from, to| tcp::<A>(from, to).rst().packet();
    stage.translated::<A>(Ingress, &rst(backend(), masqueraded));
    stage.translated::<A>(Egress, &rst(backend(), itself(1000)));
    assert_eq!(open::<A>(&stage, 1001), masqueraded);
}
