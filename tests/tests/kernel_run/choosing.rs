//! Which endpoint and which port the kernel chooses: affinity, turns, open flows, Maglev, masquerade
//! ports beside sockets and NodePorts.

use std::net::{Ipv6Addr, SocketAddr, TcpListener, UdpSocket};

use anyhow::Result;
use lab::kernel_run::{KernelFamily, KernelVerdict};
use proxy_common::{
    Algorithm, Backend, BackendFlags, Be16, Counter, DropReason, Frontend, FrontendKind, Protocol,
    Seconds, Service, ServiceFlags, ServiceId,
};
use proxy_ebpf::{
    transport::Hook::{Egress, Ingress},
    user::{
        Machine, UserPacket,
        build::{End, sctp, tcp_syn, udp},
    },
};

use crate::{
    byte_exact::{counted, translates},
    for_both_families,
    outside::uplink_of,
    world::{away, machine, node, node_port, outside},
};

for_both_families! {
    a_client_stays_with_its_endpoint
    turns_and_open_flows_are_counted
    masquerade_ports_are_nobody_elses
    sctp_keeps_its_ports
}

/// A machine where `frontend` (of a load balancer) leads to `endpoints`, as `change` says.
fn with<A: KernelFamily>(
    frontend: End<A>,
    endpoints: &[End<A>],
    change: impl Fn(Service) -> Service,
) -> Machine {
    let mut machine = machine::<A>();
    let kind = FrontendKind::LoadBalancer as u8;
    let service = change(Service { id: ServiceId::new(4000), kind, ..Service::default() });
    let backends: Vec<_> = endpoints
        .iter()
        .map(|(address, port)| Backend::new(*address, Be16::new(*port), BackendFlags::empty()))
        .collect();
    for protocol in [Protocol::TCP, Protocol::UDP, Protocol::SCTP] {
        let frontend = Frontend::new(frontend.0, Be16::new(frontend.1), protocol);
        machine.serve_backends(frontend, service, &backends);
    }
    machine
}

/// As many endpoints as it takes to tell chance from intent.
fn many<A: KernelFamily>() -> Vec<End<A>> {
    (100..120).map(|host| (A::address(3, host), 8080)).collect()
}

fn a_client_stays_with_its_endpoint<A: KernelFamily>() -> Result<()> {
    let frontend = (A::address(98, 200), 80);
    let machine = with(frontend, &many(), |service| Service {
        flags: ServiceFlags::AFFINITY,
        affinity: Seconds::new(600),
        ..service
    });
    let mut kernel = uplink_of::<A>(&machine)?;
    let endpoint = |client: End<A>| -> Result<UserPacket> {
        Ok(kernel.run(Ingress, &udp(client, frontend).packet())?.1)
    };
    let mut different = Vec::new();
    for host in 1..20 {
        let client = |port| (A::address(7, host), port);
        let first = endpoint(client(1))?;
        let to = many::<A>().into_iter().find(|to| udp(client(1), *to).packet() == first);
        let to = to.expect("an endpoint of the Service");
        for port in 2..20 {
            assert_eq!(endpoint(client(port))?, udp(client(port), to).packet());
        }
        different.push(to);
    }
    different.sort_unstable();
    different.dedup();
    assert!(different.len() > 5, "{different:?}");
    let known = kernel.affinity::<A>()?;
    let of_service = |service: ServiceId| service == ServiceId::new(4000);
    assert_eq!(known.iter().filter(|(key, _)| of_service(key.service)).count(), 19);
    Ok(())
}

