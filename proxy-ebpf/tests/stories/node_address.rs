//! What comes to an address of the node and is no Service's: ssh, an overlay's outer packets, answers
//! to the node's own connections. The filter knows the ports, so that nothing is looked up.

use proxy_common::{Be16, FilterBits, Frontend, FrontendKind, Protocol, ServiceFlags};
use proxy_ebpf::{
    transport::Hook::{Egress, Ingress},
    user::{
        UserPacket,
        build::{End, sctp, tcp, tcp_syn, udp},
    },
    verdict::Decision,
};

use crate::{
    edge::{away, here, node_port, outside, service},
    stage::{Cast, Stage, for_both_families, node},
};

for_both_families! {
    nothing_is_looked_up_for_ports_of_the_node_that_are_nobodys
    nothing_is_looked_up_beside_an_endpoint_in_the_nodes_network
    a_port_counts_for_its_protocol
    another_kind_of_frontend_at_the_nodes_address_is_found_at_any_port
    an_endpoint_is_found_by_its_port_on_the_way_out
    sctp_is_looked_up_at_every_port_of_the_node
}

/// Packets of every kind to `to`.
fn packets<A: Cast>(to: End<A>) -> [UserPacket; 3] {
    [
        tcp_syn(outside::<A>(), to).packet(),
        tcp(outside::<A>(), to).ack().data(b"x").packet(),
        udp(outside::<A>(), to).packet(),
    ]
}

/// Has a frontend at `at` that the filter knows nothing of: who looks it up finds it.
fn trap<A: Cast>(stage: &mut Stage, (address, port): End<A>) {
    for protocol in [Protocol::TCP, Protocol::UDP] {
        let trap = Frontend::new(address, Be16::new(port), protocol);
        let nobody = service(FrontendKind::NodePort, ServiceFlags::empty());
        A::of_mut(&mut stage.machine).services.insert(trap, nobody);
    }
}

fn nothing_is_looked_up_for_ports_of_the_node_that_are_nobodys<A: Cast>() {
    let mut stage = Stage::edge_with::<A>(ServiceFlags::empty(), &[away()]);
    stage.at_uplink();
    for port in [22, 4789, 45_678] {
        trap::<A>(&mut stage, (node(), port));
        for packet in packets::<A>((node(), port)) {
            stage.passes::<A>(Ingress, &packet);
        }
    }
    stage.counted(&[]);
}

fn nothing_is_looked_up_beside_an_endpoint_in_the_nodes_network<A: Cast>() {
    let mut stage = Stage::edge_with::<A>(ServiceFlags::empty(), &[(node(), 6443)]);
    stage.at_uplink();
    trap::<A>(&mut stage, (node(), 22));
    for packet in packets::<A>((node(), 22)) {
        stage.passes::<A>(Ingress, &packet);
    }
    // At the endpoint's own port, a direct connection is kept apart from a Service's.
    let syn = |to| tcp_syn(outside::<A>(), to);
    stage.translates(Ingress, &syn(node_port()), &syn((node(), 6443)));
    let direct = stage.translated::<A>(Ingress, &syn((node(), 6443)).packet());
    assert_ne!(direct, syn((node(), 6443)).packet(), "it has another source port");
}

fn a_port_counts_for_its_protocol<A: Cast>() {
    let mut stage = Stage::edge::<A>();
    stage.machine.mark_port(Be16::new(30_090), Protocol::UDP, FilterBits::NODE);
    trap::<A>(&mut stage, (node(), 30_090));
    let to = (node::<A>(), 30_090);
    stage.passes::<A>(Ingress, &tcp_syn(outside::<A>(), to).packet());
    let (decision, _) = stage.send::<A>(Ingress, &udp(outside::<A>(), to).packet());
    assert_ne!(decision, Decision::Pass, "it is looked up and found");
}

fn another_kind_of_frontend_at_the_nodes_address_is_found_at_any_port<A: Cast>() {
    let mut stage = Stage::edge::<A>();
    let at = (node::<A>(), 443);
    stage.offer(at, service(FrontendKind::ExternalIp, ServiceFlags::empty()), &[here()]);
    stage.at_uplink();
    let syn = |to| tcp_syn(outside::<A>(), to);
    stage.translates(Ingress, &syn(at), &syn(here()));
}

fn an_endpoint_is_found_by_its_port_on_the_way_out<A: Cast>() {
    let mut stage = Stage::edge_with::<A>(ServiceFlags::empty(), &[here()]);
    stage.at_uplink();
    let syn = |to| tcp_syn(outside::<A>(), to);
    stage.translates(Ingress, &syn(node_port()), &syn(here()));
    let agreed = |from| tcp_syn(from, outside::<A>()).ack();
    stage.translates(Egress, &agreed(here()), &agreed(node_port()));
    // Its own connections, from other ports, are nobody's business.
    stage.passes::<A>(Egress, &tcp_syn((here::<A>().0, 40_001), outside::<A>()).packet());
    stage.machine.filter.fill(0);
    stage.passes::<A>(Egress, &agreed(here()).packet());
}

fn sctp_is_looked_up_at_every_port_of_the_node<A: Cast>() {
    // A masqueraded client keeps its port, so any may be one that an answer comes to.
    let stage = Stage::edge_with::<A>(ServiceFlags::empty(), &[(away::<A>().0, 30_080)]);
    stage.at_uplink();
    let at_away = (away::<A>().0, 30_080);
    let syn = |from, to| sctp::<A>(from, to).packet();
    let out = stage.translated::<A>(Ingress, &syn(outside(), node_port()));
    stage.translated::<A>(Egress, &out);
    stage.translated::<A>(Ingress, &syn(at_away, (node(), outside::<A>().1)));
}
