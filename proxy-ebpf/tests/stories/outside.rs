//! Clients outside the node, and pods that use what is meant for them: which endpoints, and whose
//! address the endpoint sees.

use proxy_common::{
    ConfigOptions, Counter, DropReason, FlowFlags, FlowKind, FrontendKind, Protocol, RejectReason,
    ServiceFlags, ServiceId,
};
use proxy_ebpf::{
    env::FlowTable,
    transport::Hook::{Egress, Ingress},
    user::build::{End, sctp, tcp, tcp_syn, udp},
};

use crate::{
    edge::{
        away, cluster_ip, external_ip, frontends, here, load_balancer, node_port, outside, service,
    },
    stage::{Cast, Stage, client, for_both_families, node, ports},
};

for_both_families! {
    an_endpoint_here_sees_its_client
    an_endpoint_on_another_node_sees_this_node
    devices_without_ethernet_masquerade_alike
    datagrams_are_masqueraded_one_way_and_both_ways
    sctp_is_masqueraded_with_its_own_port
    a_local_policy_keeps_clients_outside_here
    a_local_policy_sends_pods_anywhere
    an_internal_local_policy_is_for_the_cluster_ip_alone
    a_cluster_ip_can_be_closed_to_the_outside
    pods_are_not_masqueraded
    with_masquerade_all_the_cluster_ips_clients_are
    clients_with_the_same_port_are_told_apart
    one_client_port_at_two_frontends_stays_apart
    loopback_is_nobodys_address_on_a_device
    a_port_of_the_node_that_is_no_frontends_is_the_hosts
    a_device_nobody_knows_is_a_workloads
}

fn an_endpoint_here_sees_its_client<A: Cast>() {
    for (frontend, _) in frontends::<A>() {
        let mut stage = Stage::edge_with::<A>(ServiceFlags::empty(), &[here()]);
        stage.at_uplink();
        let syn = |to| tcp_syn(outside::<A>(), to);
        stage.translates(Ingress, &syn(frontend), &syn(here()));
        stage.passes::<A>(Egress, &syn(here()).packet());
        let agreed = |from| tcp_syn(from, outside::<A>()).ack();
        stage.passes::<A>(Ingress, &agreed(here()).packet());
        stage.translates(Egress, &agreed(here()), &agreed(frontend));
        stage.counted(&[(Counter::FlowOpened, 1)]);
        assert_eq!(stage.halves::<A>(), [0, 0, 1, 1]);
    }
}

fn an_endpoint_on_another_node_sees_this_node<A: Cast>() {
    for (frontend, _) in frontends::<A>() {
        let mut stage = Stage::edge_with::<A>(ServiceFlags::empty(), &[away()]);
        let seen = stage.connected(outside(), frontend, away());
        assert!((12_000..30_000).contains(&seen.1), "{seen:?}");
        assert_eq!(stage.halves::<A>(), [2, 2, 0, 0]);
        let data = |from, to| tcp::<A>(from, to).ack().data(b"question or answer");
        for _ in 0..3 {
            stage.translates(Ingress, &data(outside(), frontend), &data(outside(), away()));
            stage.translates(Egress, &data(outside(), away()), &data(seen, away()));
            stage.translates(Ingress, &data(away(), seen), &data(away(), outside()));
            stage.translates(Egress, &data(away(), outside()), &data(frontend, outside()));
        }
        stage.counted(&[]);
        let half = |table, from, to| stage.half::<A>(table, from, to, Protocol::TCP);
        let forward = half(FlowTable::Dst, outside(), frontend);
        let masquerade = half(FlowTable::Src, outside(), away());
        assert!(forward.flags.contains(FlowFlags::MASQUERADED));
        assert_eq!(masquerade.kind, FlowKind::Masquerade as u8);
        for half in [
            forward,
            masquerade,
            half(FlowTable::Src, away(), outside()),
            half(FlowTable::Dst, away(), seen),
        ] {
            assert_eq!(half.service, ServiceId::new(7));
            assert_eq!(half.backend.get(), 1);
        }
    }
}