fn turns_and_open_flows_are_counted<A: KernelFamily>() -> Result<()> {
    let frontend = (A::address(98, 200), 80);
    let by = |algorithm: Algorithm| {
        with(frontend, &many(), |service| Service { algorithm: algorithm as u8, ..service })
    };
    let mut kernel = uplink_of::<A>(&by(Algorithm::RoundRobin))?;
    for (port, to) in (1..=40).zip(many::<A>().into_iter().cycle()) {
        let datagram = |to| udp((outside::<A>().0, port), to);
        translates(&kernel, Ingress, &datagram(frontend), &datagram(to));
    }
    assert_eq!(kernel.turns()?.get(&4000), Some(&40));
    let mut kernel = uplink_of::<A>(&by(Algorithm::LeastConnections))?;
    for port in 1..=1000 {
        kernel.run(Ingress, &udp((outside::<A>().0, port), frontend).packet())?;
    }
    let open = kernel.open_flows::<A>(1000)?;
    assert_eq!((open.len(), open.values().sum::<u32>()), (20, 1000));
    // The variance of the better of two picks is about 1 (in 6,000 simulated runs at most 3.4), of one
    // pick 45 (in 3,000 at least 12).
    let squares: u32 = open.values().map(|count| count.abs_diff(50).pow(2)).sum();
    assert!(squares < 8 * 20, "{open:?}");
    // The same client, the same endpoint, whoever asks.
    let one = uplink_of::<A>(&by(Algorithm::Maglev))?;
    let other = uplink_of::<A>(&by(Algorithm::Maglev))?;
    for port in 1..=100 {
        let datagram = udp((outside::<A>().0, port), frontend).packet();
        assert_eq!(one.run(Ingress, &datagram)?, other.run(Ingress, &datagram)?);
    }
    Ok(())
}

fn masquerade_ports_are_nobody_elses<A: KernelFamily>() -> Result<()> {
    // Sockets that wait here for nothing, in the network namespace that the programs run in.
    let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0));
    let listener = TcpListener::bind(any)?;
    let socket = UdpSocket::bind(any)?;
    for (protocol, port) in [
        (Protocol::TCP, listener.local_addr()?.port()),
        (Protocol::UDP, socket.local_addr()?.port()),
    ] {
        let packet = |to| match protocol {
            Protocol::TCP => tcp_syn(outside::<A>(), to).packet(),
            _ => udp(outside::<A>(), to).packet(),
        };
        let mut machine = machine::<A>();
        machine.config.masquerade_port_base = port;
        machine.config.masquerade_port_count = 1;
        let mut kernel = uplink_of::<A>(&machine)?;
        kernel.run(Ingress, &packet(node_port()))?;
        assert_eq!(kernel.run(Egress, &packet(away()))?.0, KernelVerdict::Dropped);
        let reason = Counter::Drop(DropReason::MasqueradePortsExhausted);
        counted(&mut kernel, &[(Counter::FlowOpened, 1), (reason, 1)]);

        // A NodePort is as good as a socket.
        machine.config.masquerade_port_base = node_port::<A>().1;
        let mut kernel = uplink_of::<A>(&machine)?;
        kernel.run(Ingress, &packet(node_port()))?;
        assert_eq!(kernel.run(Egress, &packet(away()))?.0, KernelVerdict::Dropped);
        counted(&mut kernel, &[(Counter::FlowOpened, 1), (reason, 1)]);
    }
    Ok(())
}

fn sctp_keeps_its_ports<A: KernelFamily>() -> Result<()> {
    let frontend = (A::address(98, 200), 2905);
    let endpoint = (away::<A>().0, 2905);
    let mut kernel = uplink_of::<A>(&with(frontend, &[endpoint], |service| service))?;
    let chunk = |from, to| sctp::<A>(from, to).data(b"chunk");
    let (client, seen) = (outside::<A>(), (node(), outside::<A>().1));
    translates(&kernel, Ingress, &chunk(client, frontend), &chunk(client, endpoint));
    translates(&kernel, Egress, &chunk(client, endpoint), &chunk(seen, endpoint));
    translates(&kernel, Ingress, &chunk(endpoint, seen), &chunk(endpoint, client));
    translates(&kernel, Egress, &chunk(endpoint, client), &chunk(frontend, client));
    // The target port differs.
    let packet = chunk(client, node_port()).packet();
    assert_eq!(kernel.run(Ingress, &packet)?.0, KernelVerdict::Dropped);
    counted(&mut kernel, &[(Counter::FlowOpened, 1), (Counter::Drop(DropReason::SctpPort), 1)]);
    Ok(())
}
