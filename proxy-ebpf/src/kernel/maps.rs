//! The maps, as `proxy_common::layout` lists them. The agent may change sizes when it loads them.

use aya_ebpf::{
    bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC},
    btf_maps::{Array, HashMap, LpmTrie, LruHashMap, PerCpuArray},
    macros::btf_map,
};
use proxy_common::{
    Affinity, AffinityKey, Backend, BackendId, COUNTERS as COUNTERS_MAX, Config, CountedSocket,
    Device, FILTER_WORDS, Flow, FragmentKey, FragmentPorts, Frontend, MemberKey, MemberSets,
    RejectBudget, Service, ServiceClient, ServiceName, SocketKey, SocketPeer, Tuple, V4, V6,
    layout::{
        AFFINITY_MAX, AFFINITY_MEMBERS_MAX, BACKENDS_MAX, DEVICES_MAX, FLOWS_MAX, FRAGMENTS_MAX,
        NEW_FLOWS_MAX, SERVICES_MAX, SLOTS_MAX, SOCKETS_MAX, SOURCE_RANGES_MAX,
    },
};

const ON_DEMAND: usize = BPF_F_NO_PREALLOC as usize;
/// The agent reads all of it as memory.
const MAPPABLE: usize = BPF_F_MMAPABLE as usize;

const FRAGMENTS: usize = FRAGMENTS_MAX as usize;
const FLOWS: usize = FLOWS_MAX as usize;
const NEW_FLOWS: usize = NEW_FLOWS_MAX as usize;
const SERVICES: usize = SERVICES_MAX as usize;
const BACKENDS: usize = BACKENDS_MAX as usize;
const SOCKETS: usize = SOCKETS_MAX as usize;

type Flows<A> = HashMap<Tuple<A>, Flow<A>, FLOWS, ON_DEMAND>;
type NewFlows<A> = LruHashMap<Tuple<A>, Flow<A>, NEW_FLOWS>;
type Services<A> = HashMap<Frontend<A>, Service, SERVICES, ON_DEMAND>;
type Backends<A> = Array<Backend<A>, BACKENDS, MAPPABLE>;
type Sockets<A> = LruHashMap<SocketKey<A>, SocketPeer<A>, SOCKETS>;
type Affinities<A> = LruHashMap<AffinityKey<A>, Affinity, { AFFINITY_MAX as usize }>;
type SourceRanges<A> = LpmTrie<ServiceClient<A>, u32, { SOURCE_RANGES_MAX as usize }, ON_DEMAND>;
type Fragments<A> = LruHashMap<FragmentKey<A>, FragmentPorts, FRAGMENTS>;

macro_rules! maps {
    ($($name:ident: $kind:ty;)*) => {$(
        #[btf_map]
        pub(crate) static $name: $kind = <$kind>::new();
    )*};
}

maps! {
    CONFIG: Array<Config, 1>;
    DEVICES: HashMap<u32, Device, { DEVICES_MAX as usize }, ON_DEMAND>;
    ADDRESS_FILTER: Array<u64, { FILTER_WORDS as usize }, MAPPABLE>;
    DST_FLOWS_V4: Flows<V4>;
    DST_FLOWS_V6: Flows<V6>;
    SRC_FLOWS_V4: Flows<V4>;
    SRC_FLOWS_V6: Flows<V6>;
    NEW_DST_FLOWS_V4: NewFlows<V4>;
    NEW_DST_FLOWS_V6: NewFlows<V6>;
    NEW_SRC_FLOWS_V4: NewFlows<V4>;
    NEW_SRC_FLOWS_V6: NewFlows<V6>;
    SERVICES_V4: Services<V4>;
    SERVICES_V6: Services<V6>;
    SERVICE_NAMES: HashMap<u32, ServiceName, SERVICES, ON_DEMAND>;
    SLOTS: Array<BackendId, { SLOTS_MAX as usize }, MAPPABLE>;
    BACKENDS_V4: Backends<V4>;
    BACKENDS_V6: Backends<V6>;
    TURNS: HashMap<u32, u32, SERVICES, ON_DEMAND>;
    OPEN_FLOWS_V4: Array<u32, BACKENDS, MAPPABLE>;
    OPEN_FLOWS_V6: Array<u32, BACKENDS, MAPPABLE>;
    AFFINITY_V4: Affinities<V4>;
    AFFINITY_V6: Affinities<V6>;
    AFFINITY_MEMBERS: HashMap<MemberKey, MemberSets, { AFFINITY_MEMBERS_MAX as usize }, ON_DEMAND>;
    SOURCE_RANGES_V4: SourceRanges<V4>;
    SOURCE_RANGES_V6: SourceRanges<V6>;
    COUNTED_SOCKETS: LruHashMap<u64, CountedSocket, SOCKETS>;
    SOCKETS_V4: Sockets<V4>;
    SOCKETS_V6: Sockets<V6>;
    FRAGMENTS_V4: Fragments<V4>;
    FRAGMENTS_V6: Fragments<V6>;
    REJECT_LIMIT: PerCpuArray<RejectBudget, 1>;
    COUNTERS: PerCpuArray<u64, { COUNTERS_MAX as usize }>;
}
