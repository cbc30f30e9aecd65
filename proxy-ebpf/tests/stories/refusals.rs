//! What is refused with an answer and what is dropped, and every byte of the answers.

use proxy_common::{
    Be16, ConfigOptions, DropReason, FilterBits, Frontend, Prefix, Protocol, RejectReason,
    ServiceFlags, SlotRange, V4, V6,
};
use proxy_ebpf::{
    transport::Hook::Ingress,
    user::{
        UserPacket,
        build::{Build, icmp_error, other, ping, sctp, tcp, tcp_syn, udp},
        check::as_sent,
    },
};

use crate::stage::{
    Cast, Stage, backend, client, cluster_ip, for_both_families, frontend, service,
};

for_both_families! {
    a_syn_without_endpoints_is_answered_with_a_rst
    what_a_rst_acknowledges
    a_segment_that_belongs_to_no_connection_is_answered_with_a_rst
    a_connection_of_another_proxy_goes_on_untouched_where_that_is_asked_for
    a_large_offloaded_segment_is_answered_with_a_small_rst
    a_rst_is_not_answered
    a_datagram_without_endpoints_is_answered_with_port_unreachable
    an_offloaded_datagram_is_answered_with_port_unreachable
    port_unreachable_has_a_budget_and_rst_has_none
    a_port_that_nobody_defined_is_refused
    a_local_policy_without_local_endpoints_drops
    a_local_policy_uses_the_local_set
    an_address_of_the_service_range_that_nobody_owns_is_dropped
    a_cluster_ip_answers_no_ping_and_no_other_protocol
    a_slot_that_leads_nowhere_drops
    headers_that_end_early_are_dropped_at_a_cluster_ip
}

/// [`frontend`] exists and has no endpoint.
fn without_endpoints<A: Cast>() -> Stage {
    let mut stage = Stage::empty();
    stage.serve_nobody(frontend::<A>(), |service| service);
    stage
}

/// As the datapath writes answers: fresh hop limit, no identification, back to the sender.
fn answered<A: Cast>(answer: Build<A>) -> Build<A> {
    answer.hop_limit(64).identification(0).returned().window(0)
}

fn rst<A: Cast>(sequence: u32, acknowledgement: u32) -> Build<A> {
    answered(tcp(frontend::<A>(), client()).rst()).numbered(sequence, acknowledgement)
}

fn a_syn_without_endpoints_is_answered_with_a_rst<A: Cast>() {
    let mut stage = without_endpoints::<A>();
    let syn = || tcp_syn(client::<A>(), frontend()).numbered(0x1234_5678, 0);
    let expected = || rst::<A>(0, 0).ack().numbered(0, 0x1234_5679);
    for (packet, answer) in [
        (syn(), expected()),
        (syn().layer3(), expected().layer3()),
        (syn().lengthened(), expected().lengthened()),
        (syn().checksum_by_device(), expected().checksum_by_device()),
        (syn().lengthened().checksum_by_device(), expected().lengthened().checksum_by_device()),
    ] {
        let got = stage.refuses::<A>(&packet.packet(), RejectReason::NoEndpoint);
        assert_eq!(got, answer.packet());
    }
    assert_eq!(stage.halves::<A>(), [0; 4]);
}

fn what_a_rst_acknowledges<A: Cast>() {
    let mut stage = without_endpoints::<A>();
    // RFC 9293 §3.10.7.1: with ACK its number is the RST's; without, everything is acknowledged.
    let cases: [(Build<A>, Build<A>); 4] = [
        (tcp(client::<A>(), frontend()).ack().data(b"abc").numbered(5, 77), rst(77, 0)),
        (
            tcp(client(), frontend()).fin().data(b"abc").numbered(5, 0),
            rst(0, 9).ack().numbered(0, 9),
        ),
        (
            tcp(client(), frontend()).numbered(u32::MAX, 0).data(b"ab"),
            rst(0, 1).ack().numbered(0, 1),
        ),
        (
            tcp_syn(client(), frontend()).lengthened().data(b"fast open").numbered(10, 0),
            rst(0, 20).ack().numbered(0, 20).lengthened(),
        ),
    ];
    for (packet, answer) in cases {
        let got = stage.refuses::<A>(&packet.packet(), RejectReason::NoEndpoint);
        assert_eq!(got, answer.packet());
    }
}