fn devices_without_ethernet_masquerade_alike<A: Cast>() {
    let stage = Stage::edge_with::<A>(ServiceFlags::empty(), &[away()]);
    stage.at_uplink();
    let (there, back) = (
        |from, to| tcp_syn::<A>(from, to).layer3().checksum_by_device().lengthened(),
        |from, to| tcp_syn::<A>(from, to).ack().layer3().lengthened(),
    );
    let (client, frontend) = (outside::<A>(), node_port::<A>());
    stage.translates(Ingress, &there(client, frontend), &there(client, away()));
    let seen = stage.masquerades(&tcp_syn(client, away()));
    stage.translates(Egress, &there(client, away()), &there(seen, away()));
    stage.translates(Ingress, &back(away(), seen), &back(away(), client));
    stage.translates(Egress, &back(away(), client), &back(frontend, client));
}

fn datagrams_are_masqueraded_one_way_and_both_ways<A: Cast>() {
    let mut stage = Stage::edge_with::<A>(ServiceFlags::empty(), &[away()]);
    stage.at_uplink();
    let datagram = |from, to| udp::<A>(from, to).data(b"odd").without_udp_checksum();
    let (client, frontend) = (outside(), load_balancer());
    stage.translates(Ingress, &datagram(client, frontend), &datagram(client, away()));
    let seen = stage.masquerades(&datagram(client, away()));
    for _ in 0..3 {
        stage.translates(Ingress, &datagram(client, frontend), &datagram(client, away()));
        stage.translates(Egress, &datagram(client, away()), &datagram(seen, away()));
    }
    assert_eq!(stage.halves::<A>(), [0, 0, 2, 2]);
    stage.translates(Ingress, &datagram(away(), seen), &datagram(away(), client));
    stage.translates(Egress, &datagram(away(), client), &datagram(frontend, client));
    stage.translates(Ingress, &datagram(client, frontend), &datagram(client, away()));
    stage.translates(Egress, &datagram(client, away()), &datagram(seen, away()));
    assert_eq!(stage.halves::<A>(), [2, 2, 0, 0]);
    stage.counted(&[(Counter::FlowOpened, 1), (Counter::FlowSettled, 1)]);
}

fn sctp_is_masqueraded_with_its_own_port<A: Cast>() {
    let mut stage = Stage::edge::<A>();
    let same_port = (away::<A>().0, load_balancer::<A>().1);
    let kind = FrontendKind::LoadBalancer;
    stage.offer(load_balancer(), service(kind, ServiceFlags::empty()), &[same_port]);
    stage.at_uplink();
    let chunk = |from, to| sctp::<A>(from, to).data(b"chunk");
    let (client, seen) = (outside(), (node(), outside::<A>().1));
    stage.translates(Ingress, &chunk(client, load_balancer()), &chunk(client, same_port));
    stage.translates(Egress, &chunk(client, same_port), &chunk(seen, same_port));
    stage.translates(Ingress, &chunk(same_port, seen), &chunk(same_port, client));
    stage.translates(Egress, &chunk(same_port, client), &chunk(load_balancer(), client));
    // Another client with the same port would look the same to the endpoint.
    let other = (A::address(7, 2), outside::<A>().1);
    stage.translates(Ingress, &chunk(other, load_balancer()), &chunk(other, same_port));
    stage.counted(&[(Counter::FlowOpened, 2)]);
    let reason = DropReason::MasqueradePortsExhausted;
    stage.drops::<A>(Egress, &chunk(other, same_port).packet(), reason);
}

const LOCAL: ServiceFlags = ServiceFlags::LOCAL_ONLY;

fn a_local_policy_keeps_clients_outside_here<A: Cast>() {
    for frontend in [external_ip::<A>(), load_balancer(), node_port()] {
        let mut stage = Stage::edge_with::<A>(LOCAL, &[away(), here(), (away::<A>().0, 9000)]);
        stage.at_uplink();
        for port in 1000..1020 {
            let syn = |to| tcp_syn((outside::<A>().0, port), to);
            stage.translates(Ingress, &syn(frontend), &syn(here()));
        }
        stage.counted(&[(Counter::FlowOpened, 20)]);
        let mut stage = Stage::edge_with::<A>(LOCAL, &[away()]);
        stage.at_uplink();
        let syn = tcp_syn(outside::<A>(), frontend).packet();
        stage.drops::<A>(Ingress, &syn, DropReason::NoLocalEndpoint);
        let mut stage = Stage::edge_with::<A>(LOCAL, &[]);
        stage.at_uplink();
        stage.refuses::<A>(&syn, RejectReason::NoEndpoint);
    }
}

