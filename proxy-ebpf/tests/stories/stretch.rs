//! The masqueraded stretch between this node and an endpoint on another: ICMP errors about it in
//! both directions, redirects, fragments, options and extension headers.

use proxy_common::{Counter, DropReason, ServiceFlags};
use proxy_ebpf::{
    transport::Hook::{self, Egress, Ingress},
    user::{
        UserPacket,
        build::{Build, End, icmp_error, tcp, tcp_syn, udp},
    },
};

use crate::{
    edge::{away, load_balancer, node_port, outside},
    stage::{Cast, Stage, for_both_families, node},
};

for_both_families! {
    too_big_on_the_way_to_the_endpoint_finds_the_client
    too_big_on_the_way_to_the_client_finds_the_endpoint
    the_endpoints_port_unreachable_comes_from_the_frontend
    what_this_node_itself_says_about_the_stretch
    errors_about_a_question_that_is_not_answered_yet
    no_redirect_past_this_node_leaves
    fragments_of_questions_and_answers
    lengthened_headers_stay
}

const MTU: [u8; 4] = [0, 0, 5, 120];

/// A router between this node and the other one, or between this node and the client.
fn router<A: Cast>() -> A {
    A::address(2, 254)
}

fn stage<A: Cast>() -> Stage {
    Stage::edge_with::<A>(ServiceFlags::empty(), &[away()])
}

fn data<A: Cast>(from: End<A>, to: End<A>) -> UserPacket {
    tcp(from, to).ack().data(&[9; 1200]).packet()
}

fn too_big<A: Cast>(from: A, to: A, about: &UserPacket) -> Build<A> {
    icmp_error(from, to, A::TOO_BIG, MTU, about)
}

fn too_big_on_the_way_to_the_endpoint_finds_the_client<A: Cast>() {
    let mut stage = stage::<A>();
    let seen = stage.connected(outside::<A>(), node_port(), away());
    let (client, router) = (outside::<A>(), router::<A>());
    stage.translates(
        Ingress,
        &too_big(router, node(), &data(seen, away())),
        &too_big(router, client.0, &data(client, away())),
    );
    stage.translates(
        Egress,
        &too_big(router, client.0, &data(client, away())),
        &too_big(router, client.0, &data(client, node_port())),
    );
    stage.counted(&[]);
}

fn too_big_on_the_way_to_the_client_finds_the_endpoint<A: Cast>() {
    let mut stage = stage::<A>();
    let seen = stage.connected(outside::<A>(), load_balancer(), away());
    let client = outside::<A>();
    for source in [client.0, router()] {
        stage.translates(
            Ingress,
            &too_big(source, load_balancer::<A>().0, &data(load_balancer(), client)),
            &too_big(source, away::<A>().0, &data(away(), client)),
        );
        // The endpoint knows nobody but this node.
        let speaks = if source == client.0 { node() } else { source };
        stage.translates(
            Egress,
            &too_big(source, away::<A>().0, &data(away(), client)),
            &too_big(speaks, away::<A>().0, &data(away(), seen)),
        );
    }
    stage.counted(&[]);
}

/// A datagram that waits for its answer; what the endpoint sees as its source.
fn asked<A: Cast>(stage: &Stage) -> End<A> {
    let question = |to| udp(outside::<A>(), to).data(b"anybody there?");
    stage.at_uplink().translates(Ingress, &question(node_port()), &question(away()));
    stage.masquerades(&question(away()))
}

fn the_endpoints_port_unreachable_comes_from_the_frontend<A: Cast>() {
    let stage = stage::<A>();
    let seen = asked::<A>(&stage);
    let client = outside::<A>();
    let question = |from, to| udp::<A>(from, to).data(b"anybody there?").packet();
    let error = |from, to, about: &UserPacket| {
        icmp_error::<A>(from, to, A::PORT_UNREACHABLE, [0; 4], about)
    };
    let endpoint = away::<A>().0;
    stage.translates(
        Ingress,
        &error(endpoint, node(), &question(seen, away())),
        &error(endpoint, client.0, &question(client, away())),
    );
    stage.translates(
        Egress,
        &error(endpoint, client.0, &question(client, away())),
        &error(node_port::<A>().0, client.0, &question(client, node_port())),
    );
}

