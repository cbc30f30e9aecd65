//! What the datapath leaves to chance, read off from what the kernel did: the random numbers that make
//! user space choose the same.

use lab::kernel_run::KernelFamily;
use proxy_common::{
    AffinityKey, Algorithm, BackendId, DeviceRole, Flow, FlowFlags, FlowKind, FragmentKey,
    Frontend, MemberKey, Protocol, Service, ServiceFlags, Tuple,
};
use proxy_ebpf::{
    env::{FlowTable, Maps as _},
    headers::{Headers, Part},
    lookup::set_in_use,
    masquerade::{PORT_ATTEMPTS, usual_port},
    packet::Packet as _,
    transport::{Hook, Ports},
    user::Machine,
};

use crate::{generator::Step, state::State};

/// The numbers for `step`, which took the kernel from `before` to `after`.
pub(crate) fn choices<A: KernelFamily>(
    machine: &Machine,
    before: &State<A>,
    after: &State<A>,
    step: &Step,
) -> Vec<u32> {
    let Some(key) = tuple::<A>(machine, step) else { return Vec::new() };
    match step.hook {
        Hook::Ingress => {
            let frontend = Frontend::new(key.destination, key.destination_port, key.protocol);
            let service = A::of(machine).services.get(&frontend);
            // A packet that meets a flow is counted on it: this one has opened it.
            let opened = after
                .table(FlowTable::NewDst)
                .get(&key)
                .filter(|flow| flow.packets == 1 && !flow.flags.contains(FlowFlags::REPLY));
            let mut numbers = Vec::new();
            if let Some(service) = service {
                numbers = selection(machine, service, step.role, &key, opened, (before, after));
            }
            numbers.extend(opened.and_then(|flow| source_port(&key, flow)));
            numbers
        }
        Hook::Egress => {
            let half = |state: &State<A>| state.table(FlowTable::NewSrc).get(&key).copied();
            let is_pending = |flow: &Flow<A>| flow.flags.contains(FlowFlags::PENDING);
            let resolved = half(before).is_some_and(|flow| is_pending(&flow))
                && half(after).is_some_and(|flow| !is_pending(&flow));
            let port = half(after).filter(|_| resolved && key.protocol != Protocol::SCTP);
            let config = &machine.config;
            let usual = usual_port(config, &key.source, key.source_port);
            let number = port.filter(|flow| flow.port != usual).map(|flow| {
                let port = flow.port.get() - config.masquerade_port_base;
                number_for(port.into(), config.masquerade_port_count.into())
            });
            // However often it has to be drawn: at first, ports of flows that have ended are passed over.
            number.map(|number| vec![number; PORT_ATTEMPTS as usize]).unwrap_or_default()
        }
    }
}

/// The packet's tuple; a later fragment's by what its first one left.
fn tuple<A: KernelFamily>(machine: &Machine, step: &Step) -> Option<Tuple<A>> {
    let mut headers = Headers::<A>::empty();
    A::parse(&step.packet, step.packet.link_header, &mut headers)?;
    let Tuple { source, destination, protocol, .. } = headers.tuple;
    let ports = if headers.part == Part::Later {
        let id = headers.identification;
        let key = FragmentKey::new(source, destination, id, protocol, step.hook as u8);
        let ports = machine.fragment(&key)?;
        Ports { source: ports.source, destination: ports.destination }
    } else {
        step.packet.read(headers.transport_at())?
    };
    Some(Tuple::new((source, ports.source), (destination, ports.destination), protocol))
}

/// The numbers that led to the endpoint.
fn selection<A: KernelFamily>(
    machine: &Machine,
    service: &Service,
    role: DeviceRole,
    key: &Tuple<A>,
    opened: Option<&Flow<A>>,
    (before, after): (&State<A>, &State<A>),
) -> Vec<u32> {
    let set = set_in_use(service, role);
    let client = AffinityKey { client: key.source, service: service.id };
    let is_affine = service.flags.contains(ServiceFlags::AFFINITY);
    if is_affine && stays(machine, &client, service, set.name) {
        return Vec::new();
    }
    // Where the flow found no place, the client stays with the endpoint all the same.
    let known = after.stays_with(&client).filter(|id| before.stays_with(&client) != Some(*id));
    let of_service = |flow: &&Flow<A>| flow.kind == FlowKind::Service as u8;
    let id = opened.filter(of_service).map(|flow| flow.backend).or(known);
    let index = (0..set.slots.count)
        .find(|index| machine.slots.get(&(set.slots.base + index)).copied() == id)
        .unwrap_or(0);
    let number = number_for(index.into(), set.slots.count.max(1).into());
    match Algorithm::from_number(service.algorithm) {
        Some(Algorithm::RoundRobin | Algorithm::Maglev) => Vec::new(),
        // Of two that are the same the choice is easy.
        Some(Algorithm::LeastConnections) => vec![number, number],
        Some(Algorithm::Random) | None => vec![number],
    }
}

/// Whether the client stays with its endpoint.
fn stays<A: KernelFamily>(
    machine: &Machine,
    client: &AffinityKey<A>,
    service: &Service,
    set: proxy_common::MemberSets,
) -> bool {
    let known = A::of(machine).affinity.borrow().get(client).copied();
    known.is_some_and(|affinity| {
        let since = machine.now.get().get().saturating_sub(affinity.last_seen.get());
        let member = MemberKey { service: client.service, backend: affinity.backend };
        let sets = machine.members.get(&member).copied().unwrap_or_default();
        since <= u64::from(service.affinity.get()) * 1_000_000_000
            && affinity.backend != BackendId::default()
            && sets.contains(set)
    })
}

/// The number that led to another source port, if the flow needed one.
fn source_port<A: KernelFamily>(key: &Tuple<A>, flow: &Flow<A>) -> Option<u32> {
    let port = u64::from(flow.other_port.get());
    (flow.other_port != key.source_port).then(|| number_for(port - 1024, 65_536 - 1024))
}

/// The smallest number that a choice of `count` things makes `index` of.
fn number_for(index: u64, count: u64) -> u32 {
    u32::try_from((index << 32).div_ceil(count)).unwrap_or(u32::MAX)
}
