//! What the datapath asks of its surroundings: the maps and the kernel.
//!
//! Only look-ups that are needed, each with the contract that the kernel's maps give: a value may
//! change under the reader, an insert may fail because the table is full.

use proxy_common::{
    Affinity, AffinityKey, Backend, BackendId, Config, CountedSocket, Counter, DeviceRole, Flow,
    FragmentKey, FragmentPorts, Frontend, MemberKey, MemberSets, Nanoseconds, Service, ServiceId,
    SocketKey, SocketPeer, SourceRangeKey, Tuple,
};

/// The flow tables of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowTable {
    /// `DST_FLOWS_*`.
    Dst,
    /// `SRC_FLOWS_*`.
    Src,
    /// `NEW_DST_FLOWS_*`.
    NewDst,
    /// `NEW_SRC_FLOWS_*`.
    NewSrc,
}

/// How an insert treats what is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Insert {
    /// Replaces it.
    Replace,
    /// Leaves it and fails.
    Keep,
}

/// How a count changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// One more.
    More,
    /// One less.
    Less,
}

impl Change {
    /// The count afterwards.
    #[inline(always)]
    #[must_use]
    pub const fn applied_to(self, count: u32) -> u32 {
        match self {
            Self::More => count.saturating_add(1),
            Self::Less => count.saturating_sub(1),
        }
    }
}

/// The maps of one family.
pub trait Maps<A: proxy_common::Address> {
    /// The value of a frontend.
    fn service(&self, frontend: &Frontend<A>) -> Option<Service>;

    /// A backend by id; `None` when the element is out of range or unused.
    fn backend(&self, id: BackendId) -> Option<Backend<A>>;

    /// Calls `f` on the flow under `key`, in place.
    ///
    /// Concurrency: other CPUs may change the flow at the same time, and its memory may be reused
    /// for another flow. So `f` copies what it needs and writes only what is harmless on the wrong
    /// flow: times, counts, flags.
    fn with_flow<R>(
        &self,
        table: FlowTable,
        key: &Tuple<A>,
        f: impl FnOnce(&mut Flow<A>) -> R,
    ) -> Option<R>;

    /// Inserts a flow; `false` when it is there already ([`Insert::Keep`]) or the table is full.
    fn insert_flow(&self, table: FlowTable, key: &Tuple<A>, flow: &Flow<A>, insert: Insert)
    -> bool;

    /// Removes a flow.
    fn remove_flow(&self, table: FlowTable, key: &Tuple<A>);

    /// The ports of a fragmented datagram's first fragment.
    fn fragment(&self, key: &FragmentKey<A>) -> Option<FragmentPorts>;

    /// Remembers the ports of a first fragment.
    fn insert_fragment(&self, key: &FragmentKey<A>, ports: FragmentPorts);

    /// The other name of a socket's peer.
    fn socket_peer(&self, key: &SocketKey<A>) -> Option<SocketPeer<A>>;

    /// Remembers the other name of a socket's peer.
    fn insert_socket_peer(&self, key: &SocketKey<A>, peer: SocketPeer<A>);

    /// The address to masquerade with on the device that the packet leaves by.
    fn masquerade_address(&self) -> Option<A>;

    /// Whether a source range of its Service admits this client.
    fn admits(&self, client: &SourceRangeKey<A>) -> bool;

    /// Calls `f` on what is known of a client, in place. Concurrency: as for [`Self::with_flow`].
    fn with_affinity<R>(
        &self,
        client: &AffinityKey<A>,
        f: impl FnOnce(&mut Affinity) -> R,
    ) -> Option<R>;

    /// Has a client stay with an endpoint; `false` when another one is there ([`Insert::Keep`]).
    fn insert_affinity(&self, client: &AffinityKey<A>, affinity: &Affinity, insert: Insert)
    -> bool;

    /// How many flows of a backend are open, of Services that pick by least connections.
    fn open_flows(&self, backend: BackendId) -> u32;

    /// Counts an open flow of a backend, or one that is open no more.
    ///
    /// Concurrency: of two CPUs that count at the same time, one may not be heard. The sweep counts
    /// anew; until then a backend is thought to be a little busier or less busy than it is.
    fn change_open_flows(&self, backend: BackendId, change: Change);

    /// Whether a socket of the node would get a packet with this tuple. TCP and UDP; asked at the
    /// tc hooks only.
    fn has_socket(&self, tuple: &Tuple<A>) -> bool;
}

/// What doesn't depend on the family.
pub trait Kernel {
    /// The element of `CONFIG`; `None` before the agent has written it.
    fn config(&self) -> Option<&Config>;

    /// A word of `ADDRESS_FILTER`.
    fn filter_word(&self, index: u32) -> u64;

    /// A slot of `SLOTS`.
    fn slot(&self, index: u32) -> Option<BackendId>;

    /// The monotonic clock, as of the last tick.
    fn now(&self) -> Nanoseconds;

    /// 32 random bits.
    fn random(&self) -> u32;

    /// Adds one packet to a counter.
    fn count(&self, counter: Counter);

    /// Takes one from this CPU's budget of ICMP errors; `false` when none is left.
    fn take_reject_budget(&self) -> bool;

    /// What is behind the device that the packet is at. A device that isn't known is a workload's.
    fn device_role(&self) -> DeviceRole;

    /// How many turns a Service port that picks round-robin has had, and adds one.
    ///
    /// Concurrency: two CPUs may get the same number. Then an endpoint is picked twice in a row,
    /// and the next ones have their turns all the same.
    fn take_turn(&self, service: ServiceId) -> u32;

    /// The sets of a Service port with session affinity that an endpoint is in.
    fn member_sets(&self, member: &MemberKey) -> MemberSets;

    /// The open flow that a socket counts as.
    fn counted_socket(&self, cookie: u64) -> Option<CountedSocket>;

    /// Has a socket count as an open flow.
    fn insert_counted_socket(&self, cookie: u64, socket: CountedSocket);

    /// A socket counts as an open flow no more.
    fn remove_counted_socket(&self, cookie: u64);
}