fn a_segment_that_belongs_to_no_connection_is_answered_with_a_rst<A: Cast>() {
    let mut stage = Stage::with_service::<A>();
    let data = tcp(client::<A>(), frontend()).ack().data(b"who?").numbered(5, 6).packet();
    assert_eq!(stage.refuses::<A>(&data, RejectReason::NoFlow), rst::<A>(6, 0).packet());
    assert_eq!(stage.halves::<A>(), [0; 4]);
}

fn a_connection_of_another_proxy_goes_on_untouched_where_that_is_asked_for<A: Cast>() {
    for mut stage in [Stage::with_service::<A>(), without_endpoints::<A>()] {
        stage.machine.config.options = ConfigOptions::PASS_UNKNOWN_CONNECTIONS;
        for segment in
            [tcp(client::<A>(), frontend()).ack().data(b"more"), tcp(client(), frontend()).rst()]
        {
            stage.passes::<A>(Ingress, &segment.packet());
        }
        assert_eq!(stage.halves::<A>(), [0; 4]);
        stage.counted(&[]);
    }
    // What opens a connection is ours.
    let mut stage = Stage::with_service::<A>();
    stage.machine.config.options = ConfigOptions::PASS_UNKNOWN_CONNECTIONS;
    stage.translated::<A>(Ingress, &tcp_syn(client::<A>(), frontend()).packet());
}

fn a_large_offloaded_segment_is_answered_with_a_small_rst<A: Cast>() {
    let mut stage = Stage::with_service::<A>();
    let data = tcp(client::<A>(), frontend()).ack().data(&[1; 60_000]).numbered(5, 6);
    let got = stage.refuses::<A>(&data.checksum_by_device().packet(), RejectReason::NoFlow);
    assert_eq!(got, rst::<A>(6, 0).checksum_by_device().packet());
}

fn a_rst_is_not_answered<A: Cast>() {
    let mut stage = Stage::with_service::<A>();
    let packet = tcp(client::<A>(), frontend()).rst().packet();
    stage.drops::<A>(Ingress, &packet, DropReason::RejectUnanswerable);
}

/// The answer to `packet`, whose network header with extensions has `header` bytes.
fn unreachable<A: Cast>(packet: &UserPacket, header: usize) -> Build<A> {
    let quote = &packet.bytes[packet.link_header..][..header + 8];
    let error = icmp_error(frontend::<A>().0, client().0, A::PORT_UNREACHABLE, [0; 4], packet);
    answered(error).data(quote)
}

fn header<A: Cast>() -> usize {
    if size_of::<A>() == 4 { 20 } else { 40 }
}

fn a_datagram_without_endpoints_is_answered_with_port_unreachable<A: Cast>() {
    let mut stage = without_endpoints::<A>();
    for payload in [&b""[..], b"odd", &[0xee; 1400]] {
        let packet = || udp(client::<A>(), frontend()).data(payload);
        let got = stage.refuses::<A>(&packet().packet(), RejectReason::NoEndpoint);
        assert_eq!(got, unreachable::<A>(&packet().packet(), header::<A>()).packet());

        let bare = packet().without_udp_checksum().packet();
        let got = stage.refuses::<A>(&bare, RejectReason::NoEndpoint);
        assert_eq!(got, unreachable::<A>(&bare, header::<A>()).packet());

        let layer3 = packet().layer3().packet();
        let got = stage.refuses::<A>(&layer3, RejectReason::NoEndpoint);
        assert_eq!(got, unreachable::<A>(&layer3, header::<A>()).layer3().packet());

        let long = packet().lengthened().packet();
        let extensions = long.bytes.len() - packet().packet().bytes.len();
        let got = stage.refuses::<A>(&long, RejectReason::NoEndpoint);
        assert_eq!(got, unreachable::<A>(&long, header::<A>() + extensions).packet());
    }
    let chunk = sctp(client::<A>(), frontend()).data(b"init").packet();
    let got = stage.refuses::<A>(&chunk, RejectReason::NoEndpoint);
    assert_eq!(got, unreachable::<A>(&chunk, header::<A>()).packet());
}

