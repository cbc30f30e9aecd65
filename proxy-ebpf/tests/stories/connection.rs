//! A TCP connection to a frontend, from its SYN on.

use proxy_common::{Counter, DropReason, FlowFlags, FlowKind, Nanoseconds, Protocol, ServiceId};
use proxy_ebpf::{
    env::FlowTable,
    transport::Hook::{Egress, Ingress},
    user::build::{tcp, tcp_syn},
    verdict::Decision,
};

use crate::stage::{Cast, Stage, backend, client, for_both_families, frontend, pod};

for_both_families! {
    a_syn_reaches_the_backend_and_the_answer_comes_from_the_frontend
    a_repeated_syn_keeps_its_backend
    a_flow_settles_when_the_client_goes_on_after_an_answer
    repeated_syns_and_answers_and_resets_settle_nothing
    a_half_that_a_flood_evicted_is_made_anew
    a_connection_records_packets_bytes_and_time_per_direction
    a_full_main_table_drops_the_packet_and_keeps_the_flow
    a_full_main_table_at_egress_leaves_nothing_behind_at_ingress
    offloaded_checksums_and_layer_3_devices_are_translated_alike
    a_service_that_is_deleted_keeps_its_connections
    without_a_flow_only_a_syn_opens_one
}

fn a_syn_reaches_the_backend_and_the_answer_comes_from_the_frontend<A: Cast>() {
    let mut stage = Stage::with_service::<A>();
    stage.translates(Ingress, &tcp_syn(client::<A>(), frontend()), &tcp_syn(client(), backend()));
    stage.counted(&[(Counter::FlowOpened, 1)]);
    stage.translates(
        Egress,
        &tcp_syn(backend(), client::<A>()).ack(),
        &tcp_syn(frontend(), client()).ack(),
    );
    stage.counted(&[]);
    for _ in 0..3 {
        let to = |end| tcp(client::<A>(), end).ack().data(b"question");
        stage.translates(Ingress, &to(frontend()), &to(backend()));
        let from = |end| tcp(end, client::<A>()).ack().data(b"a longer answer");
        stage.translates(Egress, &from(backend()), &from(frontend()));
    }
    stage.counted(&[(Counter::FlowSettled, 1)]);
}

fn a_repeated_syn_keeps_its_backend<A: Cast>() {
    let mut stage = Stage::empty();
    let backends: Vec<_> = (10..200).map(|host| (pod::<A>(host), 8080)).collect();
    stage.serve(frontend(), Protocol::TCP, &backends);
    let syn = tcp_syn(client::<A>(), frontend()).packet();
    let first = stage.translated::<A>(Ingress, &syn);
    for _ in 0..10 {
        assert_eq!(stage.translated::<A>(Ingress, &syn), first);
    }
    stage.counted(&[(Counter::FlowOpened, 1)]);
    assert_eq!(stage.halves::<A>(), [0, 0, 1, 1]);
}

/// A SYN and its answer.
fn agreed<A: Cast>() -> Stage {
    let mut stage = Stage::with_service::<A>();
    stage.translated::<A>(Ingress, &tcp_syn(client::<A>(), frontend()).packet());
    stage.translated::<A>(Egress, &tcp_syn(backend::<A>(), client()).ack().packet());
    stage.counted(&[(Counter::FlowOpened, 1)]);
    stage
}

fn a_flow_settles_when_the_client_goes_on_after_an_answer<A: Cast>() {
    let mut stage = agreed::<A>();
    assert_eq!(stage.halves::<A>(), [0, 0, 1, 1]);
    stage.translated::<A>(Ingress, &tcp(client::<A>(), frontend()).ack().packet());
    stage.counted(&[(Counter::FlowSettled, 1)]);
    assert_eq!(stage.halves::<A>(), [1, 1, 0, 0]);

    let forward = stage.half::<A>(FlowTable::Dst, client(), frontend(), Protocol::TCP);
    let reply = stage.half::<A>(FlowTable::Src, backend(), client(), Protocol::TCP);
    assert_eq!(forward.flags, FlowFlags::ANSWERED);
    assert_eq!(reply.flags, FlowFlags::ANSWERED.union(FlowFlags::REPLY));
    assert_eq!((forward.address, forward.port.get()), backend());
    assert_eq!((reply.address, reply.port.get()), frontend());
    for half in [forward, reply] {
        assert_eq!(half.other_port.get(), client::<A>().1);
        assert_eq!(half.service, ServiceId::new(7));
        assert_eq!(half.kind, FlowKind::Service as u8);
    }
}

fn repeated_syns_and_answers_and_resets_settle_nothing<A: Cast>() {
    let mut stage = agreed::<A>();
    // What somebody who answers for a made-up source could make it send is a RST.
    for packet in [tcp_syn(client::<A>(), frontend()), tcp(client(), frontend()).rst()] {
        stage.translated::<A>(Ingress, &packet.packet());
        stage.translated::<A>(Egress, &tcp_syn(backend::<A>(), client()).ack().packet());
    }
    assert_eq!(stage.halves::<A>(), [0, 0, 1, 1]);
    stage.counted(&[]);
}

fn a_half_that_a_flood_evicted_is_made_anew<A: Cast>() {
    let mut stage = agreed::<A>();
    A::of(&stage.machine).new_src.borrow_mut().clear();
    let to = |end| tcp(client::<A>(), end).ack();
    stage.translates(Ingress, &to(frontend()), &to(backend()));
    stage.counted(&[(Counter::FlowSettled, 1)]);
    let from = |end| tcp(end, client::<A>()).ack().data(b"answer");
    stage.translates(Egress, &from(backend()), &from(frontend()));
}

