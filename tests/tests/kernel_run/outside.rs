//! Clients outside, byte by byte: NodePorts, load balancers and external IPs, masqueraded and not.

use anyhow::Result;
use lab::kernel_run::{KernelFamily, KernelMachine, KernelVerdict, Sizes};
use proxy_common::{ConfigOptions, Counter, DeviceRole, DropReason, RejectReason};
use proxy_ebpf::{
    env::FlowTable,
    transport::Hook::{Egress, Ingress},
    user::{
        Machine, UserPacket,
        build::{Build, End, icmp_error, tcp, tcp_syn, udp},
    },
};

use crate::{
    byte_exact::{becomes, counted, translates},
    for_both_families,
    world::{
        away, backend, client, external_ip, frontend, load_balancer, machine, node, node_port,
        outside,
    },
};

for_both_families! {
    a_node_port_to_another_node_with_and_without_an_ethernet_header
    datagrams_to_a_load_balancer_and_their_fragments
    a_local_policy_keeps_the_client
    errors_about_masqueraded_flows
    refusals_and_drops
    a_connection_that_has_ended_leaves_nothing
    a_tag_in_the_packet_is_not_ours
}

/// The datapath in the kernel with `machine` programmed, and its device an uplink.
pub(crate) fn uplink_of<A: KernelFamily>(machine: &Machine) -> Result<KernelMachine> {
    let mut kernel = KernelMachine::load(Sizes::default())?;
    machine.role.set(DeviceRole::Uplink);
    kernel.program::<A>(machine)?;
    Ok(kernel)
}

fn uplink<A: KernelFamily>() -> Result<KernelMachine> {
    uplink_of::<A>(&machine::<A>())
}

/// Sends `packet` out; what the endpoint sees as its source.
#[track_caller]
fn masquerades<A: KernelFamily>(kernel: &KernelMachine, packet: &UserPacket) -> End<A> {
    let (verdict, out) = kernel.run(Egress, packet).unwrap();
    assert_eq!(verdict, KernelVerdict::GoesOn);
    let at = out.link_header + if A::WORDS == 1 { 20 } else { 40 };
    (node(), u16::from_be_bytes([out.bytes[at], out.bytes[at + 1]]))
}

fn a_node_port_to_another_node_with_and_without_an_ethernet_header<A: KernelFamily>() -> Result<()>
{
    for layer3 in [false, true] {
        let mut kernel = uplink::<A>()?;
        let device = |packet: Build<A>| if layer3 { packet.layer3() } else { packet };
        let (client, frontend) = (outside::<A>(), node_port::<A>());
        let syn = |from, to| device(tcp_syn::<A>(from, to));
        translates(&kernel, Ingress, &syn(client, frontend), &syn(client, away()));
        let seen = masquerades::<A>(&kernel, &syn(client, away()).packet());
        assert!((12_000..30_000).contains(&seen.1), "{seen:?}");
        translates(&kernel, Egress, &syn(client, away()), &syn(seen, away()));
        let agreed = |from, to| device(tcp_syn::<A>(from, to).ack());
        translates(&kernel, Ingress, &agreed(away(), seen), &agreed(away(), client));
        translates(&kernel, Egress, &agreed(away(), client), &agreed(frontend, client));
        let data = |from, to| device(tcp::<A>(from, to).ack().data(&[7; 1200]).lengthened());
        for _ in 0..2 {
            translates(&kernel, Ingress, &data(client, frontend), &data(client, away()));
            translates(&kernel, Egress, &data(client, away()), &data(seen, away()));
            translates(&kernel, Ingress, &data(away(), seen), &data(away(), client));
            translates(&kernel, Egress, &data(away(), client), &data(frontend, client));
        }
        counted(&mut kernel, &[(Counter::FlowOpened, 1), (Counter::FlowSettled, 1)]);
        let halves = |kernel: &mut KernelMachine, table| kernel.flows::<A>(table).unwrap().len();
        for (table, expected) in [
            (FlowTable::Dst, 2),
            (FlowTable::Src, 2),
            (FlowTable::NewDst, 0),
            (FlowTable::NewSrc, 0),
        ] {
            assert_eq!(halves(&mut kernel, table), expected, "{table:?}");
        }
    }
    Ok(())
}

