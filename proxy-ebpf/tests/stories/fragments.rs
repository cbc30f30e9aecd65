//! Fragmented datagrams: only the first fragment has ports.

use proxy_common::{Counter, DropReason, Protocol};
use proxy_ebpf::{
    transport::Hook::{Egress, Ingress},
    user::{
        UserPacket,
        build::{tcp_syn, udp},
    },
};

use crate::stage::{Cast, Stage, backend, client, cluster_ip, for_both_families, frontend, ports};

for_both_families! {
    fragments_of_a_question_and_of_its_answer_are_translated
    fragments_whose_source_port_has_to_change
    a_later_fragment_that_comes_first_is_dropped_at_a_cluster_ip
    fragments_of_others_are_untouched
    datagrams_of_different_senders_are_told_apart
    fragments_that_must_be_refused
}

const SIZE: usize = 512;
const PAYLOAD: &[u8] = &[0x42; 1400];

fn translated_fragments<A: Cast>(
    stage: &Stage,
    hook: proxy_ebpf::transport::Hook,
    fragments: &[UserPacket],
) -> Vec<UserPacket> {
    fragments.iter().map(|fragment| stage.translated::<A>(hook, fragment)).collect()
}

fn fragments_of_a_question_and_of_its_answer_are_translated<A: Cast>() {
    let mut stage = Stage::with_service::<A>();
    let question = |to| udp(client::<A>(), to).data(PAYLOAD).fragments(0xbeef, SIZE);
    assert_eq!(question(frontend()).len(), 3);
    let out = translated_fragments::<A>(&stage, Ingress, &question(frontend()));
    assert_eq!(out, question(backend()));
    let answer = |from| udp(from, client::<A>()).data(PAYLOAD).fragments(0xcafe, SIZE);
    let out = translated_fragments::<A>(&stage, Egress, &answer(backend()));
    assert_eq!(out, answer(frontend()));
    stage.counted(&[(Counter::FlowOpened, 1)]);
}

fn fragments_whose_source_port_has_to_change<A: Cast>() {
    let mut stage = Stage::with_service::<A>();
    let second = (cluster_ip::<A>(2), 53);
    stage.serve(second, Protocol::UDP, &[backend()]);
    stage.translated::<A>(Ingress, &udp(client::<A>(), frontend()).packet());
    let fragments = udp(client::<A>(), second).data(PAYLOAD).fragments(7, SIZE);
    let out = translated_fragments::<A>(&stage, Ingress, &fragments);
    let at = if size_of::<A>() == 4 { 34 } else { 62 };
    let moved = u16::from_be_bytes([out[0].bytes[at], out[0].bytes[at + 1]]);
    assert_ne!(moved, client::<A>().1);
    let moved = (client::<A>().0, moved);
    assert_eq!(out, udp(moved, backend()).data(PAYLOAD).fragments(7, SIZE));
}

fn a_later_fragment_that_comes_first_is_dropped_at_a_cluster_ip<A: Cast>() {
    let mut stage = Stage::with_service::<A>();
    let fragments = udp(client::<A>(), frontend()).data(PAYLOAD).fragments(1, SIZE);
    stage.drops::<A>(Ingress, &fragments[1], DropReason::FragmentUnknown);
    stage.translated::<A>(Ingress, &fragments[0]);
    stage.translated::<A>(Ingress, &fragments[2]);
    stage.translated::<A>(Ingress, &fragments[1]);
}

fn fragments_of_others_are_untouched<A: Cast>() {
    let stage = Stage::with_service::<A>();
    for fragment in udp(client::<A>(), backend()).data(PAYLOAD).fragments(3, SIZE).iter().rev() {
        stage.passes::<A>(Ingress, fragment);
        stage.passes::<A>(Egress, fragment);
    }
}

fn datagrams_of_different_senders_are_told_apart<A: Cast>() {
    let stage = Stage::with_service::<A>();
    let other = (crate::stage::pod::<A>(2), 1234);
    let fragments = |from, to| udp::<A>(from, to).data(PAYLOAD).fragments(3, SIZE);
    let (ones, others) = (fragments(client(), frontend()), fragments(other, frontend()));
    let mixed =
        [&ones[0], &others[0], &ones[1], &others[1], &others[2], &ones[2]].map(Clone::clone);
    let (ones, others) = (fragments(client(), backend()), fragments(other, backend()));
    let expected =
        [&ones[0], &others[0], &ones[1], &others[1], &others[2], &ones[2]].map(Clone::clone);
    assert_eq!(translated_fragments::<A>(&stage, Ingress, &mixed), expected);
    assert_eq!(ports::<A>(&udp(other, backend()).packet()).0, 1234);
}

fn fragments_that_must_be_refused<A: Cast>() {
    let mut stage = Stage::empty();
    stage.serve_nobody(frontend::<A>(), |service| service);
    let fragments = udp(client::<A>(), frontend()).data(PAYLOAD).fragments(1, SIZE);
    stage.refuses::<A>(&fragments[0], proxy_common::RejectReason::NoEndpoint);
    stage.drops::<A>(Ingress, &fragments[1], DropReason::RejectUnanswerable);
    // What a RST would have to acknowledge isn't known.
    let fragments = tcp_syn(client::<A>(), frontend()).data(PAYLOAD).fragments(2, SIZE);
    stage.drops::<A>(Ingress, &fragments[0], DropReason::RejectUnanswerable);
}