fn what_this_node_itself_says_about_the_stretch<A: Cast>() {
    // The kernel generates errors between the hooks: about what it was to send on.
    let mut stage = stage::<A>();
    let seen = stage.connected(outside::<A>(), node_port(), away());
    let client = outside::<A>();
    stage.translates(
        Egress,
        &too_big(node(), client.0, &data(client, away())),
        &too_big(node(), client.0, &data(client, node_port())),
    );
    stage.translates(
        Egress,
        &too_big(node(), away::<A>().0, &data(away(), client)),
        &too_big(node(), away::<A>().0, &data(away(), seen)),
    );
}

fn errors_about_a_question_that_is_not_answered_yet<A: Cast>() {
    let stage = stage::<A>();
    let seen = asked::<A>(&stage);
    let client = outside::<A>();
    let question = |from, to| udp::<A>(from, to).data(&[1; 1000]).packet();
    let late =
        |to, about: &UserPacket| icmp_error::<A>(router(), to, A::TIME_EXCEEDED, [0; 4], about);
    stage.translates(
        Ingress,
        &late(node(), &question(seen, away())),
        &late(client.0, &question(client, away())),
    );
    stage.translates(
        Egress,
        &late(client.0, &question(client, away())),
        &late(client.0, &question(client, node_port())),
    );
}

fn no_redirect_past_this_node_leaves<A: Cast>() {
    let mut stage = stage::<A>();
    stage.connected(outside::<A>(), node_port(), away());
    let redirect =
        redirect(node::<A>(), outside::<A>().0, away::<A>().0, &data(outside::<A>(), away()));
    stage.drops::<A>(Egress, &redirect, DropReason::Redirect);
    // Somebody else's redirect that comes in is the host's business.
    stage.passes::<A>(Ingress, &redirect);
}

/// "For `about`, use `about` itself".
fn redirect<A: Cast>(from: A, to: A, about: A, quoted: &UserPacket) -> UserPacket {
    let address = bytemuck::bytes_of(&about);
    let quote = &quoted.bytes[quoted.link_header..];
    if size_of::<A>() == 4 {
        let rest = [address[0], address[1], address[2], address[3]];
        return icmp_error(from, to, (5, 1), rest, quoted).packet();
    }
    let option = [4, u8::try_from(1 + quote.len() / 8).unwrap_or(u8::MAX), 0, 0, 0, 0, 0, 0];
    let body = [address, address, &option, quote].concat();
    icmp_error(from, to, (137, 0), [0; 4], quoted).data(&body).packet()
}

fn through<A: Cast>(stage: &Stage, hook: Hook, packets: &[UserPacket]) -> Vec<UserPacket> {
    packets.iter().map(|packet| stage.translated::<A>(hook, packet)).collect()
}

fn fragments_of_questions_and_answers<A: Cast>() {
    let mut stage = stage::<A>();
    stage.at_uplink();
    let client = outside::<A>();
    let long = |from, to| udp::<A>(from, to).data(&[0x42; 1400]).fragments(0xbeef, 512);
    let inside = through::<A>(&stage, Ingress, &long(client, node_port()));
    assert_eq!(inside, long(client, away()));
    // The first fragment decides the port, the others go by the same flow.
    let out = through::<A>(&stage, Egress, &inside);
    let at = if size_of::<A>() == 4 { 34 } else { 62 };
    let seen = (node(), u16::from_be_bytes([out[0].bytes[at], out[0].bytes[at + 1]]));
    assert_eq!(out, long(seen, away()));
    let inside = through::<A>(&stage, Ingress, &long(away(), seen));
    assert_eq!(inside, long(away(), client));
    let out = through::<A>(&stage, Egress, &inside);
    assert_eq!(out, long(node_port(), client));
    stage.counted(&[(Counter::FlowOpened, 1)]);
}

fn lengthened_headers_stay<A: Cast>() {
    let stage = stage::<A>();
    stage.at_uplink();
    let client = outside::<A>();
    let syn = |from, to| tcp_syn::<A>(from, to).lengthened().lengthened();
    stage.translates(Ingress, &syn(client, node_port()), &syn(client, away()));
    // A packet of the same flow without them: what the endpoint sees is the same.
    let seen = stage.masquerades(&tcp_syn(client, away()));
    stage.translates(Egress, &syn(client, away()), &syn(seen, away()));
    let agreed = |from, to| syn(from, to).ack();
    stage.translates(Ingress, &agreed(away(), seen), &agreed(away(), client));
    stage.translates(Egress, &agreed(away(), client), &agreed(node_port(), client));
}
