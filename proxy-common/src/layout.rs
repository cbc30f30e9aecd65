//! The maps: name, kind, size and purpose of each. `docs/maps.md`, the loader and `sluice cleanup`
//! go by this table.

use crate::{COUNTERS, FILTER_WORDS};

/// Version of the layout. Maps are pinned under `<pin path>/v<LAYOUT_VERSION>/`; a change of any
/// key or value raises it.
pub const LAYOUT_VERSION: u32 = 1;

/// The kernel's map type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MapKind {
    /// `BPF_MAP_TYPE_HASH` with `BPF_F_NO_PREALLOC`: takes memory as it fills.
    Hash,
    /// `BPF_MAP_TYPE_LRU_HASH`: evicts when full.
    LruHash,
    /// `BPF_MAP_TYPE_ARRAY`.
    Array,
    /// `BPF_MAP_TYPE_PERCPU_ARRAY`.
    PerCpuArray,
    /// `BPF_MAP_TYPE_LPM_TRIE` with `BPF_F_NO_PREALLOC`: finds the longest prefix.
    LpmTrie,
}

/// One map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapSpec {
    /// Its name: in the object file, in the kernel, and of its pin.
    pub name: &'static str,
    /// The kernel's map type.
    pub kind: MapKind,
    /// The type of its keys, as it is called in `proxy-common`.
    pub key: &'static str,
    /// The type of its values, likewise.
    pub value: &'static str,
    /// How many elements it has room for at first, unless flags say otherwise. Maps of Services and
    /// endpoints grow.
    pub max_entries: u32,
    /// What it is for, in one sentence.
    pub purpose: &'static str,
}

/// Room for frontends, per family.
pub const SERVICES_MAX: u32 = 1 << 17;
/// Room for slots, both families together.
pub const SLOTS_MAX: u32 = 1 << 19;
/// Room for backends, per family.
pub const BACKENDS_MAX: u32 = 1 << 17;
/// Room for settled half flows, per family and direction.
pub const FLOWS_MAX: u32 = 1 << 19;
/// Room for new half flows, per family and direction.
pub const NEW_FLOWS_MAX: u32 = 1 << 16;
/// Room for translated sockets, per family.
pub const SOCKETS_MAX: u32 = 1 << 16;
/// Room for fragmented datagrams under way, per family.
pub const FRAGMENTS_MAX: u32 = 1 << 13;
/// Room for clients that stay with their endpoint, per family.
pub const AFFINITY_MAX: u32 = 1 << 16;
/// Room for endpoints of Service ports with session affinity, both families together.
pub const AFFINITY_MEMBERS_MAX: u32 = 1 << 18;
/// Room for source ranges, per family.
pub const SOURCE_RANGES_MAX: u32 = 1 << 16;
/// Room for devices.
pub const DEVICES_MAX: u32 = 1 << 12;

const fn spec(
    name: &'static str,
    kind: MapKind,
    (key, value): (&'static str, &'static str),
    max_entries: u32,
    purpose: &'static str,
) -> MapSpec {
    MapSpec { name, kind, key, value, max_entries, purpose }
}