fn datagrams_to_a_load_balancer_and_their_fragments<A: KernelFamily>() -> Result<()> {
    let mut kernel = uplink::<A>()?;
    let (client, frontend) = (outside::<A>(), load_balancer::<A>());
    let bare = |from, to| udp::<A>(from, to).data(b"odd").without_udp_checksum();
    translates(&kernel, Ingress, &bare(client, frontend), &bare(client, away()));
    let seen = masquerades::<A>(&kernel, &bare(client, away()).packet());
    translates(&kernel, Egress, &bare(client, away()), &bare(seen, away()));
    let fragments = |from, to| udp::<A>(from, to).data(&[9; 1400]).fragments(0xbeef, 512);
    for (hook, (from, to), (new_from, new_to)) in [
        (Ingress, (client, frontend), (client, away())),
        (Egress, (client, away()), (seen, away())),
        (Ingress, (away(), seen), (away(), client)),
        (Egress, (away(), client), (frontend, client)),
    ] {
        for (packet, expected) in fragments(from, to).iter().zip(fragments(new_from, new_to)) {
            becomes(&kernel, hook, packet, &expected);
        }
    }
    counted(&mut kernel, &[(Counter::FlowOpened, 1)]);
    Ok(())
}

fn a_local_policy_keeps_the_client<A: KernelFamily>() -> Result<()> {
    let mut kernel = uplink::<A>()?;
    for port in 1000..1010 {
        let client = (outside::<A>().0, port);
        let syn = |to| tcp_syn(client, to);
        translates(&kernel, Ingress, &syn(external_ip()), &syn(backend()));
        let out = syn(backend()).packet();
        becomes(&kernel, Egress, &out, &out);
        let agreed = |from| tcp_syn(from, client).ack();
        translates(&kernel, Egress, &agreed(backend()), &agreed(external_ip()));
    }
    counted(&mut kernel, &[(Counter::FlowOpened, 10)]);
    // Pods may go anywhere, with their own address.
    kernel.put_device::<A>(&machine::<A>(), DeviceRole::Workload)?;
    let goes_to = |port| -> Result<A> {
        let syn = tcp_syn((client::<A>().0, port), external_ip()).packet();
        let (_, out) = kernel.run(Ingress, &syn)?;
        let [here, there] = [backend::<A>(), away()].map(|to| tcp_syn((client::<A>().0, port), to));
        assert!(out == here.packet() || out == there.packet(), "{out:?}");
        let chosen = if out == here.packet() { backend::<A>() } else { away() };
        becomes(&kernel, Egress, &out, &out);
        Ok(chosen.0)
    };
    let chosen: Vec<A> = (2000..2040).map(goes_to).collect::<Result<_>>()?;
    assert!(chosen.contains(&away::<A>().0) && chosen.contains(&backend::<A>().0));
    Ok(())
}

fn errors_about_masqueraded_flows<A: KernelFamily>() -> Result<()> {
    let mut kernel = uplink::<A>()?;
    let (client, frontend) = (outside::<A>(), node_port::<A>());
    let question = |from, to| udp::<A>(from, to).data(&[1; 900]);
    translates(&kernel, Ingress, &question(client, frontend), &question(client, away()));
    let seen = masquerades::<A>(&kernel, &question(client, away()).packet());
    let router = A::address(2, 254);
    let error = |kind: (u8, u8), rest, from: A, to: A, about: Build<A>| {
        icmp_error(from, to, kind, rest, &about.packet())
    };
    let too_big = |from, to, about| error(A::TOO_BIG, [0, 0, 5, 0], from, to, about);
    let nobody = |from, to, about| error(A::PORT_UNREACHABLE, [0; 4], from, to, about);
    // About the question: on its way to the endpoint, and by the endpoint itself.
    translates(
        &kernel,
        Ingress,
        &too_big(router, node(), question(seen, away())),
        &too_big(router, client.0, question(client, away())),
    );
    translates(
        &kernel,
        Egress,
        &too_big(router, client.0, question(client, away())),
        &too_big(router, client.0, question(client, frontend)),
    );
    translates(
        &kernel,
        Ingress,
        &nobody(away::<A>().0, node(), question(seen, away())),
        &nobody(away::<A>().0, client.0, question(client, away())),
    );
    translates(
        &kernel,
        Egress,
        &nobody(away::<A>().0, client.0, question(client, away())),
        &nobody(frontend.0, client.0, question(client, frontend)),
    );
    // About the answer: on its way to the client, and by the client itself.
    for (source, speaks) in [(router, router), (client.0, node())] {
        translates(
            &kernel,
            Ingress,
            &too_big(source, frontend.0, question(frontend, client)),
            &too_big(source, away::<A>().0, question(away(), client)),
        );
        translates(
            &kernel,
            Egress,
            &too_big(source, away::<A>().0, question(away(), client)),
            &too_big(speaks, away::<A>().0, question(away(), seen)),
        );
    }
    counted(&mut kernel, &[(Counter::FlowOpened, 1)]);
    Ok(())
}

