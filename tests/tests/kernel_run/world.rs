//! What is programmed in both machines: frontends of every kind, with every policy, filter and
//! algorithm, and who plays which part.

use lab::kernel_run::KernelFamily;
use proxy_common::{
    Affinity, AffinityKey, Algorithm, Backend, BackendFlags, BackendId, Be16, DeviceRole, Frontend,
    FrontendKind, Nanoseconds, Prefix, Protocol, Seconds, Service, ServiceFlags, ServiceId,
    SourceRangeKey, V4, V6,
};
use proxy_ebpf::user::{Machine, build::End};

const PROTOCOLS: [Protocol; 3] = [Protocol::TCP, Protocol::UDP, Protocol::SCTP];

/// A client in a pod.
pub(crate) fn client<A: KernelFamily>() -> End<A> {
    (A::address(1, 1), 40_000)
}

/// A client outside.
pub(crate) fn outside<A: KernelFamily>() -> End<A> {
    (A::address(7, 1), 50_000)
}

/// A ClusterIP that leads to [`backend`].
pub(crate) fn frontend<A: KernelFamily>() -> End<A> {
    (A::address(96, 1), 80)
}

/// An endpoint on this node.
pub(crate) fn backend<A: KernelFamily>() -> End<A> {
    (A::address(1, 9), 8080)
}

