//! The surroundings in which the datapath's code runs here: it reads the maps through this, and what
//! it asks and is told is written down. What it writes goes no further.
//!
//! Nothing is decided here. Each method passes a question on and adds a line to the record. Called by
//! [`super::run`], and by the tests that put this code beside the kernel.

use std::{cell::RefCell, collections::VecDeque};

use proxy_common::{
    Affinity, AffinityKey, Backend, BackendId, Config, CountedSocket, Counter, DeviceRole, Flow,
    FragmentKey, FragmentPorts, Frontend, MemberKey, MemberSets, Nanoseconds, Service, ServiceId,
    SocketKey, SocketPeer, SourceRangeKey, Tuple,
};
use proxy_ebpf::{
    env::{Change, FlowTable, Insert, Kernel, Maps},
    user::{FamilyMaps, FamilyOf},
};

use super::source::Source;

/// A question of the datapath and its answer, or what it did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Asked<A: FamilyOf> {
    /// What a frontend leads to.
    Service(Frontend<A>, Option<Service>),
    /// Whether a source range admits the client.
    Admitted(bool),
    /// The endpoint that a client stays with.
    Affinity(AffinityKey<A>, Option<Affinity>),
    /// The sets that the endpoint which a client stays with is in.
    Member(MemberKey, MemberSets),
    /// What a slot holds.
    Slot(u32, Option<BackendId>),
    /// Who a backend is.
    Backend(BackendId, Option<Backend<A>>),
    /// A half of a flow was written.
    Opened(FlowTable, Tuple<A>, Flow<A>),
    /// Something was counted.
    Counted(Counter),
}

/// Which flows there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flows {
    /// Those of the maps.
    OfTheMaps,
    /// None: every packet is the first of its connection.
    None,
}

/// Surroundings that write down what is asked.
#[derive(Debug)]
pub struct Recorder<'s, A: FamilyOf, S> {
    source: &'s S,
    flows: Flows,
    role: DeviceRole,
    steered: Option<BackendId>,
    random: RefCell<VecDeque<u32>>,
    written: FamilyMaps<A>,
    removed: RefCell<Vec<(FlowTable, Tuple<A>)>>,
    record: RefCell<Vec<Asked<A>>>,
}

impl<'s, A: FamilyOf, S: Source<A>> Recorder<'s, A, S> {
    /// Over `source`, for packets that come in by a device of `role`.
    pub fn new(source: &'s S, role: DeviceRole, flows: Flows) -> Self {
        Self {
            source,
            flows,
            role,
            steered: None,
            random: RefCell::default(),
            written: FamilyMaps::default(),
            removed: RefCell::default(),
            record: RefCell::default(),
        }
    }

    /// Whatever slot is picked, it holds `backend`.
    #[must_use]
    pub fn steered(mut self, backend: BackendId) -> Self {
        self.steered = Some(backend);
        self
    }

    /// Random numbers that somebody else drew. When there is none left, all are 0.
    #[must_use]
    pub fn drawn(self, numbers: impl IntoIterator<Item = u32>) -> Self {
        self.random.borrow_mut().extend(numbers);
        self
    }

    /// The flows, fragments, sockets and clients that were written or touched.
    pub fn written(&self) -> &FamilyMaps<A> {
        &self.written
    }

    /// The flows that were removed.
    pub fn removed(&self) -> Vec<(FlowTable, Tuple<A>)> {
        self.removed.borrow().clone()
    }

    /// What was asked, in order.
    pub fn into_record(self) -> Vec<Asked<A>> {
        self.record.into_inner()
    }

    fn note(&self, asked: Asked<A>) {
        self.record.borrow_mut().push(asked);
    }

    /// The flow under `key`, in what was written or else in the maps.
    fn flow(&self, table: FlowTable, key: &Tuple<A>) -> Option<Flow<A>> {
        if let Some(flow) = self.written.table(table).borrow().get(key) {
            return Some(*flow);
        }
        if self.flows == Flows::None || self.removed.borrow().contains(&(table, *key)) {
            return None;
        }
        self.source.flow(table, key)
    }

    /// What is known of a client, in what was written or else in the maps.
    fn affinity(&self, client: &AffinityKey<A>) -> Option<Affinity> {
        let written = self.written.affinity.borrow().get(client).copied();
        written.or_else(|| self.source.affinity(client))
    }
}