fn a_connection_records_packets_bytes_and_time_per_direction<A: Cast>() {
    let stage = Stage::with_service::<A>();
    let syn = tcp_syn(client::<A>(), frontend()).packet();
    let agreed = tcp_syn(backend::<A>(), client()).ack().packet();
    let data = tcp(client::<A>(), frontend()).ack().data(&[7; 100]).packet();
    stage.translated::<A>(Ingress, &syn);
    stage.machine.now.set(Nanoseconds::new(20));
    stage.translated::<A>(Egress, &agreed);
    stage.machine.now.set(Nanoseconds::new(30));
    stage.translated::<A>(Ingress, &data);

    let forward = stage.half::<A>(FlowTable::Dst, client(), frontend(), Protocol::TCP);
    let reply = stage.half::<A>(FlowTable::Src, backend(), client(), Protocol::TCP);
    let length = |bytes: &[u8]| u64::try_from(bytes.len() - 14).unwrap();
    assert_eq!((forward.created.get(), forward.last_seen.get()), (1, 30));
    // As long as a flow is new, its halves keep each other from being evicted.
    assert_eq!((reply.created.get(), reply.last_seen.get()), (1, 30));
    assert_eq!((forward.packets, forward.bytes), (2, length(&syn.bytes) + length(&data.bytes)));
    assert_eq!((reply.packets, reply.bytes), (1, length(&agreed.bytes)));
}

fn a_full_main_table_drops_the_packet_and_keeps_the_flow<A: Cast>() {
    let mut stage = agreed::<A>();
    A::of_mut(&mut stage.machine).flows_max = 0;
    let ack = |end| tcp(client::<A>(), end).ack();
    stage.drops::<A>(Ingress, &ack(frontend()).packet(), DropReason::FlowTableFull);
    assert_eq!(stage.halves::<A>(), [0, 0, 1, 1]);

    A::of_mut(&mut stage.machine).flows_max = 1;
    stage.translates(Ingress, &ack(frontend()), &ack(backend()));
    stage.counted(&[(Counter::FlowSettled, 1)]);
    assert_eq!(stage.halves::<A>(), [1, 1, 0, 0]);
}

fn a_full_main_table_at_egress_leaves_nothing_behind_at_ingress<A: Cast>() {
    let mut stage = agreed::<A>();
    stage.translated::<A>(Ingress, &tcp(client::<A>(), frontend()).ack().packet());
    // The table at ingress has lost its half, as the agent removes one after the other.
    A::of(&stage.machine).dst.borrow_mut().clear();
    A::of_mut(&mut stage.machine).flows_max = 1;
    let second = (pod::<A>(2), 40_000);
    stage.translated::<A>(Ingress, &tcp_syn(second, frontend()).packet());
    stage.translated::<A>(Egress, &tcp_syn(backend::<A>(), second).ack().packet());
    stage.counted(&[(Counter::FlowSettled, 1), (Counter::FlowOpened, 1)]);
    let ack = tcp(second, frontend::<A>()).ack().packet();
    stage.drops::<A>(Ingress, &ack, DropReason::FlowTableFull);
    assert_eq!(stage.halves::<A>(), [0, 1, 1, 1]);
}

fn offloaded_checksums_and_layer_3_devices_are_translated_alike<A: Cast>() {
    let stage = Stage::with_service::<A>();
    // A packet of 60 kB, as the kernel hands them on before a device cuts them up.
    let large = vec![0x5a; 60_000];
    stage.translates(
        Ingress,
        &tcp_syn(client::<A>(), frontend()).checksum_by_device(),
        &tcp_syn(client(), backend()).checksum_by_device(),
    );
    stage.translates(
        Egress,
        &tcp_syn(backend(), client::<A>()).ack().layer3(),
        &tcp_syn(frontend(), client()).ack().layer3(),
    );
    let data = |end| tcp(client::<A>(), end).ack().data(&large).checksum_by_device();
    stage.translates(Ingress, &data(frontend()), &data(backend()));
    let layer3 = |end| tcp(client::<A>(), end).ack().data(b"x").layer3().checksum_by_device();
    stage.translates(Ingress, &layer3(frontend()), &layer3(backend()));
}

fn a_service_that_is_deleted_keeps_its_connections<A: Cast>() {
    let mut stage = Stage::with_service::<A>();
    stage.translated::<A>(Ingress, &tcp_syn(client::<A>(), frontend()).packet());
    stage.translated::<A>(Egress, &tcp_syn(backend::<A>(), client()).ack().packet());
    stage.translated::<A>(Ingress, &tcp(client::<A>(), frontend()).ack().packet());
    A::of_mut(&mut stage.machine).services.clear();
    let to = |end| tcp(client::<A>(), end).ack().data(b"still here");
    stage.translates(Ingress, &to(frontend()), &to(backend()));
    stage.passes::<A>(Ingress, &tcp_syn((pod::<A>(2), 4), frontend()).packet());
}

fn without_a_flow_only_a_syn_opens_one<A: Cast>() {
    let stage = Stage::with_service::<A>();
    for stray in [tcp(client::<A>(), frontend()).ack(), tcp(client(), frontend()).fin().ack()] {
        let (decision, _) = stage.send::<A>(Ingress, &stray.packet());
        assert!(matches!(decision, Decision::SendBack(_)), "{decision:?}");
    }
    assert_eq!(stage.halves::<A>(), [0; 4]);
    // An answer without a question is no Service's.
    stage.passes::<A>(Egress, &tcp_syn(backend::<A>(), client()).ack().packet());
}