/// Every map, in the order in which a packet meets them.
pub const MAPS: &[MapSpec] = &[
    spec(
        "CONFIG",
        MapKind::Array,
        ("u32", "Config"),
        1,
        "What every program reads before it decides.",
    ),
    spec(
        "DEVICES",
        MapKind::Hash,
        ("u32", "Device"),
        DEVICES_MAX,
        "Devices that programs are attached to, by ifindex.",
    ),
    spec(
        "ADDRESS_FILTER",
        MapKind::Array,
        ("u32", "u64"),
        FILTER_WORDS,
        "Four bits for each slot of addresses, then for each port of TCP and of UDP: clear bits prove that no frontend (no backend) and no flow has the address, or the port.",
    ),
    spec(
        "DST_FLOWS_V4",
        MapKind::Hash,
        ("Tuple<V4>", "Flow<V4>"),
        FLOWS_MAX,
        "Settled flows at ingress: the tuple on the wire to the destination to write.",
    ),
    spec(
        "DST_FLOWS_V6",
        MapKind::Hash,
        ("Tuple<V6>", "Flow<V6>"),
        FLOWS_MAX,
        "Settled flows at ingress: the tuple on the wire to the destination to write.",
    ),
    spec(
        "SRC_FLOWS_V4",
        MapKind::Hash,
        ("Tuple<V4>", "Flow<V4>"),
        FLOWS_MAX,
        "Settled flows at egress: the tuple on the wire to the source to write.",
    ),
    spec(
        "SRC_FLOWS_V6",
        MapKind::Hash,
        ("Tuple<V6>", "Flow<V6>"),
        FLOWS_MAX,
        "Settled flows at egress: the tuple on the wire to the source to write.",
    ),
    spec(
        "NEW_DST_FLOWS_V4",
        MapKind::LruHash,
        ("Tuple<V4>", "Flow<V4>"),
        NEW_FLOWS_MAX,
        "New flows at ingress, until their opener sends on after an answer: a flood evicts here and nowhere else.",
    ),
    spec(
        "NEW_DST_FLOWS_V6",
        MapKind::LruHash,
        ("Tuple<V6>", "Flow<V6>"),
        NEW_FLOWS_MAX,
        "New flows at ingress, until their opener sends on after an answer: a flood evicts here and nowhere else.",
    ),
    spec(
        "NEW_SRC_FLOWS_V4",
        MapKind::LruHash,
        ("Tuple<V4>", "Flow<V4>"),
        NEW_FLOWS_MAX,
        "New flows at egress.",
    ),
    spec(
        "NEW_SRC_FLOWS_V6",
        MapKind::LruHash,
        ("Tuple<V6>", "Flow<V6>"),
        NEW_FLOWS_MAX,
        "New flows at egress.",
    ),
    spec(
        "SERVICES_V4",
        MapKind::Hash,
        ("Frontend<V4>", "Service"),
        SERVICES_MAX,
        "Frontends, and the endpoint sets that each leads to.",
    ),
    spec(
        "SERVICES_V6",
        MapKind::Hash,
        ("Frontend<V6>", "Service"),
        SERVICES_MAX,
        "Frontends, and the endpoint sets that each leads to.",
    ),
    spec(
        "SERVICE_NAMES",
        MapKind::Hash,
        ("u32", "ServiceName"),
        SERVICES_MAX,
        "What Kubernetes calls a Service port, by service id; no program reads it.",
    ),
    spec(
        "SLOTS",
        MapKind::Array,
        ("u32", "BackendId"),
        SLOTS_MAX,
        "Endpoint sets: runs of slots, each naming a backend.",
    ),
    spec("BACKENDS_V4", MapKind::Array, ("u32", "Backend<V4>"), BACKENDS_MAX, "Backends by id."),
    spec("BACKENDS_V6", MapKind::Array, ("u32", "Backend<V6>"), BACKENDS_MAX, "Backends by id."),
    spec(
        "TURNS",
        MapKind::Hash,
        ("u32", "u32"),
        SERVICES_MAX,
        "Whose turn it is, by service id: how many flows of a Service port that picks round-robin have been opened.",
    ),
    spec(
        "OPEN_FLOWS_V4",
        MapKind::Array,
        ("u32", "u32"),
        BACKENDS_MAX,
        "Open flows by backend id, of Services that pick by least connections; corrected by every sweep.",
    ),
    spec(
        "OPEN_FLOWS_V6",
        MapKind::Array,
        ("u32", "u32"),
        BACKENDS_MAX,
        "Open flows by backend id, likewise.",
    ),
    spec(
        "AFFINITY_V4",
        MapKind::LruHash,
        ("AffinityKey<V4>", "Affinity"),
        AFFINITY_MAX,
        "Which endpoint a client stays with.",
    ),
    spec(
        "AFFINITY_V6",
        MapKind::LruHash,
        ("AffinityKey<V6>", "Affinity"),
        AFFINITY_MAX,
        "Which endpoint a client stays with.",
    ),
    spec(
        "AFFINITY_MEMBERS",
        MapKind::Hash,
        ("MemberKey", "MemberSets"),
        AFFINITY_MEMBERS_MAX,
        "The sets that an endpoint of a Service port with session affinity is in.",
    ),
    spec(
        "SOURCE_RANGES_V4",
        MapKind::LpmTrie,
        ("SourceRangeKey<V4>", "u32"),
        SOURCE_RANGES_MAX,
        "Who may use a load balancer's frontend.",
    ),
    spec(
        "SOURCE_RANGES_V6",
        MapKind::LpmTrie,
        ("SourceRangeKey<V6>", "u32"),
        SOURCE_RANGES_MAX,
        "Who may use a load balancer's frontend.",
    ),
    spec(
        "COUNTED_SOCKETS",
        MapKind::LruHash,
        ("u64", "CountedSocket"),
        SOCKETS_MAX,
        "Connected sockets that count as open flows, by cookie.",
    ),
    spec(
        "SOCKETS_V4",
        MapKind::LruHash,
        ("SocketKey<V4>", "SocketPeer<V4>"),
        SOCKETS_MAX,
        "Sockets translated at connect() or sendmsg(), and the frontend their owner asked for.",
    ),
    spec(
        "SOCKETS_V6",
        MapKind::LruHash,
        ("SocketKey<V6>", "SocketPeer<V6>"),
        SOCKETS_MAX,
        "Sockets translated at connect() or sendmsg(), and the frontend their owner asked for.",
    ),
    spec(
        "FRAGMENTS_V4",
        MapKind::LruHash,
        ("FragmentKey<V4>", "FragmentPorts"),
        FRAGMENTS_MAX,
        "Ports of fragmented datagrams under way.",
    ),
    spec(
        "FRAGMENTS_V6",
        MapKind::LruHash,
        ("FragmentKey<V6>", "FragmentPorts"),
        FRAGMENTS_MAX,
        "Ports of fragmented datagrams under way.",
    ),
    spec(
        "REJECT_LIMIT",
        MapKind::PerCpuArray,
        ("u32", "RejectBudget"),
        1,
        "How many more refusals a CPU may answer with ICMP in this second.",
    ),
    spec(
        "COUNTERS",
        MapKind::PerCpuArray,
        ("u32", "u64"),
        COUNTERS,
        "Events, rejects and drops by reason, in packets.",
    ),
];