/// An endpoint on another node.
pub(crate) fn away<A: KernelFamily>() -> End<A> {
    (A::address(3, 9), 8080)
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

/// The device's address.
pub(crate) fn node<A: KernelFamily>() -> A {
    A::address(0, 1)
}

/// A NodePort that leads to [`away`].
pub(crate) fn node_port<A: KernelFamily>() -> End<A> {
    (node(), 30_080)
}

/// A load balancer's address that leads to [`away`] and admits the net of [`outside`].
pub(crate) fn load_balancer<A: KernelFamily>() -> End<A> {
    (A::address(98, 1), 80)
}

/// An external IP that leads to [`backend`] for clients outside, and to [`away`] for others too.
pub(crate) fn external_ip<A: KernelFamily>() -> End<A> {
    (A::address(97, 1), 80)
}

/// How many endpoints the largest Services have.
pub(crate) const MANY: u8 = 20;

/// A Service port that is programmed.
struct Offer<A: KernelFamily> {
    at: End<A>,
    service: Service,
    endpoints: Vec<End<A>>,
}

fn service(kind: FrontendKind, flags: ServiceFlags) -> Service {
    Service { kind: kind as u8, flags, affinity: Seconds::new(600), ..Service::default() }
}

/// The endpoints that a Service may have: nobody, here, away, both, with the frontends' own port, the
/// clients themselves, many.
fn sets<A: KernelFamily>() -> [Vec<End<A>>; 7] {
    let many = (100..100 + MANY).map(|host| (A::address(1 + 2 * (host % 2), host), 8080));
    [
        vec![],
        vec![backend()],
        vec![away()],
        vec![backend(), away()],
        vec![(A::address(3, 11), 5000), (A::address(1, 11), 5000)],
        vec![(client::<A>().0, 9090), (A::address(1, 2), 9090)],
        many.collect(),
    ]
}

/// Where the frontends of a kind are, one after the other.
fn place<A: KernelFamily>(kind: FrontendKind, index: u8) -> End<A> {
    match kind {
        FrontendKind::ClusterIp => (A::address(96, index), 5000),
        FrontendKind::ExternalIp => (A::address(97, index), 5000),
        FrontendKind::LoadBalancer => (A::address(98, index), 5000),
        FrontendKind::NodePort => (node(), 31_000 + u16::from(index)),
    }
}

const KINDS: [FrontendKind; 4] = [
    FrontendKind::ClusterIp,
    FrontendKind::ExternalIp,
    FrontendKind::LoadBalancer,
    FrontendKind::NodePort,
];

const NONE: ServiceFlags = ServiceFlags::empty();
const LOCAL: ServiceFlags = ServiceFlags::LOCAL_ONLY;
const AFFINE: ServiceFlags = ServiceFlags::AFFINITY;
const RANGES: ServiceFlags = ServiceFlags::SOURCE_RANGES;

/// Every combination that decides something.
fn combinations<A: KernelFamily>() -> Vec<Offer<A>> {
    let mut offers = Vec::new();
    for kind in KINDS {
        let mut index = 20;
        let mut offer = |service: Service, endpoints: Vec<End<A>>| {
            index += 1;
            offers.push(Offer { at: place(kind, index), service, endpoints });
        };
        for flags in [NONE, LOCAL, AFFINE, LOCAL.union(AFFINE)] {
            for endpoints in sets() {
                offer(service(kind, flags), endpoints);
            }
        }
        for algorithm in [Algorithm::RoundRobin, Algorithm::LeastConnections, Algorithm::Maglev] {
            for flags in [NONE, LOCAL, AFFINE] {
                let service = Service { algorithm: algorithm as u8, ..service(kind, flags) };
                offer(service, sets()[6].clone());
            }
        }
        if kind == FrontendKind::LoadBalancer {
            for flags in [RANGES, RANGES.union(ServiceFlags::NODE_ADMITTED), RANGES.union(LOCAL)] {
                for endpoints in [vec![], vec![backend()], vec![away()]] {
                    offer(service(kind, flags), endpoints);
                }
            }
        }
    }
    offers
}

/// Those that have a name here.
fn named<A: KernelFamily>() -> Vec<Offer<A>> {
    let cluster_ip = FrontendKind::ClusterIp;
    let offer = |at, service, endpoints| Offer { at, service, endpoints };
    vec![
        offer(frontend(), service(cluster_ip, NONE), vec![backend()]),
        offer(second_frontend(), service(cluster_ip, NONE), vec![backend()]),
        offer(dead_frontend(), service(cluster_ip, NONE), vec![]),
        offer(remote_frontend(), service(cluster_ip, LOCAL), vec![away()]),
        offer(node_port(), service(FrontendKind::NodePort, NONE), vec![away()]),
        offer(load_balancer(), service(FrontendKind::LoadBalancer, RANGES), vec![away()]),
        offer(external_ip(), service(FrontendKind::ExternalIp, LOCAL), vec![backend(), away()]),
    ]
}

/// A machine with all of this.
pub(crate) fn machine<A: KernelFamily>() -> Machine {
    let mut machine = Machine::default();
    A::of_mut(&mut machine).masquerade = Some(node());
    machine.mark_node(node::<A>());
    let offers = named::<A>().into_iter().chain(combinations());
    for (id, Offer { at: (address, port), service, endpoints }) in (1..).zip(offers) {
        let here = A::address(1, 0);
        let backend = |(address, port): &End<A>| {
            let is_here = net(*address) == net(here);
            let flags = if is_here { BackendFlags::LOCAL } else { BackendFlags::empty() };
            Backend::new(*address, Be16::new(*port), flags)
        };
        let backends: Vec<_> = endpoints.iter().map(backend).collect();
        let service = Service { id: ServiceId::new(id), ..service };
        for protocol in PROTOCOLS {
            let frontend = Frontend::new(address, Be16::new(port), protocol);
            machine.serve_backends(frontend, service, &backends);
        }
        if service.flags.contains(RANGES) {
            let bits = u32::try_from(size_of::<A>() * 8 - 8).unwrap_or(24);
            let range = SourceRangeKey::of_range(service.id, A::address(7, 0), bits);
            A::of_mut(&mut machine).source_ranges.insert(range);
        }
        if service.flags.contains(AFFINE) && id % 8 == 0 {
            forget_somebody::<A>(&machine, service.id);
        }
    }
    with_service_cidrs(&mut machine);
    machine
}

/// The number of the net that `address` is in.
fn net<A: KernelFamily>(address: A) -> Vec<u8> {
    let bytes = bytemuck::bytes_of(&address);
    let end = bytes.len() - if bytes.len() == 4 { 1 } else { 8 };
    bytes[..end].to_vec()
}

/// A client was seen too long ago, another one went to an endpoint that is none of the Service's.
fn forget_somebody<A: KernelFamily>(machine: &Machine, service: ServiceId) {
    let mut known = A::of(machine).affinity.borrow_mut();
    let long_ago =
        Affinity { last_seen: Nanoseconds::default(), backend: BackendId::new(1), pad: 0 };
    known.insert(AffinityKey { client: client().0, service }, long_ago);
    let gone =
        Affinity { last_seen: Nanoseconds::new(u64::MAX), backend: BackendId::new(999), pad: 0 };
    known.insert(AffinityKey { client: outside().0, service }, gone);
}

fn with_service_cidrs(machine: &mut Machine) {
    let config = &mut machine.config;
    config.service_cidrs_v4[0] =
        Prefix { network: V4::address(96, 0), mask: V4::new([255, 255, 255, 0]) };
    config.service_cidr_count_v4 = 1;
    let mask = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0];
    let network = [0x20, 1, 0xd, 0xb8, 0x86, 0xdd, 0, 96, 0, 0, 0, 0, 0, 0, 0, 0];
    config.service_cidrs_v6[0] = Prefix { network: V6::new(network), mask: V6::new(mask) };
    config.service_cidr_count_v6 = 1;
}

/// The roles that a device may have.
pub(crate) const ROLES: [DeviceRole; 2] = [DeviceRole::Workload, DeviceRole::Uplink];