fn an_offloaded_datagram_is_answered_with_port_unreachable<A: Cast>() {
    let mut stage = without_endpoints::<A>();
    let packet = udp(client::<A>(), frontend()).data(&[0xee; 100]).checksum_by_device().packet();
    let got = stage.refuses::<A>(&packet, RejectReason::NoEndpoint);
    // The device puts some checksum into the quote. The ICMP checksum must be right all the same,
    // which `refuses` has checked; everything else is as if there were no offload.
    let mut sent = as_sent(&got);
    let mut expected = unreachable::<A>(&packet, header::<A>()).packet();
    let icmp = 14 + header::<A>() + 2;
    let quoted = expected.bytes.len() - 2;
    for checksum in [icmp, quoted] {
        sent.bytes[checksum..checksum + 2].fill(0);
        expected.bytes[checksum..checksum + 2].fill(0);
    }
    assert_eq!(sent, expected);
}

fn port_unreachable_has_a_budget_and_rst_has_none<A: Cast>() {
    let mut stage = without_endpoints::<A>();
    stage.machine.reject_budget.set(1);
    let datagram = udp(client::<A>(), frontend()).packet();
    stage.refuses::<A>(&datagram, RejectReason::NoEndpoint);
    stage.drops::<A>(Ingress, &datagram, DropReason::RejectLimited);
    stage.refuses::<A>(&tcp_syn(client::<A>(), frontend()).packet(), RejectReason::NoEndpoint);
}

fn a_port_that_nobody_defined_is_refused<A: Cast>() {
    let mut stage = Stage::with_service::<A>();
    let elsewhere = (frontend::<A>().0, 81);
    let undefined = RejectReason::UndefinedPort;
    stage.refuses::<A>(&tcp_syn(client::<A>(), elsewhere).packet(), undefined);
    stage.refuses::<A>(&udp(client::<A>(), elsewhere).packet(), undefined);
    stage.refuses::<A>(&tcp(client::<A>(), elsewhere).ack().packet(), undefined);
}

fn a_local_policy_without_local_endpoints_drops<A: Cast>() {
    let mut stage = Stage::with_service::<A>();
    let flags = ServiceFlags::LOCAL_ONLY;
    stage.serve_nobody((cluster_ip::<A>(2), 80), |service| proxy_common::Service {
        cluster: SlotRange { base: 0, count: 1 },
        flags,
        ..service
    });
    stage.serve_nobody((cluster_ip::<A>(3), 80), |service| proxy_common::Service {
        flags,
        ..service
    });
    for to in [tcp_syn(client::<A>(), (cluster_ip(2), 80)), udp(client(), (cluster_ip(2), 80))] {
        stage.drops::<A>(Ingress, &to.packet(), DropReason::NoLocalEndpoint);
    }
    let nobody = tcp_syn(client::<A>(), (cluster_ip(3), 80)).packet();
    stage.refuses::<A>(&nobody, RejectReason::NoEndpoint);
}

