//! The end of a TCP connection, and a new one with the same ports.

use proxy_common::{Counter, FlowFlags, Nanoseconds, Protocol};
use proxy_ebpf::{
    env::FlowTable,
    transport::Hook::{Egress, Ingress},
    user::build::{tcp, tcp_syn},
};

use crate::stage::{Cast, Stage, backend, client, cluster_ip, for_both_families, frontend, pod};

for_both_families! {
    a_syn_after_fin_both_ways_starts_anew
    a_syn_after_a_rst_starts_anew
    a_syn_after_one_fin_belongs_to_the_connection
    a_rst_that_the_other_end_ignores_ends_nothing
    what_was_sent_before_a_rst_and_comes_after_it_changes_nothing
    a_syn_to_another_frontend_takes_the_place_of_an_ended_flow
}

/// A connection that is established.
fn established<A: Cast>() -> Stage {
    let mut stage = Stage::with_service::<A>();
    stage.translated::<A>(Ingress, &tcp_syn(client::<A>(), frontend()).packet());
    stage.translated::<A>(Egress, &tcp_syn(backend::<A>(), client()).ack().packet());
    stage.translated::<A>(Ingress, &tcp(client::<A>(), frontend()).ack().packet());
    stage.counted(&[(Counter::FlowOpened, 1), (Counter::FlowSettled, 1)]);
    stage
}

/// Time goes by.
fn later(stage: &Stage, milliseconds: u64) {
    let now = stage.machine.now.get().get();
    stage.machine.now.set(Nanoseconds::new(now + milliseconds * 1_000_000));
}

/// The frontend leads to another backend from now on.
fn replace_backend<A: Cast>(stage: &mut Stage) -> (A, u16) {
    let replacement = (pod::<A>(77), 9090);
    stage.serve(frontend(), Protocol::TCP, &[replacement]);
    replacement
}

fn a_syn_after_fin_both_ways_starts_anew<A: Cast>() {
    let mut stage = established::<A>();
    let replacement = replace_backend::<A>(&mut stage);
    stage.translated::<A>(Ingress, &tcp(client::<A>(), frontend()).fin().ack().packet());
    stage.translated::<A>(Egress, &tcp(backend::<A>(), client()).fin().ack().packet());
    stage.translated::<A>(Ingress, &tcp(client::<A>(), frontend()).ack().packet());
    let syn = |to| tcp_syn(client::<A>(), to);
    stage.translates(Ingress, &syn(frontend()), &syn(replacement));
    assert_eq!(stage.halves::<A>(), [0, 0, 1, 1]);
    stage.counted(&[(Counter::FlowOpened, 1)]);
}

fn a_syn_after_a_rst_starts_anew<A: Cast>() {
    for from_client in [true, false] {
        let mut stage = established::<A>();
        let replacement = replace_backend::<A>(&mut stage);
        if from_client {
            stage.translated::<A>(Ingress, &tcp(client::<A>(), frontend()).rst().packet());
        } else {
            stage.translated::<A>(Egress, &tcp(backend::<A>(), client()).rst().packet());
        }
        let syn = |to| tcp_syn(client::<A>(), to);
        stage.translates(Ingress, &syn(frontend()), &syn(replacement));
        assert_eq!(stage.halves::<A>(), [0, 0, 1, 1]);
    }
}

fn a_syn_after_one_fin_belongs_to_the_connection<A: Cast>() {
    let mut stage = established::<A>();
    replace_backend::<A>(&mut stage);
    stage.translated::<A>(Ingress, &tcp(client::<A>(), frontend()).fin().ack().packet());
    let syn = |to| tcp_syn(client::<A>(), to);
    stage.translates(Ingress, &syn(frontend()), &syn(backend()));
    assert_eq!(stage.halves::<A>(), [1, 1, 0, 0]);
    stage.counted(&[]);
}

fn a_rst_that_the_other_end_ignores_ends_nothing<A: Cast>() {
    let mut stage = established::<A>();
    replace_backend::<A>(&mut stage);
    // Somebody guessed the ports, not the sequence number; the real client goes on.
    let guessed = tcp(client::<A>(), frontend()).rst().numbered(9, 0);
    stage.translated::<A>(Ingress, &guessed.packet());
    later(&stage, 100);
    let data = |to| tcp(client::<A>(), to).ack().data(b"alive");
    stage.translates(Ingress, &data(frontend()), &data(backend()));
    let syn = |to| tcp_syn(client::<A>(), to);
    stage.translates(Ingress, &syn(frontend()), &syn(backend()));
    assert_eq!(stage.halves::<A>(), [1, 1, 0, 0]);
}

fn what_was_sent_before_a_rst_and_comes_after_it_changes_nothing<A: Cast>() {
    let mut stage = established::<A>();
    let replacement = replace_backend::<A>(&mut stage);
    stage.translated::<A>(Ingress, &tcp(client::<A>(), frontend()).rst().packet());
    let closed = stage.machine.now.get();
    later(&stage, 99);
    // Two CPUs sent for one connection, and the acknowledgement was overtaken.
    let late = |to| tcp(client::<A>(), to).ack();
    stage.translates(Ingress, &late(frontend()), &late(backend()));
    let halves = A::of(&stage.machine).table(FlowTable::Dst).borrow().clone();
    let half = halves.values().next().unwrap();
    assert!(half.flags.contains(FlowFlags::RST));
    assert_eq!((half.last_seen, half.packets), (closed, 4));
    let syn = |to| tcp_syn(client::<A>(), to);
    stage.translates(Ingress, &syn(frontend()), &syn(replacement));
    assert_eq!(stage.halves::<A>(), [0, 0, 1, 1]);
}

fn a_syn_to_another_frontend_takes_the_place_of_an_ended_flow<A: Cast>() {
    let mut stage = established::<A>();
    let second = (cluster_ip::<A>(2), 443);
    stage.serve(second, Protocol::TCP, &[backend()]);
    stage.translated::<A>(Egress, &tcp(backend::<A>(), client()).rst().packet());
    // The client's port is free again at the backend, and is kept.
    stage.translates(Ingress, &tcp_syn(client::<A>(), second), &tcp_syn(client(), backend()));
    assert_eq!(stage.halves::<A>(), [0, 0, 1, 1]);
    assert!(A::of(&stage.machine).table(FlowTable::Dst).borrow().is_empty());
}
