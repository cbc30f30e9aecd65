//! UDP and SCTP: every packet may open a flow, no packet ends one.

use proxy_common::{Counter, DropReason, Nanoseconds, Protocol};
use proxy_ebpf::{
    env::FlowTable,
    transport::Hook::{Egress, Ingress},
    user::build::{sctp, udp},
};

use crate::stage::{Cast, Stage, backend, client, cluster_ip, for_both_families, frontend, ports};

for_both_families! {
    a_datagram_is_answered_by_the_frontend
    datagrams_without_a_checksum_stay_without
    datagrams_whose_checksum_is_left_to_the_device
    one_way_datagrams_keep_both_halves_alive
    two_frontends_on_one_backend_get_different_source_ports
    sctp_keeps_its_ports
    sctp_to_another_target_port_is_dropped
}

fn a_datagram_is_answered_by_the_frontend<A: Cast>() {
    let mut stage = Stage::with_service::<A>();
    for payload in [&b""[..], b"x", b"odd", b"a longer question"] {
        let question = |to| udp(client::<A>(), to).data(payload);
        stage.translates(Ingress, &question(frontend()), &question(backend()));
        let answer = |from| udp(from, client::<A>()).data(payload);
        stage.translates(Egress, &answer(backend()), &answer(frontend()));
    }
    stage.counted(&[(Counter::FlowOpened, 1), (Counter::FlowSettled, 1)]);
    assert_eq!(stage.halves::<A>(), [1, 1, 0, 0]);
}

fn datagrams_without_a_checksum_stay_without<A: Cast>() {
    let mut stage = Stage::with_service::<A>();
    stage.serve((cluster_ip::<A>(2), 80), Protocol::UDP, &[backend()]);
    let bare = |from, to| udp::<A>(from, to).data(b"abc").without_udp_checksum();
    stage.translates(Ingress, &bare(client(), frontend()), &bare(client(), backend()));
    stage.translates(Egress, &bare(backend(), client()), &bare(frontend(), client()));
    // Also where a port has to change.
    let packet = bare(client(), (cluster_ip(2), 80)).packet();
    let out = stage.translated::<A>(Ingress, &packet);
    let moved = (client::<A>().0, ports::<A>(&out).0);
    assert_eq!(out, bare(moved, backend()).packet());
}

fn datagrams_whose_checksum_is_left_to_the_device<A: Cast>() {
    let mut stage = Stage::with_service::<A>();
    stage.serve((cluster_ip::<A>(2), 80), Protocol::UDP, &[backend()]);
    let packet = |from, to| udp::<A>(from, to).data(b"abc").checksum_by_device();
    stage.translates(Ingress, &packet(client(), frontend()), &packet(client(), backend()));
    stage.translates(Egress, &packet(backend(), client()), &packet(frontend(), client()));
    let second = packet(client(), (cluster_ip(2), 80)).packet();
    let out = stage.translated::<A>(Ingress, &second);
    let moved = (client::<A>().0, ports::<A>(&out).0);
    assert_eq!(out, packet(moved, backend()).packet());
}

fn one_way_datagrams_keep_both_halves_alive<A: Cast>() {
    let stage = Stage::with_service::<A>();
    let datagram = udp(client::<A>(), frontend()).data(b"log line").packet();
    for now in [10, 20, 30] {
        stage.machine.now.set(Nanoseconds::new(now));
        stage.translated::<A>(Ingress, &datagram);
    }
    assert_eq!(stage.halves::<A>(), [0, 0, 1, 1]);
    let forward = stage.half::<A>(FlowTable::NewDst, client(), frontend(), Protocol::UDP);
    let reply = stage.half::<A>(FlowTable::NewSrc, backend(), client(), Protocol::UDP);
    assert_eq!((forward.last_seen.get(), reply.last_seen.get()), (30, 30));
    assert_eq!((forward.packets, reply.packets), (3, 0));
}

fn two_frontends_on_one_backend_get_different_source_ports<A: Cast>() {
    let mut stage = Stage::with_service::<A>();
    let second = (cluster_ip::<A>(2), 53);
    stage.serve(second, Protocol::UDP, &[backend()]);
    stage.translates(Ingress, &udp(client::<A>(), frontend()), &udp(client(), backend()));
    let out = stage.translated::<A>(Ingress, &udp(client::<A>(), second).packet());
    let moved = (client::<A>().0, ports::<A>(&out).0);
    assert_eq!(out, udp(moved, backend()).packet());
    // Nobody has answered yet; the next datagram takes the same way.
    assert_eq!(out, stage.translated::<A>(Ingress, &udp(client::<A>(), second).packet()));
    stage.translates(Egress, &udp(backend(), moved), &udp(second, client::<A>()));
    stage.translates(Egress, &udp(backend(), client::<A>()), &udp(frontend(), client()));
}

fn sctp_keeps_its_ports<A: Cast>() {
    let mut stage = Stage::empty();
    let same_port = (backend::<A>().0, frontend::<A>().1);
    stage.serve(frontend::<A>(), Protocol::SCTP, &[same_port]);
    let packet = |from, to| sctp::<A>(from, to).data(b"chunk");
    stage.translates(Ingress, &packet(client(), frontend()), &packet(client(), same_port));
    stage.translates(Egress, &packet(same_port, client()), &packet(frontend(), client()));
    stage.counted(&[(Counter::FlowOpened, 1)]);
}

fn sctp_to_another_target_port_is_dropped<A: Cast>() {
    let stage = Stage::with_service::<A>();
    let (decision, out) = stage.send::<A>(Ingress, &sctp(client::<A>(), frontend()).packet());
    assert_eq!(decision, proxy_ebpf::verdict::Decision::Drop(DropReason::SctpPort));
    assert_eq!(out, sctp(client::<A>(), frontend()).packet());
    assert_eq!(stage.machine.counter(Counter::Drop(DropReason::SctpPort)), 1);
}