fn a_local_policy_uses_the_local_set<A: Cast>() {
    let mut stage = Stage::with_service::<A>();
    let local = (crate::stage::pod::<A>(50), 8080);
    // The local backend's slot comes after the others'.
    stage.serve((cluster_ip::<A>(9), 80), Protocol::TCP, &[local]);
    let base = u32::try_from(stage.machine.slots.len() - 1).unwrap();
    stage.serve_nobody((cluster_ip::<A>(2), 80), |service| proxy_common::Service {
        cluster: SlotRange { base: 0, count: 3 },
        local: SlotRange { base, count: 1 },
        flags: ServiceFlags::LOCAL_ONLY,
        ..service
    });
    for port in 1000..1020 {
        let syn = |to| tcp_syn((client::<A>().0, port), to);
        stage.translates(Ingress, &syn((cluster_ip(2), 80)), &syn(local));
    }
}

fn an_address_of_the_service_range_that_nobody_owns_is_dropped<A: Cast>() {
    let mut stage = Stage::with_service::<A>();
    let config = &mut stage.machine.config;
    config.service_cidrs_v4[0] =
        Prefix { network: V4::new([10, 96, 0, 0]), mask: V4::new([255, 255, 0, 0]) };
    config.service_cidr_count_v4 = 1;
    let mut mask = [0; 16];
    mask[..2].fill(0xff);
    let mut network = [0; 16];
    network[..2].copy_from_slice(&[0xfd, 96]);
    config.service_cidrs_v6[0] = Prefix { network: V6::new(network), mask: V6::new(mask) };
    config.service_cidr_count_v6 = 1;

    let nobodys = cluster_ip::<A>(200);
    let reason = DropReason::UnallocatedClusterIp;
    for marked in [false, true] {
        if marked {
            // Another address may share its bits in the filter.
            stage.machine.mark(nobodys, FilterBits::FRONTEND);
        }
        stage.drops::<A>(Ingress, &tcp_syn(client::<A>(), (nobodys, 80)).packet(), reason);
        stage.drops::<A>(Ingress, &ping(client::<A>().0, nobodys).packet(), reason);
    }
    stage.passes::<A>(Ingress, &tcp_syn(client::<A>(), (A::address(97, 1), 80)).packet());
    stage.translated::<A>(Ingress, &tcp_syn(client::<A>(), frontend()).packet());
}

fn a_cluster_ip_answers_no_ping_and_no_other_protocol<A: Cast>() {
    let mut stage = Stage::with_service::<A>();
    let reason = DropReason::ClusterIpProtocol;
    stage.drops::<A>(Ingress, &ping(client::<A>().0, frontend::<A>().0).packet(), reason);
    let gre = other(client::<A>().0, frontend::<A>().0, Protocol::new(47)).data(&[0; 40]);
    stage.drops::<A>(Ingress, &gre.packet(), reason);
}

fn a_slot_that_leads_nowhere_drops<A: Cast>() {
    let mut stage = Stage::with_service::<A>();
    A::of_mut(&mut stage.machine).backends.clear();
    let syn = tcp_syn(client::<A>(), frontend()).packet();
    stage.drops::<A>(Ingress, &syn, DropReason::BackendMissing);
    stage.machine.slots.clear();
    stage.drops::<A>(Ingress, &syn, DropReason::BackendMissing);
    assert_eq!(stage.halves::<A>(), [0; 4]);
}

fn headers_that_end_early_are_dropped_at_a_cluster_ip<A: Cast>() {
    let mut stage = Stage::with_service::<A>();
    let mut packet = tcp_syn(client::<A>(), frontend()).packet();
    packet.bytes.truncate(14 + header::<A>() + 12);
    stage.drops::<A>(Ingress, &packet, DropReason::Malformed);
    packet.bytes.truncate(14 + header::<A>() - 1);
    stage.passes::<A>(Ingress, &packet);
    let known = Frontend::new(frontend::<A>().0, Be16::new(frontend::<A>().1), Protocol::TCP);
    assert_eq!(A::of(&stage.machine).services[&known].id, service().id);
    stage.passes::<A>(Ingress, &udp(client::<A>(), backend()).packet());
}
