//! Flows that share client port and endpoint, and would be one on the wire behind ingress.

use proxy_common::{Counter, DropReason, FilterBits, FlowKind, Protocol, ServiceId};
use proxy_ebpf::{
    env::FlowTable,
    transport::Hook::{Egress, Ingress},
    user::build::{sctp, tcp, tcp_syn, udp},
};

use crate::stage::{Cast, Stage, backend, client, cluster_ip, for_both_families, frontend, ports};

for_both_families! {
    two_frontends_on_one_backend_stay_apart
    a_direct_flow_beside_a_services_flow_stays_apart
    a_direct_flow_first_is_left_alone
    a_direct_flow_beside_one_that_has_ended_needs_nothing
    sctp_that_would_need_another_port_is_dropped
}

fn second<A: Cast>() -> (A, u16) {
    (cluster_ip(2), 443)
}

fn two_frontends_on_one_backend_stay_apart<A: Cast>() {
    let mut stage = Stage::with_service::<A>();
    stage.serve(second::<A>(), Protocol::TCP, &[backend()]);
    stage.translates(Ingress, &tcp_syn(client::<A>(), frontend()), &tcp_syn(client(), backend()));
    let out = stage.translated::<A>(Ingress, &tcp_syn(client::<A>(), second()).packet());
    let (port, _) = ports::<A>(&out);
    assert_ne!(port, client::<A>().1);
    let moved = (client::<A>().0, port);
    assert_eq!(out, tcp_syn(moved, backend()).packet());
    stage.counted(&[(Counter::FlowOpened, 2)]);

    stage.translates(Egress, &tcp_syn(backend(), moved).ack(), &tcp_syn(second(), client()).ack());
    stage.translates(
        Egress,
        &tcp_syn(backend(), client::<A>()).ack(),
        &tcp_syn(frontend(), client()).ack(),
    );
    for (end, seen) in [(frontend(), client()), (second(), moved)] {
        let data = |from, to| tcp::<A>(from, to).ack().data(b"abc");
        stage.translates(Ingress, &data(client(), end), &data(seen, backend()));
        stage.translates(Egress, &data(backend(), seen), &data(end, client()));
    }
    stage.counted(&[(Counter::FlowSettled, 2)]);
}

fn a_direct_flow_beside_a_services_flow_stays_apart<A: Cast>() {
    for settled in [false, true] {
        let mut stage = Stage::with_service::<A>();
        stage.translated::<A>(Ingress, &tcp_syn(client::<A>(), frontend()).packet());
        stage.translated::<A>(Egress, &tcp_syn(backend::<A>(), client()).ack().packet());
        if settled {
            stage.translated::<A>(Ingress, &tcp(client::<A>(), frontend()).ack().packet());
        }
        let out = stage.translated::<A>(Ingress, &tcp_syn(client::<A>(), backend()).packet());
        let moved = (client::<A>().0, ports::<A>(&out).0);
        assert_ne!(moved, client());
        assert_eq!(out, tcp_syn(moved, backend()).packet());
        let half = stage.half::<A>(FlowTable::NewDst, client(), backend(), Protocol::TCP);
        assert_eq!((half.kind, half.service), (FlowKind::Direct as u8, ServiceId::NONE));

        stage.translates(
            Egress,
            &tcp_syn(backend(), moved).ack(),
            &tcp_syn(backend(), client::<A>()).ack(),
        );
        let data = |from, to| tcp::<A>(from, to).ack().data(b"abc");
        stage.translates(Ingress, &data(client(), backend()), &data(moved, backend()));
        stage.counted(&[
            (Counter::FlowOpened, 2),
            (Counter::FlowSettled, if settled { 2 } else { 1 }),
        ]);
    }
}

fn a_direct_flow_first_is_left_alone<A: Cast>() {
    let stage = Stage::with_service::<A>();
    stage.passes::<A>(Ingress, &tcp_syn(client::<A>(), backend()).packet());
    stage.passes::<A>(Egress, &tcp_syn(backend::<A>(), client()).ack().packet());
    stage.passes::<A>(Ingress, &tcp(client::<A>(), backend()).ack().packet());
    assert_eq!(stage.halves::<A>(), [0; 4]);
}

fn a_direct_flow_beside_one_that_has_ended_needs_nothing<A: Cast>() {
    let stage = Stage::with_service::<A>();
    stage.translated::<A>(Ingress, &tcp_syn(client::<A>(), frontend()).packet());
    stage.translated::<A>(Egress, &tcp_syn(backend::<A>(), client()).ack().packet());
    stage.translated::<A>(Ingress, &tcp(client::<A>(), frontend()).ack().packet());
    stage.translated::<A>(Ingress, &tcp(client::<A>(), frontend()).rst().packet());
    stage.passes::<A>(Ingress, &tcp_syn(client::<A>(), backend()).packet());
    assert_eq!(stage.halves::<A>(), [0; 4]);
}

fn sctp_that_would_need_another_port_is_dropped<A: Cast>() {
    let mut stage = Stage::empty();
    for end in [frontend::<A>(), (second::<A>().0, 80)] {
        stage.serve(end, Protocol::SCTP, &[(backend::<A>().0, 80)]);
    }
    stage.machine.mark(backend::<A>().0, FilterBits::BACKEND);
    stage.translated::<A>(Ingress, &sctp(client::<A>(), frontend()).packet());
    stage.counted(&[(Counter::FlowOpened, 1)]);
    let packet = sctp(client::<A>(), (second::<A>().0, 80)).packet();
    stage.drops::<A>(Ingress, &packet, DropReason::PortsExhausted);
    // Of UDP there is no flow yet: protocols don't meet.
    stage.passes::<A>(Egress, &udp(backend::<A>(), client()).packet());
}
