//! [`Maps`] and [`Kernel`] over collections in user space.

use std::{
    cell::{Cell, RefCell},
    collections::{HashMap, VecDeque},
};

use bytemuck::Zeroable;
use proxy_common::{
    Address, Backend, BackendFlags, BackendId, Be16, COUNTERS, Config, Counter, FILTER_WORDS,
    FilterBits, FilterSlot, Flow, FragmentKey, FragmentPorts, Frontend, Nanoseconds, Service,
    SlotRange, SocketKey, SocketPeer, Tuple, V4, V6,
};

use crate::{
    env::{FlowTable, Insert, Kernel, Maps},
    network::Network,
};

type Flows<A> = RefCell<HashMap<Tuple<A>, Flow<A>>>;

/// The maps of one family.
#[derive(Debug)]
pub struct FamilyMaps<A: Address> {
    /// `SERVICES_*`.
    pub services: HashMap<Frontend<A>, Service>,
    /// `BACKENDS_*`.
    pub backends: HashMap<BackendId, Backend<A>>,
    /// `DST_FLOWS_*`.
    pub dst: Flows<A>,
    /// `SRC_FLOWS_*`.
    pub src: Flows<A>,
    /// `NEW_DST_FLOWS_*`.
    pub new_dst: Flows<A>,
    /// `NEW_SRC_FLOWS_*`.
    pub new_src: Flows<A>,
    /// `FRAGMENTS_*`.
    pub fragments: RefCell<HashMap<FragmentKey<A>, FragmentPorts>>,
    /// `SOCKETS_*`.
    pub sockets: RefCell<HashMap<SocketKey<A>, SocketPeer<A>>>,
    /// The address of the device that packets leave by.
    pub masquerade: Option<A>,
    /// How many flows each of the main tables holds at most.
    pub flows_max: usize,
}

impl<A: Address> Default for FamilyMaps<A> {
    fn default() -> Self {
        Self {
            services: HashMap::new(),
            backends: HashMap::new(),
            dst: RefCell::default(),
            src: RefCell::default(),
            new_dst: RefCell::default(),
            new_src: RefCell::default(),
            fragments: RefCell::default(),
            sockets: RefCell::default(),
            masquerade: None,
            flows_max: usize::MAX,
        }
    }
}

impl<A: Address> FamilyMaps<A> {
    /// A flow table.
    pub fn table(&self, table: FlowTable) -> &Flows<A> {
        match table {
            FlowTable::Dst => &self.dst,
            FlowTable::Src => &self.src,
            FlowTable::NewDst => &self.new_dst,
            FlowTable::NewSrc => &self.new_src,
        }
    }
}

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
    /// The clock.
    pub now: Cell<Nanoseconds>,
    /// `COUNTERS`.
    pub counters: RefCell<Vec<u64>>,
    /// How many more refusals may be answered with ICMP.
    pub reject_budget: Cell<u64>,
    /// Random numbers that come before those of the seed: choices that somebody else made.
    pub scripted: RefCell<VecDeque<u32>>,
    seed: Cell<u64>,
}

