//! The maps that an explanation is made from, to be read only: computed ones
//! ([`proxy_ebpf::user::Machine`]) or those of the running datapath ([`super::live`]).

use proxy_common::{
    Affinity, AffinityKey, Backend, BackendId, Config, CountedSocket, Flow, FragmentKey,
    FragmentPorts, Frontend, MemberKey, MemberSets, Nanoseconds, Service, ServiceId, SocketKey,
    SocketPeer, SourceRangeKey, Tuple,
};
use proxy_ebpf::{
    env::{FlowTable, Kernel, Maps},
    user::{FamilyOf, Machine},
};

/// Maps without a family.
pub trait Shared {
    /// The element of `CONFIG`; `None` before an agent has written it.
    fn config(&self) -> Option<&Config>;

    /// A word of `ADDRESS_FILTER`.
    fn filter_word(&self, index: u32) -> u64;

    /// A slot of `SLOTS`.
    fn slot(&self, index: u32) -> Option<BackendId>;

    /// What time it is for flows.
    fn now(&self) -> Nanoseconds;

    /// How many turns a Service port has had.
    fn turn(&self, service: ServiceId) -> u32;

    /// The sets of a Service port with session affinity that an endpoint is in.
    fn member_sets(&self, member: &MemberKey) -> MemberSets;

    /// The open flow that a socket counts as.
    fn counted_socket(&self, cookie: u64) -> Option<CountedSocket>;
}

/// The maps of one family.
pub trait Source<A: FamilyOf>: Shared {
    /// The value of a frontend.
    fn service(&self, frontend: &Frontend<A>) -> Option<Service>;

    /// Every frontend at `address`, in order.
    fn frontends_at(&self, address: A) -> Vec<(Frontend<A>, Service)>;

    /// A backend.
    fn backend(&self, id: BackendId) -> Option<Backend<A>>;

    /// A half of a flow.
    fn flow(&self, table: FlowTable, key: &Tuple<A>) -> Option<Flow<A>>;

    /// The ports of a fragmented datagram.
    fn fragment(&self, key: &FragmentKey<A>) -> Option<FragmentPorts>;

    /// The other name of a socket's peer.
    fn socket_peer(&self, key: &SocketKey<A>) -> Option<SocketPeer<A>>;

    /// Whether a source range admits a client.
    fn admits(&self, client: &SourceRangeKey<A>) -> bool;

    /// The endpoint that a client stays with.
    fn affinity(&self, client: &AffinityKey<A>) -> Option<Affinity>;

    /// How many flows of a backend are open.
    fn open_flows(&self, backend: BackendId) -> u32;
}

impl Shared for Machine {
    fn config(&self) -> Option<&Config> {
        Kernel::config(self)
    }

    fn filter_word(&self, index: u32) -> u64 {
        Kernel::filter_word(self, index)
    }

    fn slot(&self, index: u32) -> Option<BackendId> {
        Kernel::slot(self, index)
    }

    fn now(&self) -> Nanoseconds {
        Kernel::now(self)
    }

    fn turn(&self, service: ServiceId) -> u32 {
        self.turns.borrow().get(&service).copied().unwrap_or_default()
    }

    fn member_sets(&self, member: &MemberKey) -> MemberSets {
        Kernel::member_sets(self, member)
    }

    fn counted_socket(&self, cookie: u64) -> Option<CountedSocket> {
        Kernel::counted_socket(self, cookie)
    }
}

impl<A: FamilyOf> Source<A> for Machine {
    fn service(&self, frontend: &Frontend<A>) -> Option<Service> {
        Maps::service(self, frontend)
    }

    fn frontends_at(&self, address: A) -> Vec<(Frontend<A>, Service)> {
        let services = A::of(self).services.iter();
        let at =
            services.filter(|(frontend, _)| frontend.address == address && !frontend.is_marker());
        let mut at: Vec<_> = at.map(|(frontend, service)| (*frontend, *service)).collect();
        at.sort_by_key(|(frontend, _)| *frontend);
        at
    }

    fn backend(&self, id: BackendId) -> Option<Backend<A>> {
        Maps::backend(self, id)
    }

    fn flow(&self, table: FlowTable, key: &Tuple<A>) -> Option<Flow<A>> {
        Maps::with_flow(self, table, key, |flow| *flow)
    }

    fn fragment(&self, key: &FragmentKey<A>) -> Option<FragmentPorts> {
        Maps::fragment(self, key)
    }

    fn socket_peer(&self, key: &SocketKey<A>) -> Option<SocketPeer<A>> {
        Maps::socket_peer(self, key)
    }

    fn admits(&self, client: &SourceRangeKey<A>) -> bool {
        Maps::admits(self, client)
    }

    fn affinity(&self, client: &AffinityKey<A>) -> Option<Affinity> {
        Maps::with_affinity(self, client, |affinity| *affinity)
    }

    fn open_flows(&self, backend: BackendId) -> u32 {
        Maps::<A>::open_flows(self, backend)
    }
}
