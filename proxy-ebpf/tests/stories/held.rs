//! While the agent replaces flow tables: nothing enters them, everything in them goes on.

use proxy_common::{ConfigOptions, Counter, DropReason, Protocol};
use proxy_ebpf::{
    transport::Hook::{Egress, Ingress},
    user::build::{tcp, tcp_syn, udp},
};

use crate::{
    edge::{away, node_port, outside},
    stage::{Cast, Stage, backend, client, for_both_families, frontend, pod},
};

for_both_families! {
    a_flow_that_is_held_settles_when_its_packet_is_sent_again
    a_masqueraded_flow_that_is_held_settles_when_its_packet_is_sent_again
    what_would_open_a_flow_waits_and_flows_that_are_there_go_on
    a_source_that_is_not_decided_yet_waits
}

fn a_flow_that_is_held_settles_when_its_packet_is_sent_again<A: Cast>() {
    let mut stage = Stage::with_service::<A>();
    stage.translated::<A>(Ingress, &tcp_syn(client::<A>(), frontend()).packet());
    stage.translated::<A>(Egress, &tcp_syn(backend::<A>(), client()).ack().packet());
    stage.counted(&[(Counter::FlowOpened, 1)]);

    stage.machine.config.options = ConfigOptions::HOLD_SETTLING;
    let ack = |end| tcp(client::<A>(), end).ack();
    stage.drops::<A>(Ingress, &ack(frontend()).packet(), DropReason::FlowTableMoving);
    assert_eq!(stage.halves::<A>(), [0, 0, 1, 1]);

    stage.machine.config.options = ConfigOptions::empty();
    stage.translates(Ingress, &ack(frontend()), &ack(backend()));
    stage.counted(&[(Counter::FlowSettled, 1)]);
    assert_eq!(stage.halves::<A>(), [1, 1, 0, 0]);

    stage.machine.config.options = ConfigOptions::HOLD_SETTLING;
    stage.translates(Ingress, &ack(frontend()), &ack(backend()));
    let answer = |end| tcp(end, client::<A>()).ack().data(b"answer");
    stage.translates(Egress, &answer(backend()), &answer(frontend()));
    stage.counted(&[]);
}

fn a_masqueraded_flow_that_is_held_settles_when_its_packet_is_sent_again<A: Cast>() {
    let mut stage = Stage::edge_with::<A>(proxy_common::ServiceFlags::empty(), &[away()]);
    let client = outside::<A>();
    stage.at_uplink().translated::<A>(Ingress, &tcp_syn(client, node_port()).packet());
    let seen = stage.masquerades(&tcp_syn(client, away()));
    stage.translated::<A>(Ingress, &tcp_syn(away(), seen).ack().packet());
    stage.translated::<A>(Egress, &tcp_syn(away(), client).ack().packet());
    stage.counted(&[(Counter::FlowOpened, 1)]);
    let before = stage.halves::<A>();

    stage.machine.config.options = ConfigOptions::HOLD_SETTLING;
    let ack = |from, to| tcp::<A>(from, to).ack();
    let packet = ack(client, node_port()).packet();
    stage.drops::<A>(Ingress, &packet, DropReason::FlowTableMoving);
    assert_eq!(stage.halves::<A>(), before);

    stage.machine.config.options = ConfigOptions::empty();
    stage.translates(Ingress, &ack(client, node_port()), &ack(client, away()));
    stage.counted(&[(Counter::FlowSettled, 1)]);
}

fn what_would_open_a_flow_waits_and_flows_that_are_there_go_on<A: Cast>() {
    let mut stage = Stage::with_service::<A>();
    stage.translated::<A>(Ingress, &tcp_syn(client::<A>(), frontend()).packet());
    stage.counted(&[(Counter::FlowOpened, 1)]);

    stage.machine.config.options = ConfigOptions::HOLD_OPENING;
    let second = (pod::<A>(2), 40_000);
    let syn = tcp_syn(second, frontend::<A>()).packet();
    stage.drops::<A>(Ingress, &syn, DropReason::FlowTableMoving);
    let answer = |end| tcp_syn(end, client::<A>()).ack();
    stage.translates(Egress, &answer(backend()), &answer(frontend()));
    let direct = udp(second, (pod::<A>(3), 53)).packet();
    stage.passes::<A>(Ingress, &direct);

    stage.machine.config.options = ConfigOptions::empty();
    stage.translated::<A>(Ingress, &syn);
    stage.counted(&[(Counter::FlowOpened, 1)]);
    stage.half::<A>(proxy_ebpf::env::FlowTable::NewDst, second, frontend(), Protocol::TCP);
}

fn a_source_that_is_not_decided_yet_waits<A: Cast>() {
    let mut stage = Stage::edge_with::<A>(proxy_common::ServiceFlags::empty(), &[away()]);
    let client = outside::<A>();
    stage.at_uplink().translated::<A>(Ingress, &tcp_syn(client, node_port()).packet());
    stage.counted(&[(Counter::FlowOpened, 1)]);

    stage.machine.config.options = ConfigOptions::HOLD_OPENING;
    let syn = tcp_syn::<A>(client, away());
    stage.drops::<A>(Egress, &syn.packet(), DropReason::FlowTableMoving);

    stage.machine.config.options = ConfigOptions::empty();
    stage.masquerades(&syn);
}
