//! The life of a masqueraded flow, which has four halves: they settle together and end together, and
//! what a flood takes away is no leak.

use proxy_common::{
    Counter, DropReason, FlowFlags, FrontendKind, Nanoseconds, Protocol, RejectReason, ServiceFlags,
};
use proxy_ebpf::{
    env::FlowTable,
    transport::Hook::{Egress, Ingress},
    user::build::{End, tcp, tcp_syn, udp},
    verdict::Decision,
};

use crate::{
    edge::{away, load_balancer, node_port, outside, service},
    masquerade_ports::{comes_in, with_ports},
    stage::{Cast, Stage, for_both_families, node, ports, tuple},
};

for_both_families! {
    without_room_for_all_halves_none_is_settled
    a_syn_on_a_connection_that_has_ended_goes_elsewhere
    what_is_left_of_a_connection_that_has_ended_masquerades_no_other
    a_rst_that_nobody_believes_ends_nothing
    a_port_is_free_again_with_its_flow
    a_direct_connection_takes_the_place_of_one_that_has_ended
    a_refused_connection_is_tried_elsewhere
    a_half_that_a_flood_evicted_at_egress_is_made_anew
    data_before_an_answer_goes_nowhere
    a_half_that_a_flood_evicted_at_ingress_is_made_anew
    a_flow_that_somebody_else_masquerades_settles
    packets_without_a_flow_are_not_translated_by_halves
}

fn without_room_for_all_halves_none_is_settled<A: Cast>() {
    // How many flows are settled already, so that the fourth, third, … of four halves finds no room.
    for max in 0..2 {
        let mut stage = with_ports::<A>(100);
        let client = outside();
        let syn = |from, to| tcp_syn::<A>(from, to);
        stage.at_uplink().translated::<A>(Ingress, &syn(client, node_port()).packet());
        let seen = stage.masquerades(&syn(client, away()));
        stage.translated::<A>(Ingress, &syn(away(), seen).ack().packet());
        stage.translated::<A>(Egress, &syn(away(), client).ack().packet());
        stage.counted(&[(Counter::FlowOpened, 1)]);
        let before = stage.halves::<A>();
        assert_eq!(before, [0, 0, 2, 2]);

        A::of_mut(&mut stage.machine).flows_max = max;
        let ack = |from, to| tcp::<A>(from, to).ack();
        let packet = ack(client, node_port()).packet();
        stage.drops::<A>(Ingress, &packet, DropReason::FlowTableFull);
        stage.drops::<A>(Ingress, &packet, DropReason::FlowTableFull);
        assert_eq!(stage.halves::<A>(), before);

        A::of_mut(&mut stage.machine).flows_max = 2;
        stage.translates(Ingress, &ack(client, node_port()), &ack(client, away()));
        stage.translates(Egress, &ack(client, away()), &ack(seen, away()));
        stage.counted(&[(Counter::FlowSettled, 1)]);
        assert_eq!(stage.halves::<A>(), [2, 2, 0, 0]);
    }
}

/// Ends the connection of [`outside`] to [`node_port`], which its endpoint sees as `seen`.
pub(crate) fn end<A: Cast>(stage: &Stage, seen: End<A>, by_rst: bool) {
    let last = |from, to| {
        let packet = tcp::<A>(from, to);
        if by_rst { packet.rst() } else { packet.fin().ack() }
    };
    if !by_rst {
        let fin = |from, to| tcp::<A>(from, to).fin().ack();
        stage.translates(Ingress, &fin(outside(), node_port()), &fin(outside(), away()));
        stage.translates(Egress, &fin(outside(), away()), &fin(seen, away()));
    }
    stage.translates(Ingress, &last(away(), seen), &last(away(), outside()));
    stage.translates(Egress, &last(away(), outside()), &last(node_port(), outside()));
}

/// The frontend leads to another endpoint from now on.
fn replace<A: Cast>(stage: &mut Stage) -> End<A> {
    let replacement = (A::address(245, 77), 9090);
    let kind = FrontendKind::NodePort;
    stage.offer(node_port(), service(kind, ServiceFlags::empty()), &[replacement]);
    replacement
}

