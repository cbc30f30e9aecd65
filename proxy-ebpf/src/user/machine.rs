//! A machine in user space: everything that the datapath sees of its surroundings.

use std::{
    cell::{Cell, RefCell},
    collections::{HashMap, HashSet, VecDeque},
};

use bytemuck::Zeroable;
use proxy_common::{
    Address, Backend, BackendFlags, BackendId, Be16, COUNTERS, Config, CountedSocket, Counter,
    DeviceRole, FILTER_WORDS, FilterBits, FilterSlot, Frontend, FrontendKind, MemberKey,
    MemberSets, Nanoseconds, Protocol, Service, ServiceFlags, ServiceId, SlotRange, V4, V6,
};

use super::maps::FamilyMaps;
use crate::network::Network;

/// A machine in user space: the maps of both families, a clock that stands still until it is set,
/// and random numbers that repeat.
#[derive(Debug)]
pub struct Machine {
    /// IPv4.
    pub v4: FamilyMaps<V4>,
    /// IPv6.
    pub v6: FamilyMaps<V6>,
    /// `CONFIG`.
    pub config: Config,
    /// `ADDRESS_FILTER`.
    pub filter: Vec<u64>,
    /// `SLOTS`.
    pub slots: HashMap<u32, BackendId>,
    /// The role of the device that the packet is at.
    pub role: Cell<DeviceRole>,
    /// `TURNS`.
    pub turns: RefCell<HashMap<ServiceId, u32>>,
    /// `AFFINITY_MEMBERS`.
    pub members: HashMap<MemberKey, MemberSets>,
    /// `COUNTED_SOCKETS`.
    pub counted_sockets: RefCell<HashMap<u64, CountedSocket>>,
    /// Ports that sockets of the node have, at any address.
    pub bound_ports: HashSet<(Be16, Protocol)>,
    /// The clock.
    pub now: Cell<Nanoseconds>,
    /// `COUNTERS`.
    pub counters: RefCell<Vec<u64>>,
    /// How many more refusals may be answered with ICMP.
    pub reject_budget: Cell<u64>,
    /// Random numbers that come before those of the seed: choices that somebody else made.
    pub scripted: RefCell<VecDeque<u32>>,
    pub(super) seed: Cell<u64>,
}

impl Default for Machine {
    fn default() -> Self {
        Self {
            v4: FamilyMaps::default(),
            v6: FamilyMaps::default(),
            config: Config {
                masquerade_port_base: 12_000,
                masquerade_port_count: 18_000,
                ..Config::zeroed()
            },
            filter: vec![0; FILTER_WORDS as usize],
            slots: HashMap::new(),
            role: Cell::new(DeviceRole::Workload),
            turns: RefCell::default(),
            members: HashMap::new(),
            counted_sockets: RefCell::default(),
            bound_ports: HashSet::new(),
            now: Cell::new(Nanoseconds::new(1)),
            counters: RefCell::new(vec![0; COUNTERS as usize]),
            reject_budget: Cell::new(u64::MAX),
            scripted: RefCell::default(),
            seed: Cell::new(0x51),
        }
    }
}

/// The family's maps within a machine.
pub trait FamilyOf: Network {
    /// To read.
    fn of(machine: &Machine) -> &FamilyMaps<Self>;

    /// To write.
    fn of_mut(machine: &mut Machine) -> &mut FamilyMaps<Self>;
}

impl FamilyOf for V4 {
    fn of(machine: &Machine) -> &FamilyMaps<Self> {
        &machine.v4
    }

    fn of_mut(machine: &mut Machine) -> &mut FamilyMaps<Self> {
        &mut machine.v4
    }
}

impl FamilyOf for V6 {
    fn of(machine: &Machine) -> &FamilyMaps<Self> {
        &machine.v6
    }

    fn of_mut(machine: &mut Machine) -> &mut FamilyMaps<Self> {
        &mut machine.v6
    }
}

impl Machine {
    /// Seeds the random numbers.
    pub fn seed(&self, seed: u64) {
        self.seed.set(seed | 1);
    }

    /// Sets `bits` for `address` in the filter.
    pub fn mark<A: Address>(&mut self, address: A, bits: FilterBits) {
        let slot = FilterSlot::of(address);
        let word = &mut self.filter[slot.word as usize];
        *word = slot.write(*word, slot.read(*word).union(bits));
    }