impl<A: FamilyOf, S: Source<A>> Kernel for Recorder<'_, A, S> {
    fn config(&self) -> Option<&Config> {
        self.source.config()
    }

    fn filter_word(&self, index: u32) -> u64 {
        self.source.filter_word(index)
    }

    fn slot(&self, index: u32) -> Option<BackendId> {
        let backend = self.steered.or_else(|| self.source.slot(index));
        self.note(Asked::Slot(index, backend));
        backend
    }

    fn now(&self) -> Nanoseconds {
        self.source.now()
    }

    fn random(&self) -> u32 {
        self.random.borrow_mut().pop_front().unwrap_or_default()
    }

    fn count(&self, counter: Counter) {
        self.note(Asked::Counted(counter));
    }

    fn take_reject_budget(&self) -> bool {
        true
    }

    fn device_role(&self) -> DeviceRole {
        self.role
    }

    fn take_turn(&self, service: ServiceId) -> u32 {
        self.source.turn(service)
    }

    fn member_sets(&self, member: &MemberKey) -> MemberSets {
        let sets = self.source.member_sets(member);
        self.note(Asked::Member(*member, sets));
        sets
    }

    fn counted_socket(&self, cookie: u64) -> Option<CountedSocket> {
        self.source.counted_socket(cookie)
    }

    fn insert_counted_socket(&self, _: u64, _: CountedSocket) {}

    fn remove_counted_socket(&self, _: u64) {}
}

impl<A: FamilyOf, S: Source<A>> Maps<A> for Recorder<'_, A, S> {
    fn service(&self, frontend: &Frontend<A>) -> Option<Service> {
        let service = self.source.service(frontend);
        self.note(Asked::Service(*frontend, service));
        service
    }

    fn backend(&self, id: BackendId) -> Option<Backend<A>> {
        let backend = self.source.backend(id);
        self.note(Asked::Backend(id, backend));
        backend
    }

    fn with_flow<R>(
        &self,
        table: FlowTable,
        key: &Tuple<A>,
        f: impl FnOnce(&mut Flow<A>) -> R,
    ) -> Option<R> {
        let mut flow = self.flow(table, key)?;
        let result = f(&mut flow);
        self.written.table(table).borrow_mut().insert(*key, flow);
        Some(result)
    }

    fn insert_flow(
        &self,
        table: FlowTable,
        key: &Tuple<A>,
        flow: &Flow<A>,
        insert: Insert,
    ) -> bool {
        if insert == Insert::Keep && self.flow(table, key).is_some() {
            return false;
        }
        self.note(Asked::Opened(table, *key, *flow));
        self.written.table(table).borrow_mut().insert(*key, *flow);
        true
    }

    fn remove_flow(&self, table: FlowTable, key: &Tuple<A>) {
        self.written.table(table).borrow_mut().remove(key);
        self.removed.borrow_mut().push((table, *key));
    }

    fn fragment(&self, key: &FragmentKey<A>) -> Option<FragmentPorts> {
        let written = self.written.fragments.borrow().get(key).copied();
        written.or_else(|| self.source.fragment(key))
    }

    fn insert_fragment(&self, key: &FragmentKey<A>, ports: FragmentPorts) {
        self.written.fragments.borrow_mut().insert(*key, ports);
    }

    fn socket_peer(&self, key: &SocketKey<A>) -> Option<SocketPeer<A>> {
        let written = self.written.sockets.borrow().get(key).copied();
        written.or_else(|| self.source.socket_peer(key))
    }

    fn insert_socket_peer(&self, key: &SocketKey<A>, peer: SocketPeer<A>) {
        self.written.sockets.borrow_mut().insert(*key, peer);
    }

    fn admits(&self, client: &SourceRangeKey<A>) -> bool {
        let admitted = self.source.admits(client);
        self.note(Asked::Admitted(admitted));
        admitted
    }

    fn with_affinity<R>(
        &self,
        client: &AffinityKey<A>,
        f: impl FnOnce(&mut Affinity) -> R,
    ) -> Option<R> {
        let found = self.affinity(client);
        self.note(Asked::Affinity(*client, found));
        let mut affinity = found?;
        let result = f(&mut affinity);
        self.written.affinity.borrow_mut().insert(*client, affinity);
        Some(result)
    }

    fn insert_affinity(
        &self,
        client: &AffinityKey<A>,
        affinity: &Affinity,
        insert: Insert,
    ) -> bool {
        if insert == Insert::Keep && self.affinity(client).is_some() {
            return false;
        }
        self.written.affinity.borrow_mut().insert(*client, *affinity);
        true
    }

    fn open_flows(&self, backend: BackendId) -> u32 {
        self.source.open_flows(backend)
    }

    fn change_open_flows(&self, _: BackendId, _: Change) {}

    // Which sockets and addresses there are counts where a packet leaves. Here one enters.
    fn masquerade_address(&self) -> Option<A> {
        None
    }

    fn has_socket(&self, _: &Tuple<A>) -> bool {
        false
    }
}