fn a_local_policy_sends_pods_anywhere<A: Cast>() {
    for frontend in [external_ip::<A>(), load_balancer(), node_port()] {
        let mut stage = Stage::edge_with::<A>(LOCAL, &[away()]);
        stage.at_workload();
        let syn = |to| tcp_syn(client::<A>(), to);
        stage.translates(Ingress, &syn(frontend), &syn(away()));
        stage.passes::<A>(Egress, &syn(away()).packet());
        stage.counted(&[(Counter::FlowOpened, 1)]);
    }
}

fn an_internal_local_policy_is_for_the_cluster_ip_alone<A: Cast>() {
    let mut stage = Stage::edge_with::<A>(ServiceFlags::empty(), &[away()]);
    stage.offer(cluster_ip::<A>(), service(FrontendKind::ClusterIp, LOCAL), &[away()]);
    for at_uplink in [false, true] {
        let _ = if at_uplink { stage.at_uplink() } else { stage.at_workload() };
        let syn = |to| tcp_syn(client::<A>(), to).packet();
        stage.drops::<A>(Ingress, &syn(cluster_ip()), DropReason::NoLocalEndpoint);
    }
    for at_uplink in [false, true] {
        let _ = if at_uplink { stage.at_uplink() } else { stage.at_workload() };
        stage.translated::<A>(Ingress, &tcp_syn(client::<A>(), node_port()).packet());
    }
}

fn a_cluster_ip_can_be_closed_to_the_outside<A: Cast>() {
    for endpoints in [&[here::<A>()][..], &[]] {
        let mut stage = Stage::edge_with::<A>(ServiceFlags::empty(), endpoints);
        stage.machine.config.options = ConfigOptions::REFUSE_EXTERNAL_CLUSTER_IP;
        stage.at_uplink();
        for packet in [tcp_syn(outside::<A>(), cluster_ip()), udp(outside(), cluster_ip())] {
            stage.refuses::<A>(&packet.packet(), RejectReason::ExternalClusterIp);
        }
    }
    let mut stage = Stage::edge_with::<A>(ServiceFlags::empty(), &[here()]);
    stage.machine.config.options = ConfigOptions::REFUSE_EXTERNAL_CLUSTER_IP;
    stage.at_uplink().translated::<A>(Ingress, &tcp_syn(outside::<A>(), node_port()).packet());
    stage.at_workload().translated::<A>(Ingress, &tcp_syn(client::<A>(), cluster_ip()).packet());
    stage.counted(&[(Counter::FlowOpened, 2)]);
}

fn pods_are_not_masqueraded<A: Cast>() {
    for (frontend, _) in frontends::<A>() {
        let stage = Stage::edge_with::<A>(ServiceFlags::empty(), &[away()]);
        stage.at_workload();
        let syn = |to| tcp_syn(client::<A>(), to);
        stage.translates(Ingress, &syn(frontend), &syn(away()));
        stage.passes::<A>(Egress, &syn(away()).packet());
        let agreed = |from| tcp_syn(from, client::<A>()).ack();
        stage.translates(Egress, &agreed(away()), &agreed(frontend));
    }
}

fn with_masquerade_all_the_cluster_ips_clients_are<A: Cast>() {
    for endpoint in [here::<A>(), away()] {
        let mut stage = Stage::edge_with::<A>(LOCAL, &[here(), away()]);
        stage.machine.config.options = ConfigOptions::MASQUERADE_ALL;
        stage.offer(
            cluster_ip(),
            service(FrontendKind::ClusterIp, ServiceFlags::empty()),
            &[endpoint],
        );
        stage.at_workload();
        let syn = |from, to| tcp_syn::<A>(from, to);
        stage.translates(Ingress, &syn(client(), cluster_ip()), &syn(client(), endpoint));
        let seen = stage.masquerades(&syn(client(), endpoint));
        assert_eq!(seen.0, node());
        // The policy of the other frontends promises the client's address.
        stage.at_uplink();
        stage.translates(Ingress, &syn(outside(), node_port()), &syn(outside(), here()));
        stage.passes::<A>(Egress, &syn(outside(), here()).packet());
    }
}

