//! Packets whose every byte is known beforehand.

use anyhow::Result;
use lab::kernel_run::{KernelFamily, KernelMachine, KernelVerdict, Sizes};
use proxy_common::{Counter, DropReason, RejectReason};
use proxy_ebpf::{
    env::FlowTable,
    transport::Hook::{self, Egress, Ingress},
    user::{
        UserPacket,
        build::{Build, icmp_error, ping, tcp, tcp_syn, udp},
        check::check,
    },
};

use crate::{
    for_both_families,
    world::{backend, client, dead_frontend, frontend, machine, remote_frontend},
};

for_both_families! {
    a_connection_with_and_without_an_ethernet_header
    datagrams_and_their_fragments
    refusals
    drops
    icmp_errors
    what_is_no_services_is_untouched
}

fn kernel<A: KernelFamily>() -> Result<KernelMachine> {
    let mut kernel = KernelMachine::load(Sizes::default())?;
    kernel.program::<A>(&machine::<A>())?;
    Ok(kernel)
}

#[track_caller]
pub(crate) fn becomes(
    kernel: &KernelMachine,
    hook: Hook,
    packet: &UserPacket,
    expected: &UserPacket,
) {
    let (verdict, out) = kernel.run(hook, packet).unwrap();
    assert_eq!((verdict, &out), (KernelVerdict::GoesOn, expected));
    assert_eq!(check(&out), Ok(()));
}

#[track_caller]
pub(crate) fn translates<A: KernelFamily>(
    kernel: &KernelMachine,
    hook: Hook,
    packet: &Build<A>,
    expected: &Build<A>,
) {
    becomes(kernel, hook, &packet.packet(), &expected.packet());
}

/// Exactly these counters have moved since the datapath was loaded.
#[track_caller]
pub(crate) fn counted(kernel: &mut KernelMachine, expected: &[(Counter, u64)]) {
    let counters = kernel.counters().unwrap();
    let moved = (0_u32..).zip(counters).filter(|(_, value)| *value > 0);
    let mut expected: Vec<_> =
        expected.iter().map(|(counter, value)| (counter.index(), *value)).collect();
    expected.sort_unstable();
    assert_eq!(moved.collect::<Vec<_>>(), expected);
}

fn a_connection_with_and_without_an_ethernet_header<A: KernelFamily>() -> Result<()> {
    for layer3 in [false, true] {
        let mut kernel = kernel::<A>()?;
        let device = |packet: Build<A>| if layer3 { packet.layer3() } else { packet };
        let syn = |to| device(tcp_syn(client::<A>(), to));
        let agreed = |from| device(tcp_syn(from, client::<A>()).ack());
        let data = |to| device(tcp(client::<A>(), to).ack().data(&[7; 1200]));
        let answer = |from| device(tcp(from, client::<A>()).ack().data(b"answer").lengthened());
        translates(&kernel, Ingress, &syn(frontend()), &syn(backend()));
        translates(&kernel, Egress, &agreed(backend()), &agreed(frontend()));
        translates(&kernel, Ingress, &data(frontend()), &data(backend()));
        translates(&kernel, Egress, &answer(backend()), &answer(frontend()));
        translates(&kernel, Ingress, &data(frontend()), &data(backend()));
        counted(&mut kernel, &[(Counter::FlowOpened, 1), (Counter::FlowSettled, 1)]);
        let forward = kernel.flows::<A>(FlowTable::Dst)?;
        let reply = kernel.flows::<A>(FlowTable::Src)?;
        assert_eq!((forward.len(), reply.len()), (1, 1));
        assert_eq!(forward.values().map(|flow| flow.packets).sum::<u64>(), 3);
        assert!(kernel.flows::<A>(FlowTable::NewDst)?.is_empty());
        assert!(kernel.flows::<A>(FlowTable::NewSrc)?.is_empty());
    }
    Ok(())
}

fn datagrams_and_their_fragments<A: KernelFamily>() -> Result<()> {
    let mut kernel = kernel::<A>()?;
    let bare = |from, to| udp::<A>(from, to).data(b"odd").without_udp_checksum();
    translates(&kernel, Ingress, &bare(client(), frontend()), &bare(client(), backend()));
    translates(&kernel, Egress, &bare(backend(), client()), &bare(frontend(), client()));
    let fragments = |from, to| udp::<A>(from, to).data(&[9; 1400]).fragments(0xbeef, 512);
    for (packet, expected) in
        fragments(client(), frontend()).iter().zip(fragments(client(), backend()))
    {
        becomes(&kernel, Ingress, packet, &expected);
    }
    for (packet, expected) in
        fragments(backend(), client()).iter().zip(fragments(frontend(), client()))
    {
        becomes(&kernel, Egress, packet, &expected);
    }
    counted(&mut kernel, &[(Counter::FlowOpened, 1), (Counter::FlowSettled, 1)]);
    Ok(())
}