fn a_syn_on_a_connection_that_has_ended_goes_elsewhere<A: Cast>() {
    for by_rst in [false, true] {
        let mut stage = with_ports::<A>(100);
        let seen = stage.connected(outside(), node_port(), away());
        let replacement = replace::<A>(&mut stage);
        end::<A>(&stage, seen, by_rst);
        assert_eq!(stage.halves::<A>(), [2, 2, 0, 0]);
        let syn = |to| tcp_syn(outside::<A>(), to);
        stage.translates(Ingress, &syn(node_port()), &syn(replacement));
        // Nothing is left of the old one: a forward half, its reply half and a pending one are new.
        assert_eq!(stage.halves::<A>(), [0, 0, 1, 2]);
        stage.counted(&[(Counter::FlowOpened, 1)]);
        stage.connected((outside::<A>().0, 1), load_balancer(), away());
    }
}

/// The agent has taken the Service's pair away, and is about to take the other one.
fn what_is_left_of_a_connection_that_has_ended_masquerades_no_other<A: Cast>() {
    let mut stage = with_ports::<A>(100);
    let seen = stage.connected(outside(), node_port(), away());
    end::<A>(&stage, seen, true);
    let (outside, node_port, away) = (outside::<A>(), node_port::<A>(), away::<A>());
    for (table, key) in [
        (FlowTable::Dst, tuple(outside, node_port, Protocol::TCP)),
        (FlowTable::Src, tuple(away, outside, Protocol::TCP)),
    ] {
        let removed = A::of(&stage.machine).table(table).borrow_mut().remove(&key);
        assert!(removed.is_some(), "{key:?}");
    }
    assert_eq!(stage.halves::<A>(), [1, 1, 0, 0]);

    let syn = |from, to| tcp_syn::<A>(from, to);
    stage.translates(Ingress, &syn(outside, node_port), &syn(outside, away));
    let seen = stage.masquerades(&syn(outside, away));
    // The old pair is gone, and has taken nothing of the new one's with it.
    assert_eq!(stage.halves::<A>(), [0, 0, 2, 2]);
    let answer = |from, to| syn(from, to).ack();
    stage.translates(Ingress, &answer(away, seen), &answer(away, outside));
    stage.translates(Egress, &answer(away, outside), &answer(node_port, outside));
}

fn a_rst_that_nobody_believes_ends_nothing<A: Cast>() {
    let mut stage = with_ports::<A>(100);
    let seen = stage.connected(outside(), node_port(), away());
    replace::<A>(&mut stage);
    let guessed = |from, to| tcp::<A>(from, to).rst().numbered(9, 0);
    stage.translates(Ingress, &guessed(outside(), node_port()), &guessed(outside(), away()));
    stage.translates(Egress, &guessed(outside(), away()), &guessed(seen, away()));
    // Long enough for it not to have been sent before the RST.
    let now = stage.machine.now.get().get();
    stage.machine.now.set(Nanoseconds::new(now + 100_000_000));
    let data = |from, to| tcp::<A>(from, to).ack().data(b"alive");
    stage.translates(Ingress, &data(outside(), node_port()), &data(outside(), away()));
    stage.translates(Egress, &data(outside(), away()), &data(seen, away()));
    let syn = |to| tcp_syn(outside::<A>(), to);
    stage.translates(Ingress, &syn(node_port()), &syn(away()));
    assert_eq!(stage.halves::<A>(), [2, 2, 0, 0]);
    stage.counted(&[]);
}

fn a_port_is_free_again_with_its_flow<A: Cast>() {
    let mut stage = with_ports::<A>(1);
    let seen = stage.connected(outside(), node_port(), away());
    let next = comes_in::<A>(&stage, Protocol::TCP, 1000);
    stage.counted(&[(Counter::FlowOpened, 1)]);
    stage.drops::<A>(Egress, &next, DropReason::MasqueradePortsExhausted);
    end::<A>(&stage, seen, true);
    let out = stage.translated::<A>(Egress, &next);
    assert_eq!(ports::<A>(&out).0, seen.1);
    // The flow that had the port is gone as a whole.
    assert_eq!(stage.halves::<A>(), [0, 0, 2, 2]);
}

