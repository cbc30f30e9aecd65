//! A frontend and an endpoint whose addresses have the same sum: what a checksum was before its
//! pseudo-header changed says nothing then about who computes it.

use proxy_common::Protocol;
use proxy_ebpf::{
    transport::Hook::{Egress, Ingress},
    user::build::{Build, End, tcp_syn, udp},
};

use crate::stage::{Cast, Stage, client, for_both_families};

for_both_families! {
    a_port_is_made_up_for_in_a_complete_checksum
    a_port_is_left_to_the_device
}

/// Two ends with the same words in their addresses, in another order.
fn ends<A: Cast>() -> (End<A>, End<A>) {
    let mut bytes = [10, 96, 3, 7, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
    let used = size_of::<A>();
    let frontend = bytemuck::pod_read_unaligned(&bytes[..used]);
    bytes[..used].rotate_left(2);
    ((frontend, 80), (bytemuck::pod_read_unaligned(&bytes[..used]), 8080))
}

/// `translates` compares every byte, and checks every checksum besides.
fn goes_there_and_back<A: Cast>(shape: impl Fn(Build<A>) -> Build<A>) {
    let (frontend, backend) = ends::<A>();
    let client = client::<A>();
    let mut stage = Stage::empty();
    stage.serve(frontend, Protocol::UDP, &[backend]);
    stage.serve(frontend, Protocol::TCP, &[backend]);
    for build in [udp, tcp_syn] {
        let question = |to| shape(build(client, to).data(b"question"));
        stage.translates(Ingress, &question(frontend), &question(backend));
    }
    let answer = |from| shape(udp(from, client).data(b"answer"));
    stage.translates(Egress, &answer(backend), &answer(frontend));
    let answer = |from| shape(tcp_syn(from, client).ack());
    stage.translates(Egress, &answer(backend), &answer(frontend));
}

fn a_port_is_made_up_for_in_a_complete_checksum<A: Cast>() {
    goes_there_and_back::<A>(|packet| packet);
}

fn a_port_is_left_to_the_device<A: Cast>() {
    goes_there_and_back::<A>(Build::checksum_by_device);
}
