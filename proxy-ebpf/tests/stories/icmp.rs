//! ICMP errors about translated flows, from the endpoint, from a router, from the client.

use proxy_common::{Counter, DropReason};
use proxy_ebpf::{
    transport::Hook::{Egress, Ingress},
    user::build::{icmp_error, ping, tcp, tcp_syn, udp},
};

use crate::stage::{Cast, Stage, backend, client, for_both_families, frontend, pod};

for_both_families! {
    the_endpoints_port_unreachable_comes_from_the_frontend
    a_routers_too_big_keeps_its_source
    the_clients_error_finds_the_endpoint
    a_quote_of_eight_bytes_is_enough
    errors_about_others_are_untouched
    pings_to_others_are_untouched
    errors_leave_no_trace_on_the_flow
}

/// A router that is no backend.
fn router<A: Cast>() -> A {
    A::address(2, 254)
}

const MTU: [u8; 4] = [0, 0, 5, 120];

fn the_endpoints_port_unreachable_comes_from_the_frontend<A: Cast>() {
    for lengthened in [false, true] {
        let stage = Stage::with_service::<A>();
        let question = |to| {
            let packet = udp(client::<A>(), to).data(b"anybody there?");
            if lengthened { packet.lengthened() } else { packet }
        };
        stage.translates(Ingress, &question(frontend()), &question(backend()));
        let error = |from, about| {
            icmp_error::<A>(from, client::<A>().0, A::PORT_UNREACHABLE, [0; 4], about)
        };
        stage.translates(
            Egress,
            &error(backend::<A>().0, &question(backend()).packet()),
            &error(frontend::<A>().0, &question(frontend()).packet()),
        );
    }
}

fn a_routers_too_big_keeps_its_source<A: Cast>() {
    let stage = established::<A>();
    let data = |to| tcp(client::<A>(), to).ack().data(&[9; 1200]).packet();
    let error = |about| icmp_error(router::<A>(), client::<A>().0, A::TOO_BIG, MTU, about);
    stage.translates(Egress, &error(&data(backend())), &error(&data(frontend())));
}

fn established<A: Cast>() -> Stage {
    let stage = Stage::with_service::<A>();
    stage.translated::<A>(Ingress, &tcp_syn(client::<A>(), frontend()).packet());
    stage.translated::<A>(Egress, &tcp_syn(backend::<A>(), client()).ack().packet());
    stage.translated::<A>(Ingress, &tcp(client::<A>(), frontend()).ack().packet());
    stage
}

fn the_clients_error_finds_the_endpoint<A: Cast>() {
    let stage = established::<A>();
    let data = |from| tcp(from, client::<A>()).ack().data(&[9; 1200]).packet();
    for source in [client::<A>().0, router()] {
        let error = |to, about| icmp_error(source, to, A::TOO_BIG, MTU, about);
        stage.translates(
            Ingress,
            &error(frontend::<A>().0, &data(frontend())),
            &error(backend::<A>().0, &data(backend())),
        );
    }
}

fn a_quote_of_eight_bytes_is_enough<A: Cast>() {
    let stage = established::<A>();
    let quote = |to| {
        let packet = tcp(client::<A>(), to).ack().data(&[9; 100]).layer3().packet();
        let header = if size_of::<A>() == 4 { 20 } else { 40 };
        packet.bytes[..header + 8].to_vec()
    };
    let any = udp(client::<A>(), backend()).packet();
    let error = |from, quote: &[u8]| {
        icmp_error(from, client::<A>().0, A::TIME_EXCEEDED, [0; 4], &any).data(quote)
    };
    stage.translates(
        Egress,
        &error(router(), &quote(backend())),
        &error(router(), &quote(frontend())),
    );
}

fn errors_about_others_are_untouched<A: Cast>() {
    let mut stage = established::<A>();
    let about = udp((pod::<A>(3), 5), backend()).data(b"x").packet();
    let error = icmp_error(backend::<A>().0, pod(3), A::PORT_UNREACHABLE, [0; 4], &about).packet();
    stage.passes::<A>(Egress, &error);
    stage.passes::<A>(Ingress, &error);
    stage.counted(&[(Counter::FlowOpened, 1), (Counter::FlowSettled, 1)]);
    // To a ClusterIP, about nothing that is known.
    let stray = icmp_error(router(), frontend::<A>().0, A::PORT_UNREACHABLE, [0; 4], &about);
    stage.drops::<A>(Ingress, &stray.packet(), DropReason::ClusterIpProtocol);
}

fn pings_to_others_are_untouched<A: Cast>() {
    let stage = established::<A>();
    for hook in [Ingress, Egress] {
        stage.passes::<A>(hook, &ping(client::<A>().0, backend::<A>().0).packet());
        stage.passes::<A>(hook, &ping(backend::<A>().0, client::<A>().0).layer3().packet());
    }
}

fn errors_leave_no_trace_on_the_flow<A: Cast>() {
    let stage = established::<A>();
    let before = A::of(&stage.machine).src.borrow().clone();
    let about = tcp(client::<A>(), backend()).ack().packet();
    let error = icmp_error(router::<A>(), client::<A>().0, A::TIME_EXCEEDED, [0; 4], &about);
    stage.translated::<A>(Egress, &error.packet());
    assert_eq!(*A::of(&stage.machine).src.borrow(), before);
}