impl Default for Machine {
    fn default() -> Self {
        Self {
            v4: FamilyMaps::default(),
            v6: FamilyMaps::default(),
            config: Config {
                masquerade_port_base: 61_000,
                masquerade_port_count: 4_536,
                ..Config::zeroed()
            },
            filter: vec![0; FILTER_WORDS as usize],
            slots: HashMap::new(),
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

    /// Programs a frontend that leads to `backends`, all of them in the cluster set.
    pub fn serve<A: FamilyOf>(
        &mut self,
        frontend: Frontend<A>,
        service: Service,
        backends: &[(A, u16)],
    ) {
        let base = u32::try_from(self.slots.len()).unwrap_or(u32::MAX);
        for (index, (address, port)) in (0..).zip(backends) {
            let id = BackendId::new(base + index + 1);
            let backend = Backend::new(*address, Be16::new(*port), BackendFlags::empty());
            A::of_mut(self).backends.insert(id, backend);
            self.slots.insert(base + index, id);
            self.mark(*address, FilterBits::BACKEND);
        }
        let count = u32::try_from(backends.len()).unwrap_or(u32::MAX);
        let service = Service { cluster: SlotRange { base, count }, ..service };
        self.mark(frontend.address, FilterBits::FRONTEND);
        let services = &mut A::of_mut(self).services;
        services.insert(frontend, service);
        services.insert(Frontend::cluster_ip_marker(frontend.address), Service::default());
    }

    /// What a counter stands at.
    #[must_use]
    pub fn counter(&self, counter: Counter) -> u64 {
        self.counters.borrow()[counter.index() as usize]
    }
}

impl Kernel for Machine {
    fn config(&self) -> Option<&Config> {
        Some(&self.config)
    }

    fn filter_word(&self, index: u32) -> u64 {
        self.filter.get(index as usize).copied().unwrap_or(0)
    }

    fn slot(&self, index: u32) -> Option<BackendId> {
        self.slots.get(&index).copied()
    }

    fn now(&self) -> Nanoseconds {
        self.now.get()
    }

    fn random(&self) -> u32 {
        if let Some(scripted) = self.scripted.borrow_mut().pop_front() {
            return scripted;
        }
        // xorshift64* (Marsaglia, Vigna): small, and the same on every run.
        let mut x = self.seed.get();
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        self.seed.set(x);
        (x.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) as u32
    }

    fn count(&self, counter: Counter) {
        self.counters.borrow_mut()[counter.index() as usize] += 1;
    }

    fn take_reject_budget(&self) -> bool {
        let left = self.reject_budget.get();
        self.reject_budget.set(left.saturating_sub(1));
        left > 0
    }
}

impl<A: FamilyOf> Maps<A> for Machine {
    fn service(&self, frontend: &Frontend<A>) -> Option<Service> {
        A::of(self).services.get(frontend).copied()
    }

    fn backend(&self, id: BackendId) -> Option<Backend<A>> {
        A::of(self).backends.get(&id).copied()
    }

    fn with_flow<R>(
        &self,
        table: FlowTable,
        key: &Tuple<A>,
        f: impl FnOnce(&mut Flow<A>) -> R,
    ) -> Option<R> {
        A::of(self).table(table).borrow_mut().get_mut(key).map(f)
    }

    fn insert_flow(
        &self,
        table: FlowTable,
        key: &Tuple<A>,
        flow: &Flow<A>,
        insert: Insert,
    ) -> bool {
        let mut flows = A::of(self).table(table).borrow_mut();
        let main = matches!(table, FlowTable::Dst | FlowTable::Src);
        let there = flows.contains_key(key);
        if (insert == Insert::Keep && there)
            || (main && !there && flows.len() >= A::of(self).flows_max)
        {
            return false;
        }
        flows.insert(*key, *flow);
        true
    }

    fn remove_flow(&self, table: FlowTable, key: &Tuple<A>) {
        A::of(self).table(table).borrow_mut().remove(key);
    }

    fn fragment(&self, key: &FragmentKey<A>) -> Option<FragmentPorts> {
        A::of(self).fragments.borrow().get(key).copied()
    }

    fn insert_fragment(&self, key: &FragmentKey<A>, ports: FragmentPorts) {
        A::of(self).fragments.borrow_mut().insert(*key, ports);
    }

    fn socket_peer(&self, key: &SocketKey<A>) -> Option<SocketPeer<A>> {
        A::of(self).sockets.borrow().get(key).copied()
    }

    fn insert_socket_peer(&self, key: &SocketKey<A>, peer: SocketPeer<A>) {
        A::of(self).sockets.borrow_mut().insert(*key, peer);
    }

    fn masquerade_address(&self) -> Option<A> {
        A::of(self).masquerade
    }
}
