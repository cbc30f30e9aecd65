//! What the datapath asks of its surroundings: the maps and the kernel.
//!
//! Only look-ups that are needed, each with the contract that the kernel's maps give: a value may
//! change under the reader, an insert may fail because the table is full.

use proxy_common::{
    Backend, BackendId, Config, Counter, Flow, FragmentKey, FragmentPorts, Frontend, Nanoseconds,
    Service, SocketKey, SocketPeer, Tuple,
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
}

/// What doesn't depend on the family.
pub trait Kernel {
    /// The element of `CONFIG`; `None` before the agent has written it.
    fn config(&self) -> Option<&Config>;

    /// A word of `ADDRESS_FILTER`.
    fn filter_word(&self, index: u32) -> u64;

    /// A slot of `SLOTS`.
    fn slot(&self, index: u32) -> Option<BackendId>;

    /// The coarse monotonic clock.
    fn now(&self) -> Nanoseconds;

    /// 32 random bits.
    fn random(&self) -> u32;

    /// Adds one packet to a counter.
    fn count(&self, counter: Counter);

    /// Takes one from this CPU's budget of ICMP errors; `false` when none is left.
    fn take_reject_budget(&self) -> bool;
}