fn a_direct_connection_takes_the_place_of_one_that_has_ended<A: Cast>() {
    let mut stage = with_ports::<A>(100);
    let seen = stage.connected(outside(), node_port(), away());
    end::<A>(&stage, seen, false);
    stage.passes::<A>(Ingress, &tcp_syn(outside::<A>(), away()).packet());
    assert_eq!(stage.halves::<A>(), [0; 4]);
}

fn a_refused_connection_is_tried_elsewhere<A: Cast>() {
    let mut stage = with_ports::<A>(100);
    let syn = |from, to| tcp_syn::<A>(from, to);
    let rst = |from, to| tcp::<A>(from, to).rst().ack();
    stage.at_uplink();
    stage.translates(Ingress, &syn(outside(), node_port()), &syn(outside(), away()));
    let seen = stage.masquerades(&syn(outside(), away()));
    stage.translates(Ingress, &rst(away(), seen), &rst(away(), outside()));
    stage.translates(Egress, &rst(away(), outside()), &rst(node_port(), outside()));
    let replacement = replace::<A>(&mut stage);
    stage.translates(Ingress, &syn(outside(), node_port()), &syn(outside(), replacement));
    stage.counted(&[(Counter::FlowOpened, 2)]);
}

/// A connection whose ends have agreed, and whose client hasn't gone on yet. What the endpoint sees.
fn agreed<A: Cast>(stage: &mut Stage) -> End<A> {
    let syn = |from, to| tcp_syn::<A>(from, to);
    stage.at_uplink().translated::<A>(Ingress, &syn(outside(), node_port()).packet());
    let seen = stage.masquerades(&syn(outside(), away()));
    stage.translated::<A>(Ingress, &syn(away(), seen).ack().packet());
    stage.translated::<A>(Egress, &syn(away(), outside()).ack().packet());
    stage.counted(&[(Counter::FlowOpened, 1)]);
    seen
}

fn a_half_that_a_flood_evicted_at_egress_is_made_anew<A: Cast>() {
    let mut stage = with_ports::<A>(100);
    agreed::<A>(&mut stage);
    A::of(&stage.machine).new_src.borrow_mut().clear();
    // The endpoint would see another port, so the connection is over, and says so.
    let reason = RejectReason::NoFlow;
    for packet in
        [tcp(outside::<A>(), node_port()).ack(), tcp(outside(), node_port()).ack().data(&[1; 900])]
    {
        stage.refuses::<A>(&packet.packet(), reason);
    }
    // A client that begins anew is masqueraded anew.
    let syn = |to| tcp_syn(outside::<A>(), to);
    stage.translates(Ingress, &syn(node_port()), &syn(away()));
    assert_eq!(stage.masquerades(&syn(away())).0, node());
    // So are datagrams, which begin with each.
    let datagram = |from, to| udp::<A>(from, to).data(b"x");
    let client = outside();
    for _ in 0..2 {
        stage.translates(Ingress, &datagram(client, node_port()), &datagram(client, away()));
        let seen = stage.masquerades(&datagram(client, away()));
        let answer = |from, to| udp::<A>(from, to).data(b"y");
        stage.translates(Ingress, &answer(away(), seen), &answer(away(), outside()));
        stage.translates(Egress, &answer(away(), outside()), &answer(node_port(), outside()));
        A::of(&stage.machine).new_src.borrow_mut().clear();
    }
    // What is settled is settled with all its halves.
    for _ in 0..2 {
        stage.translates(Ingress, &datagram(client, node_port()), &datagram(client, away()));
        let seen = stage.masquerades(&datagram(client, away()));
        stage.translates(Egress, &datagram(client, away()), &datagram(seen, away()));
    }
    assert_eq!(stage.halves::<A>()[..2], [2, 2]);
}

