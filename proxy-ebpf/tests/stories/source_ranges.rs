//! `loadBalancerSourceRanges`: who may use a load balancer's address.

use proxy_common::{Counter, DropReason, FrontendKind, ServiceFlags, ServiceId, SourceRangeKey};
use proxy_ebpf::{
    transport::Hook::{Egress, Ingress},
    user::build::{tcp, tcp_syn, udp},
};

use crate::{
    edge::{cluster_ip, frontends, here, load_balancer, outside, service},
    stage::{Cast, Stage, client, for_both_families},
};

for_both_families! {
    a_source_in_a_range_is_admitted_and_others_are_dropped
    ranges_of_another_service_admit_nobody
    pods_are_filtered_like_anyone
    a_blocked_source_is_dropped_even_without_endpoints
    other_frontends_are_not_filtered
    the_frontends_own_address_is_admitted_where_the_node_is
    without_a_range_nobody_is_admitted
    connections_outlive_their_range
}

const FILTERED: ServiceFlags = ServiceFlags::SOURCE_RANGES;

/// Admits the net (of two bytes in either family) that `address` is in.
fn admit<A: Cast>(stage: &mut Stage, service: u32, address: A, bits: u32) {
    let mut bytes = bytemuck::bytes_of(&address).to_vec();
    for (index, byte) in (0_u32..).zip(&mut bytes) {
        let kept = bits.saturating_sub(index * 8).min(8);
        *byte &= u8::try_from((0xff00_u16 >> kept) & 0xff).unwrap_or(0);
    }
    let network = bytemuck::pod_read_unaligned(&bytes);
    let range = SourceRangeKey::of_range(ServiceId::new(service), network, bits);
    A::of_mut(&mut stage.machine).source_ranges.insert(range);
}

fn stage<A: Cast>(flags: ServiceFlags) -> Stage {
    let mut stage = Stage::edge::<A>();
    for (at, kind) in frontends::<A>() {
        let is_filtered = kind == FrontendKind::LoadBalancer;
        let flags = if is_filtered { flags } else { ServiceFlags::empty() };
        stage.offer(at, service(kind, flags), &[here()]);
    }
    stage
}

fn a_source_in_a_range_is_admitted_and_others_are_dropped<A: Cast>() {
    let whole = u32::try_from(size_of::<A>() * 8).unwrap();
    for bits in [0, 1, 15, 16, whole - 1, whole] {
        let mut stage = stage::<A>(FILTERED);
        admit(&mut stage, 7, outside::<A>().0, bits);
        stage.at_uplink();
        for packet in [tcp_syn(outside::<A>(), load_balancer()), udp(outside(), load_balancer())] {
            stage.translated::<A>(Ingress, &packet.packet());
        }
        stage.counted(&[(Counter::FlowOpened, 2)]);
        let stranger = (A::address(203, 200), 50_000);
        for packet in [
            tcp_syn(stranger, load_balancer::<A>()),
            tcp(stranger, load_balancer()).ack(),
            udp(stranger, load_balancer()),
        ] {
            if bits < 2 {
                continue;
            }
            stage.drops::<A>(Ingress, &packet.packet(), DropReason::SourceRange);
        }
    }
}

fn ranges_of_another_service_admit_nobody<A: Cast>() {
    let mut stage = stage::<A>(FILTERED);
    admit(&mut stage, 8, outside::<A>().0, 8);
    stage.at_uplink();
    let syn = tcp_syn(outside::<A>(), load_balancer()).packet();
    stage.drops::<A>(Ingress, &syn, DropReason::SourceRange);
}

fn pods_are_filtered_like_anyone<A: Cast>() {
    let mut stage = stage::<A>(FILTERED);
    admit(&mut stage, 7, outside::<A>().0, 16);
    stage.at_workload();
    let syn = |to| tcp_syn(client::<A>(), to).packet();
    // In IPv4 the pods are in another net of two bytes, in IPv6 as well.
    stage.drops::<A>(Ingress, &syn(load_balancer()), DropReason::SourceRange);
    admit(&mut stage, 7, client::<A>().0, 16);
    stage.translated::<A>(Ingress, &syn(load_balancer()));
}

fn a_blocked_source_is_dropped_even_without_endpoints<A: Cast>() {
    let mut stage = Stage::edge::<A>();
    let kind = FrontendKind::LoadBalancer;
    stage.offer::<A>(load_balancer(), service(kind, FILTERED), &[]);
    stage.at_uplink();
    let syn = tcp_syn(outside::<A>(), load_balancer()).packet();
    stage.drops::<A>(Ingress, &syn, DropReason::SourceRange);
}

fn other_frontends_are_not_filtered<A: Cast>() {
    let stage = stage::<A>(FILTERED);
    stage.at_uplink();
    for (frontend, kind) in frontends::<A>() {
        if kind != FrontendKind::LoadBalancer {
            stage.translated::<A>(Ingress, &tcp_syn(outside::<A>(), frontend).packet());
        }
    }
}

fn the_frontends_own_address_is_admitted_where_the_node_is<A: Cast>() {
    let itself = (load_balancer::<A>().0, 40_000);
    let mut closed = stage::<A>(FILTERED);
    let syn = tcp_syn(itself, load_balancer()).packet();
    closed.drops::<A>(Ingress, &syn, DropReason::SourceRange);
    let mut open = stage::<A>(FILTERED.union(ServiceFlags::NODE_ADMITTED));
    open.translated::<A>(Ingress, &syn);
    let other = tcp_syn((cluster_ip::<A>().0, 40_000), load_balancer()).packet();
    open.counted(&[(Counter::FlowOpened, 1)]);
    open.drops::<A>(Ingress, &other, DropReason::SourceRange);
}

fn without_a_range_nobody_is_admitted<A: Cast>() {
    let mut stage = stage::<A>(FILTERED);
    assert!(A::of(&stage.machine).source_ranges.is_empty());
    for client in [outside::<A>(), client()] {
        let syn = tcp_syn(client, load_balancer()).packet();
        stage.drops::<A>(Ingress, &syn, DropReason::SourceRange);
    }
}

fn connections_outlive_their_range<A: Cast>() {
    let mut stage = stage::<A>(FILTERED);
    admit(&mut stage, 7, outside::<A>().0, 16);
    stage.at_uplink();
    let (client, frontend) = (outside::<A>(), load_balancer::<A>());
    stage.translated::<A>(Ingress, &tcp_syn(client, frontend).packet());
    stage.translated::<A>(Egress, &tcp_syn(here(), client).ack().packet());
    stage.translated::<A>(Ingress, &tcp(client, frontend).ack().packet());
    A::of_mut(&mut stage.machine).source_ranges.clear();
    let data = |to| tcp(client, to).ack().data(b"still here");
    stage.translates(Ingress, &data(frontend), &data(here()));
    stage.counted(&[(Counter::FlowOpened, 1), (Counter::FlowSettled, 1)]);
    let next = tcp_syn((client.0, 50_001), frontend).packet();
    stage.drops::<A>(Ingress, &next, DropReason::SourceRange);
}
