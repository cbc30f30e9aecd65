//! [`Maps`] and [`Kernel`] over a [`Machine`].

use bytemuck::Pod;
use proxy_common::{
    Affinity, AffinityKey, Backend, BackendId, Config, CountedSocket, Counter, DeviceRole, Flow,
    FragmentKey, FragmentPorts, Frontend, MemberKey, MemberSets, Nanoseconds, Service, ServiceId,
    SocketKey, SocketPeer, SourceRangeKey, Tuple,
};

use super::machine::{FamilyOf, Machine};
use crate::env::{Change, FlowTable, Insert, Kernel, Maps};

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

    fn device_role(&self) -> DeviceRole {
        self.role.get()
    }

    fn take_turn(&self, service: ServiceId) -> u32 {
        let mut turns = self.turns.borrow_mut();
        let turn = turns.entry(service).or_default();
        let number = *turn;
        *turn = number.wrapping_add(1);
        number
    }

    fn member_sets(&self, member: &MemberKey) -> MemberSets {
        self.members.get(member).copied().unwrap_or_default()
    }

    fn counted_socket(&self, cookie: u64) -> Option<CountedSocket> {
        self.counted_sockets.borrow().get(&cookie).copied()
    }

    fn insert_counted_socket(&self, cookie: u64, socket: CountedSocket) {
        self.counted_sockets.borrow_mut().insert(cookie, socket);
    }

    fn remove_counted_socket(&self, cookie: u64) {
        self.counted_sockets.borrow_mut().remove(&cookie);
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

    fn admits(&self, client: &SourceRangeKey<A>) -> bool {
        A::of(self).source_ranges.iter().any(|range| is_inside(client, range))
    }

    fn with_affinity<R>(
        &self,
        client: &AffinityKey<A>,
        f: impl FnOnce(&mut Affinity) -> R,
    ) -> Option<R> {
        A::of(self).affinity.borrow_mut().get_mut(client).map(f)
    }

    fn insert_affinity(
        &self,
        client: &AffinityKey<A>,
        affinity: &Affinity,
        insert: Insert,
    ) -> bool {
        let mut clients = A::of(self).affinity.borrow_mut();
        if insert == Insert::Keep && clients.contains_key(client) {
            return false;
        }
        clients.insert(*client, *affinity);
        true
    }

    fn open_flows(&self, backend: BackendId) -> u32 {
        A::of(self).open_flows.borrow().get(&backend).copied().unwrap_or(0)
    }

    fn change_open_flows(&self, backend: BackendId, change: Change) {
        let mut counts = A::of(self).open_flows.borrow_mut();
        let count = counts.entry(backend).or_default();
        *count = change.applied_to(*count);
    }

    fn has_socket(&self, tuple: &Tuple<A>) -> bool {
        self.bound_ports.contains(&(tuple.destination_port, tuple.protocol))
    }
}

/// Whether `client` agrees with `range` in as many bits as the range says: what the kernel's trie
/// finds.
fn is_inside<A: FamilyOf>(client: &SourceRangeKey<A>, range: &SourceRangeKey<A>) -> bool {
    let bits = range.prefix_len as usize;
    let (client, range) = (bits_of(&client.data), bits_of(&range.data));
    client.take(bits).eq(range.take(bits))
}

/// The bits of `value` in the order in which the kernel's trie compares them.
fn bits_of<T: Pod>(value: &T) -> impl Iterator<Item = bool> {
    let bytes = bytemuck::bytes_of(value).iter();
    bytes.flat_map(|byte| (0..8).map(move |bit| byte & (0x80 >> bit) != 0))
}