fn data_before_an_answer_goes_nowhere<A: Cast>() {
    // Egress would not look for its flow, and it would leave with its client's address.
    let mut stage = with_ports::<A>(100);
    let syn = |to| tcp_syn(outside::<A>(), to);
    stage.at_uplink().translates(Ingress, &syn(node_port()), &syn(away()));
    let seen = stage.masquerades(&syn(away()));
    stage.counted(&[(Counter::FlowOpened, 1)]);
    let blind = tcp(outside::<A>(), node_port()).ack().data(&[1; 900]).packet();
    stage.refuses::<A>(&blind, RejectReason::NoFlow);
    // Nobody is disturbed by it.
    let agreed = |from, to| tcp_syn::<A>(from, to).ack();
    stage.translates(Ingress, &agreed(away(), seen), &agreed(away(), outside()));
    stage.translates(Egress, &agreed(away(), outside()), &agreed(node_port(), outside()));
    let data = |from, to| tcp::<A>(from, to).ack().data(&[1; 900]);
    stage.translates(Ingress, &data(outside(), node_port()), &data(outside(), away()));
    stage.translates(Egress, &data(outside(), away()), &data(seen, away()));
    stage.counted(&[(Counter::FlowSettled, 1)]);
}

fn a_half_that_a_flood_evicted_at_ingress_is_made_anew<A: Cast>() {
    let mut stage = with_ports::<A>(100);
    let seen = agreed::<A>(&mut stage);
    let key = tuple(away(), seen, Protocol::TCP);
    A::of(&stage.machine).new_dst.borrow_mut().remove(&key);
    let ack = |from, to| tcp::<A>(from, to).ack();
    stage.translates(Ingress, &ack(outside(), node_port()), &ack(outside(), away()));
    stage.translates(Egress, &ack(outside(), away()), &ack(seen, away()));
    stage.translates(Ingress, &ack(away(), seen), &ack(away(), outside()));
    stage.counted(&[(Counter::FlowSettled, 1)]);
    assert_eq!(stage.halves::<A>(), [2, 2, 0, 0]);
}

fn a_flow_that_somebody_else_masquerades_settles<A: Cast>() {
    // A CNI's own masquerade comes before our egress hook, and its undoing after our ingress hook:
    // neither sees a packet of the stretch between.
    let mut stage = with_ports::<A>(100);
    let syn = |from, to| tcp_syn::<A>(from, to);
    stage.at_uplink().translated::<A>(Ingress, &syn(outside(), node_port()).packet());
    stage.passes::<A>(Egress, &syn((node(), 33_333), away()).packet());
    stage.passes::<A>(Ingress, &syn(away(), (node(), 33_333)).ack().packet());
    let back = |from| tcp_syn(from, outside::<A>()).ack();
    stage.translates(Egress, &back(away()), &back(node_port()));
    let ack = |to| tcp(outside::<A>(), to).ack();
    stage.translates(Ingress, &ack(node_port()), &ack(away()));
    stage.counted(&[(Counter::FlowOpened, 1), (Counter::FlowSettled, 1)]);
    assert_eq!(stage.halves::<A>(), [1, 1, 0, 1]);
    let pending = stage.half::<A>(FlowTable::NewSrc, outside(), away(), Protocol::TCP);
    assert!(pending.flags.contains(FlowFlags::PENDING));
    for _ in 0..2 {
        stage.translates(Ingress, &ack(node_port()), &ack(away()));
    }
}

fn packets_without_a_flow_are_not_translated_by_halves<A: Cast>() {
    let mut stage = with_ports::<A>(100);
    stage.at_uplink();
    // To a masquerade port that nobody has; from the endpoint to a client of no flow.
    stage.passes::<A>(Ingress, &tcp(away(), (node::<A>(), 61_007)).ack().data(b"x").packet());
    stage.passes::<A>(Egress, &tcp(away(), outside::<A>()).ack().data(b"x").packet());
    stage.passes::<A>(Egress, &tcp(outside(), away::<A>()).ack().data(b"x").packet());
    let stray = tcp(outside::<A>(), node_port()).ack().data(b"x").packet();
    let (decision, _) = stage.send::<A>(Ingress, &stray);
    assert_eq!(decision, Decision::SendBack(RejectReason::NoFlow));
    assert_eq!(stage.halves::<A>(), [0; 4]);
    stage.counted(&[(Counter::Reject(RejectReason::NoFlow), 1)]);
}