fn refusals<A: KernelFamily>() -> Result<()> {
    let mut kernel = kernel::<A>()?;
    let answered = |answer: Build<A>| answer.hop_limit(64).identification(0).returned().window(0);
    for lengthened in [false, true] {
        let longer = |packet: Build<A>| if lengthened { packet.lengthened() } else { packet };
        let syn = longer(tcp_syn(client::<A>(), dead_frontend()).numbered(41, 0).data(b"abc"));
        let rst = longer(answered(tcp(dead_frontend(), client()).rst().ack().numbered(0, 45)));
        let (verdict, out) = kernel.run(Ingress, &syn.packet())?;
        assert_eq!((verdict, out), (KernelVerdict::SentBack, rst.packet()));

        let question = longer(udp(client::<A>(), dead_frontend()).data(&[1; 800])).packet();
        let header = question.bytes.len() - 14 - 8 - 800;
        let quote = &question.bytes[14..14 + header + 8];
        let (from, to) = (dead_frontend::<A>().0, client::<A>().0);
        let error = icmp_error(from, to, A::PORT_UNREACHABLE, [0; 4], &question).data(quote);
        let (verdict, out) = kernel.run(Ingress, &question)?;
        assert_eq!((verdict, out), (KernelVerdict::SentBack, answered(error).packet()));
    }
    counted(&mut kernel, &[(Counter::Reject(RejectReason::NoEndpoint), 4)]);
    Ok(())
}

fn drops<A: KernelFamily>() -> Result<()> {
    let mut kernel = kernel::<A>()?;
    let unallocated = (A::address(96, 200), 80);
    for packet in [
        tcp_syn(client::<A>(), remote_frontend()).packet(),
        ping(client::<A>().0, frontend::<A>().0).packet(),
        tcp_syn(client::<A>(), unallocated).packet(),
    ] {
        assert_eq!(kernel.run(Ingress, &packet)?.0, KernelVerdict::Dropped);
    }
    let reasons = [
        DropReason::NoLocalEndpoint,
        DropReason::ClusterIpProtocol,
        DropReason::UnallocatedClusterIp,
    ];
    counted(&mut kernel, &reasons.map(|reason| (Counter::Drop(reason), 1)));
    Ok(())
}

fn icmp_errors<A: KernelFamily>() -> Result<()> {
    let kernel = kernel::<A>()?;
    let question = |to| udp(client::<A>(), to).data(b"anybody?");
    translates(&kernel, Ingress, &question(frontend()), &question(backend()));
    let error = |from: A, about: &UserPacket| {
        icmp_error(from, client::<A>().0, A::PORT_UNREACHABLE, [0; 4], about)
    };
    translates(
        &kernel,
        Egress,
        &error(backend::<A>().0, &question(backend()).packet()),
        &error(frontend::<A>().0, &question(frontend()).packet()),
    );
    let answer = |from| udp(from, client::<A>()).data(&[1; 900]).packet();
    let too_big = |to: A, about: &UserPacket| {
        icmp_error(client::<A>().0, to, A::TOO_BIG, [0, 0, 5, 0], about)
    };
    translates(
        &kernel,
        Ingress,
        &too_big(frontend::<A>().0, &answer(frontend())),
        &too_big(backend::<A>().0, &answer(backend())),
    );
    Ok(())
}

fn what_is_no_services_is_untouched<A: KernelFamily>() -> Result<()> {
    let mut kernel = kernel::<A>()?;
    let elsewhere = (A::address(50, 1), 80);
    for packet in [
        tcp_syn(client::<A>(), elsewhere).packet(),
        tcp(client::<A>(), backend()).ack().data(b"direct").packet(),
        udp(backend::<A>(), client()).lengthened().packet(),
        ping(client::<A>().0, backend::<A>().0).packet(),
        udp(elsewhere, client()).data(&[3; 40]).layer3().packet(),
    ] {
        for hook in [Ingress, Egress] {
            becomes(&kernel, hook, &packet, &packet);
        }
    }
    // Neither family: ARP, and what only looks like a packet.
    let mut arp = vec![0xff; 60];
    arp[12..14].copy_from_slice(&[8, 6]);
    let arp = UserPacket::ethernet(arp);
    for hook in [Ingress, Egress] {
        becomes(&kernel, hook, &arp, &arp);
    }
    counted(&mut kernel, &[]);
    Ok(())
}
