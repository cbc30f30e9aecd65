//! IPv4 options and IPv6 extension headers between the network header and the transport.

use proxy_common::{Protocol, V4, V6};
use proxy_ebpf::{
    transport::Hook::{Egress, Ingress},
    user::build::{tcp, tcp_syn, udp},
};

use crate::stage::{Cast, Stage, backend, client, for_both_families, frontend};

const HOP_BY_HOP: Protocol = Protocol::new(0);
const ROUTING: Protocol = Protocol::new(43);
const ESP: Protocol = Protocol::new(50);
const DESTINATION_OPTIONS: Protocol = Protocol::new(60);

for_both_families! {
    a_connection_with_extensions_is_translated
    datagrams_with_extensions_are_translated
}

fn a_connection_with_extensions_is_translated<A: Cast>() {
    let stage = Stage::with_service::<A>();
    let syn = |to| tcp_syn(client::<A>(), to).lengthened();
    stage.translates(Ingress, &syn(frontend()), &syn(backend()));
    let agreed = |from| tcp_syn(from, client::<A>()).ack().lengthened().lengthened();
    stage.translates(Egress, &agreed(backend()), &agreed(frontend()));
    let data = |to| tcp(client::<A>(), to).ack().data(b"abc").lengthened().checksum_by_device();
    stage.translates(Ingress, &data(frontend()), &data(backend()));
}

fn datagrams_with_extensions_are_translated<A: Cast>() {
    let stage = Stage::with_service::<A>();
    let to = |to| udp(client::<A>(), to).data(b"abc").lengthened().layer3();
    stage.translates(Ingress, &to(frontend()), &to(backend()));
    let from = |from| udp(from, client::<A>()).data(b"abc").lengthened();
    stage.translates(Egress, &from(backend()), &from(frontend()));
}

#[test]
fn as_many_ipv4_options_as_there_may_be() {
    let stage = Stage::with_service::<V4>();
    let syn = |to| tcp_syn(client::<V4>(), to).with_extension(Protocol::ANY, &[1; 40]);
    stage.translates(Ingress, &syn(frontend()), &syn(backend()));
}

#[test]
fn six_extension_headers_are_followed_and_a_seventh_is_not() {
    let stage = Stage::with_service::<V6>();
    let syn = |to| {
        tcp_syn(client::<V6>(), to)
            .with_extension(HOP_BY_HOP, &[1, 4, 0, 0, 0, 0])
            .with_extension(ROUTING, &[4, 0, 0, 0, 0, 0])
            .with_extension(DESTINATION_OPTIONS, &[1; 30])
            .with_extension(DESTINATION_OPTIONS, &[1; 100])
            .lengthened()
            .lengthened()
    };
    stage.translates(Ingress, &syn(frontend()), &syn(backend()));
    let agreed = |from| tcp_syn(from, client::<V6>()).ack().lengthened();
    stage.translates(Egress, &agreed(backend()), &agreed(frontend()));
    stage.passes::<V6>(Ingress, &syn(frontend()).lengthened().packet());
}

#[test]
fn what_is_encrypted_is_not_looked_into() {
    let stage = Stage::with_service::<V6>();
    let packet = tcp_syn((client::<V6>().0, 1), (backend::<V6>().0, 2))
        .with_extension(ESP, &[0; 6])
        .packet();
    stage.passes::<V6>(Ingress, &packet);
    stage.passes::<V6>(Egress, &packet);
}
