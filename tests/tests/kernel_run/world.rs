//! What is programmed in both machines: a frontend of every kind, and who plays which part.

use lab::kernel_run::KernelFamily;
use proxy_common::{
    Be16, FilterBits, Frontend, FrontendKind, Prefix, Protocol, Service, ServiceFlags, ServiceId,
    SlotRange, V4, V6,
};
use proxy_ebpf::user::{Machine, build::End};

const PROTOCOLS: [Protocol; 3] = [Protocol::TCP, Protocol::UDP, Protocol::SCTP];

pub(crate) fn client<A: KernelFamily>() -> End<A> {
    (A::address(1, 1), 40_000)
}

/// Leads to [`backend`].
pub(crate) fn frontend<A: KernelFamily>() -> End<A> {
    (A::address(96, 1), 80)
}

pub(crate) fn backend<A: KernelFamily>() -> End<A> {
    (A::address(1, 9), 8080)
}

/// Leads to [`backend`] as well.
pub(crate) fn second_frontend<A: KernelFamily>() -> End<A> {
    (A::address(96, 2), 443)
}

/// Leads nowhere.
pub(crate) fn dead_frontend<A: KernelFamily>() -> End<A> {
    (A::address(96, 3), 80)
}

/// Has endpoints, none of them on this node, and may use no other.
pub(crate) fn remote_frontend<A: KernelFamily>() -> End<A> {
    (A::address(96, 4), 80)
}

/// Leads to an endpoint with the same port.
pub(crate) fn same_port_frontend<A: KernelFamily>() -> End<A> {
    (A::address(96, 5), 5000)
}

/// Leads to [`client`]'s own address.
pub(crate) fn hairpin_frontend<A: KernelFamily>() -> End<A> {
    (A::address(96, 6), 90)
}

/// Leads to [`MANY`] endpoints.
pub(crate) fn large_frontend<A: KernelFamily>() -> End<A> {
    (A::address(96, 7), 80)
}

/// How many endpoints [`large_frontend`] has.
pub(crate) const MANY: u8 = 20;

/// The device's address.
pub(crate) fn node<A: KernelFamily>() -> A {
    A::address(0, 1)
}

/// A machine with all of this.
pub(crate) fn machine<A: KernelFamily>() -> Machine {
    let mut machine = Machine::default();
    A::of_mut(&mut machine).masquerade = Some(node());
    machine.mark(node::<A>(), FilterBits::FRONTEND);
    let many: Vec<_> = (100..100 + MANY).map(|host| (A::address(1, host), 8080)).collect();
    let frontends: [(End<A>, &[End<A>]); 7] = [
        (frontend(), &[backend()]),
        (second_frontend(), &[backend()]),
        (dead_frontend(), &[]),
        (remote_frontend(), &[(A::address(1, 10), 8080)]),
        (same_port_frontend(), &[(A::address(1, 11), 5000)]),
        (hairpin_frontend(), &[(client::<A>().0, 9090)]),
        (large_frontend(), &many),
    ];
    for (id, ((address, port), backends)) in (1..).zip(frontends) {
        for protocol in PROTOCOLS {
            let frontend = Frontend::new(address, Be16::new(port), protocol);
            let service = Service {
                id: ServiceId::new(id),
                kind: FrontendKind::ClusterIp as u8,
                ..Service::default()
            };
            machine.serve(frontend, service, backends);
        }
    }
    for protocol in PROTOCOLS {
        let (address, port) = remote_frontend();
        let frontend = Frontend::new(address, Be16::new(port), protocol);
        let services = &mut A::of_mut(&mut machine).services;
        if let Some(service) = services.get_mut(&frontend) {
            service.flags = ServiceFlags::LOCAL_ONLY;
            service.local = SlotRange::default();
        }
    }
    let config = &mut machine.config;
    config.service_cidrs_v4[0] =
        Prefix { network: V4::address(96, 0), mask: V4::new([255, 255, 255, 0]) };
    config.service_cidr_count_v4 = 1;
    let mask = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0];
    let network = [0x20, 1, 0xd, 0xb8, 0x86, 0xdd, 0, 96, 0, 0, 0, 0, 0, 0, 0, 0];
    config.service_cidrs_v6[0] = Prefix { network: V6::new(network), mask: V6::new(mask) };
    config.service_cidr_count_v6 = 1;
    machine
}