fn clients_with_the_same_port_are_told_apart<A: Cast>() {
    let mut stage = Stage::edge_with::<A>(ServiceFlags::empty(), &[away()]);
    let one = (A::address(7, 1), 50_000);
    let other = (A::address(7, 2), 50_000);
    let (ones, others) =
        (stage.connected(one, node_port(), away()), stage.connected(other, node_port(), away()));
    assert_ne!(ones, others);
    let data = |from, to| tcp::<A>(from, to).ack().data(b"for whom?");
    for (client, seen) in [(one, ones), (other, others)] {
        stage.translates(Ingress, &data(away(), seen), &data(away(), client));
        stage.translates(Egress, &data(away(), client), &data(node_port(), client));
    }
}

fn one_client_port_at_two_frontends_stays_apart<A: Cast>() {
    let mut stage = Stage::edge_with::<A>(ServiceFlags::empty(), &[away()]);
    let first = stage.connected(outside(), node_port(), away());
    let syn = tcp_syn(outside::<A>(), load_balancer());
    let out = stage.translated::<A>(Ingress, &syn.packet());
    let moved = (outside::<A>().0, ports::<A>(&out).0);
    assert_ne!(moved, outside());
    assert_eq!(out, tcp_syn(moved, away()).packet());
    let second = stage.masquerades(&tcp_syn(moved, away()));
    assert_ne!(first, second);
    let agreed = |from, to| tcp_syn::<A>(from, to).ack();
    stage.translates(Ingress, &agreed(away(), second), &agreed(away(), moved));
    stage.translates(Egress, &agreed(away(), moved), &agreed(load_balancer(), outside()));
    let data = |from, to| tcp::<A>(from, to).ack().data(b"to the first");
    stage.translates(Ingress, &data(away(), first), &data(away(), outside()));
    stage.translates(Egress, &data(away(), outside()), &data(node_port(), outside()));
}

fn loopback_is_nobodys_address_on_a_device<A: Cast>() {
    let mut loopback = vec![0; size_of::<A>()];
    if loopback.len() == 4 {
        loopback[0] = 127;
    }
    *loopback.last_mut().unwrap() = 1;
    let loopback: End<A> = (bytemuck::pod_read_unaligned(&loopback), node_port::<A>().1);
    let mut stage = Stage::edge::<A>();
    let kind = FrontendKind::NodePort;
    stage.offer(loopback, service(kind, ServiceFlags::empty()), &[here()]);
    for stage in [stage.at_uplink(), stage.at_workload()] {
        stage.passes::<A>(Ingress, &tcp_syn(outside::<A>(), loopback).packet());
        stage.passes::<A>(Ingress, &udp(outside::<A>(), loopback).packet());
    }
}

fn a_port_of_the_node_that_is_no_frontends_is_the_hosts<A: Cast>() {
    let stage = Stage::edge_with::<A>(ServiceFlags::empty(), &[away()]);
    stage.at_uplink();
    for port in [22, 30_081, 61_234] {
        let to = (node::<A>(), port);
        stage.passes::<A>(Ingress, &tcp_syn(outside::<A>(), to).packet());
        stage.passes::<A>(Ingress, &tcp(outside::<A>(), to).ack().data(b"x").packet());
        stage.passes::<A>(Ingress, &udp(outside::<A>(), to).packet());
    }
    // Where the filter takes every address for a frontend's, the marker's key is none all the same.
    let stage = stage.with_blind_filter::<A>();
    let unspecified: End<A> = (A::zeroed(), node_port::<A>().1);
    stage.at_uplink().passes::<A>(Ingress, &tcp_syn(outside::<A>(), unspecified).packet());
}

fn a_device_nobody_knows_is_a_workloads<A: Cast>() {
    // The default of the machine is what the kernel's side says of an unknown device.
    let stage = Stage::edge_with::<A>(LOCAL, &[away()]);
    let syn = |to| tcp_syn(client::<A>(), to);
    stage.translates(Ingress, &syn(node_port()), &syn(away()));
}