fn refusals_and_drops<A: KernelFamily>() -> Result<()> {
    let machine = machine::<A>();
    let mut kernel = uplink_of::<A>(&machine)?;
    let verdict = |kernel: &KernelMachine, packet: &Build<A>| kernel.run(Ingress, &packet.packet());
    let stranger = (A::address(8, 1), 50_000);
    let (drop, verdict_of) = (KernelVerdict::Dropped, verdict);
    assert_eq!(verdict_of(&kernel, &tcp_syn(stranger, load_balancer()))?.0, drop);
    assert_eq!(verdict_of(&kernel, &udp(stranger, load_balancer()))?.0, drop);
    // An undefined port of an address that isn't a ClusterIP, and of the node: the host's.
    for to in [(load_balancer::<A>().0, 81), (node(), 22)] {
        let packet = tcp_syn(outside::<A>(), to).packet();
        becomes(&kernel, Ingress, &packet, &packet);
    }
    let stray = tcp(outside::<A>(), node_port()).ack().data(b"x");
    assert_eq!(verdict_of(&kernel, &stray)?.0, KernelVerdict::SentBack);
    counted(
        &mut kernel,
        &[(Counter::Drop(DropReason::SourceRange), 2), (Counter::Reject(RejectReason::NoFlow), 1)],
    );
    let mut closed = machine;
    closed.config.options = ConfigOptions::REFUSE_EXTERNAL_CLUSTER_IP;
    let mut kernel = uplink_of::<A>(&closed)?;
    let syn = tcp_syn(outside::<A>(), frontend()).numbered(41, 0);
    let answered = |answer: Build<A>| answer.hop_limit(64).identification(0).returned().window(0);
    let rst = answered(tcp(frontend(), outside()).rst().ack().numbered(0, 42));
    assert_eq!(verdict_of(&kernel, &syn)?, (KernelVerdict::SentBack, rst.packet()));
    kernel.put_device::<A>(&closed, DeviceRole::Workload)?;
    translates(&kernel, Ingress, &syn, &tcp_syn(outside(), backend()).numbered(41, 0));
    counted(
        &mut kernel,
        &[(Counter::Reject(RejectReason::ExternalClusterIp), 1), (Counter::FlowOpened, 1)],
    );
    Ok(())
}

fn a_connection_that_has_ended_leaves_nothing<A: KernelFamily>() -> Result<()> {
    let mut kernel = uplink::<A>()?;
    let (client, frontend) = (outside::<A>(), node_port::<A>());
    let syn = |from, to| tcp_syn::<A>(from, to);
    let ack = |from, to| tcp::<A>(from, to).ack();
    let rst = |from, to| tcp::<A>(from, to).rst();
    for _ in 0..3 {
        translates(&kernel, Ingress, &syn(client, frontend), &syn(client, away()));
        let seen = masquerades::<A>(&kernel, &syn(client, away()).packet());
        translates(&kernel, Ingress, &syn(away(), seen).ack(), &syn(away(), client).ack());
        translates(&kernel, Egress, &syn(away(), client).ack(), &syn(frontend, client).ack());
        translates(&kernel, Ingress, &ack(client, frontend), &ack(client, away()));
        translates(&kernel, Egress, &ack(client, away()), &ack(seen, away()));
        translates(&kernel, Ingress, &rst(away(), seen), &rst(away(), client));
        translates(&kernel, Egress, &rst(away(), client), &rst(frontend, client));
    }
    translates(&kernel, Ingress, &syn(client, frontend), &syn(client, away()));
    assert!(kernel.flows::<A>(FlowTable::Dst)?.is_empty());
    assert!(kernel.flows::<A>(FlowTable::Src)?.is_empty());
    counted(&mut kernel, &[(Counter::FlowOpened, 4), (Counter::FlowSettled, 3)]);
    Ok(())
}

fn a_tag_in_the_packet_is_not_ours<A: KernelFamily>() -> Result<()> {
    let kernel = uplink::<A>()?;
    let mut tagged = tcp_syn(outside::<A>(), node_port()).packet();
    tagged.bytes.splice(12..12, [0x81, 0x00, 0x00, 0x2a]);
    for hook in [Ingress, Egress] {
        becomes(&kernel, hook, &tagged, &tagged);
    }
    Ok(())
}