    /// Sets `bits` for `port` of `protocol` in the filter.
    pub fn mark_port(&mut self, port: Be16, protocol: Protocol, bits: FilterBits) {
        if let Some(slot) = FilterSlot::of_port(port, protocol) {
            let word = &mut self.filter[slot.word as usize];
            *word = slot.write(*word, slot.read(*word).union(bits));
        }
    }

    /// `address` is the node's, and what packets are masqueraded to.
    pub fn mark_node<A: Address>(&mut self, address: A) {
        self.mark(address, FilterBits::NODE);
        let Config { masquerade_port_base: base, masquerade_port_count: count, .. } = self.config;
        for port in base..=base.saturating_add(count.saturating_sub(1)) {
            for protocol in [Protocol::TCP, Protocol::UDP] {
                self.mark_port(Be16::new(port), protocol, FilterBits::NODE);
            }
        }
    }

    /// Programs a frontend that leads to `backends`, none of them on this node.
    pub fn serve<A: FamilyOf>(
        &mut self,
        frontend: Frontend<A>,
        service: Service,
        backends: &[(A, u16)],
    ) {
        let backends: Vec<_> = backends
            .iter()
            .map(|(address, port)| Backend::new(*address, Be16::new(*port), BackendFlags::empty()))
            .collect();
        self.serve_backends(frontend, service, &backends);
    }

    /// Programs a frontend: all of `backends` are the cluster set, those on this node the local set.
    pub fn serve_backends<A: FamilyOf>(
        &mut self,
        frontend: Frontend<A>,
        service: Service,
        backends: &[Backend<A>],
    ) {
        let cluster: Vec<_> = backends.iter().map(|backend| self.add_backend(*backend)).collect();
        let is_local =
            |(backend, _): &(&Backend<A>, _)| backend.flags.contains(BackendFlags::LOCAL);
        let local = backends.iter().zip(&cluster).filter(is_local).map(|(_, id)| *id).collect();
        if service.flags.contains(ServiceFlags::AFFINITY) {
            for (sets, ids) in [(MemberSets::CLUSTER, &cluster), (MemberSets::LOCAL, &local)] {
                for id in ids {
                    let member = MemberKey { service: service.id, backend: *id };
                    let members = self.members.entry(member).or_default();
                    *members = members.union(sets);
                }
            }
        }
        let service =
            Service { cluster: self.add_slots(cluster), local: self.add_slots(local), ..service };
        if service.frontend_kind() == Some(FrontendKind::NodePort) {
            self.mark(frontend.address, FilterBits::NODE);
            self.mark_port(frontend.port, frontend.protocol, FilterBits::NODE);
        } else {
            self.mark(frontend.address, FilterBits::FRONTEND);
        }
        let marker = match service.frontend_kind() {
            Some(FrontendKind::ClusterIp) => Some(Frontend::cluster_ip_marker(frontend.address)),
            Some(FrontendKind::NodePort) => {
                Some(Frontend::node_port_marker(frontend.port, frontend.protocol))
            }
            _ => None,
        };
        let services = &mut A::of_mut(self).services;
        services.insert(frontend, service);
        services.extend(marker.map(|marker| (marker, Service::default())));
    }

    /// The id of `backend`, which it has from now on if it had none.
    fn add_backend<A: FamilyOf>(&mut self, backend: Backend<A>) -> BackendId {
        self.mark(backend.address, FilterBits::BACKEND);
        for protocol in [Protocol::TCP, Protocol::UDP] {
            self.mark_port(backend.port, protocol, FilterBits::BACKEND);
        }
        let backends = &mut A::of_mut(self).backends;
        let same =
            |other: &Backend<A>| (other.address, other.port) == (backend.address, backend.port);
        let known = backends.iter().find(|(_, other)| same(other)).map(|(id, _)| *id);
        let last = backends.keys().map(|id| id.get()).max().unwrap_or(0);
        let id = known.unwrap_or(BackendId::new(last + 1));
        backends.insert(id, backend);
        id
    }

    /// A fresh run of slots.
    fn add_slots(&mut self, backends: Vec<BackendId>) -> SlotRange {
        let number = |length| u32::try_from(length).unwrap_or(u32::MAX);
        let range = SlotRange { base: number(self.slots.len()), count: number(backends.len()) };
        self.slots.extend((range.base..).zip(backends));
        range
    }

    /// What a counter stands at.
    #[must_use]
    pub fn counter(&self, counter: Counter) -> u64 {
        self.counters.borrow()[counter.index() as usize]
    }
}
