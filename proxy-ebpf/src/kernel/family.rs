//! [`Maps`] over the kernel's maps, for both families.

use core::ptr;

use aya_ebpf::{
    bindings::{BPF_ANY, BPF_NOEXIST},
    btf_maps::lpm_trie::Key,
};
use proxy_common::{
    Affinity, AffinityKey, Backend, BackendId, Be16, Flow, FragmentKey, FragmentPorts, Frontend,
    Service, ServiceClient, SocketKey, SocketPeer, SourceRangeKey, Tuple, V4, V6,
};
use proxy_ebpf::env::{Change, FlowTable, Insert, Maps};

use super::{
    env::Live,
    maps::{
        AFFINITY_V4, AFFINITY_V6, BACKENDS_V4, BACKENDS_V6, DST_FLOWS_V4, DST_FLOWS_V6,
        FRAGMENTS_V4, FRAGMENTS_V6, NEW_DST_FLOWS_V4, NEW_DST_FLOWS_V6, NEW_SRC_FLOWS_V4,
        NEW_SRC_FLOWS_V6, OPEN_FLOWS_V4, OPEN_FLOWS_V6, SERVICES_V4, SERVICES_V6, SOCKETS_V4,
        SOCKETS_V6, SOURCE_RANGES_V4, SOURCE_RANGES_V6, SRC_FLOWS_V4, SRC_FLOWS_V6,
    },
    socket_table,
};

const fn update_flags(insert: Insert) -> u64 {
    match insert {
        Insert::Replace => BPF_ANY as u64,
        Insert::Keep => BPF_NOEXIST as u64,
    }
}

macro_rules! maps_of_family {
    (
        $address:ty, $services:ident, $backends:ident, $sockets:ident, $fragments:ident,
        $dst:ident, $src:ident, $new_dst:ident, $new_src:ident, $source_ranges:ident,
        $affinity:ident, $open_flows:ident, $masquerade:ident
    ) => {
        impl Maps<$address> for Live {
            #[inline(always)]
            fn service(&self, frontend: &Frontend<$address>) -> Option<Service> {
                // SAFETY: copied at once. An element that is being replaced is another element:
                // the kernel never writes a hash element's value in place for the agent.
                unsafe { $services.get(frontend).copied() }
            }

            #[inline(always)]
            fn backend(&self, id: BackendId) -> Option<Backend<$address>> {
                let backend = *$backends.get(id.get())?;
                if backend.port == Be16::ZERO { None } else { Some(backend) }
            }

            #[inline(always)]
            fn with_flow<R>(
                &self,
                table: FlowTable,
                key: &Tuple<$address>,
                f: impl FnOnce(&mut Flow<$address>) -> R,
            ) -> Option<R> {
                let flow = match table {
                    FlowTable::Dst => $dst.get_ptr_mut(key),
                    FlowTable::Src => $src.get_ptr_mut(key),
                    FlowTable::NewDst => $new_dst.get_ptr_mut(key),
                    FlowTable::NewSrc => $new_src.get_ptr_mut(key),
                }?;
                // SAFETY: the kernel keeps the element's memory until the program ends.
                // Concurrency: what other CPUs may do to it meanwhile, `Maps::with_flow` says.
                Some(f(unsafe { &mut *flow }))
            }

            #[inline(always)]
            fn insert_flow(
                &self,
                table: FlowTable,
                key: &Tuple<$address>,
                flow: &Flow<$address>,
                insert: Insert,
            ) -> bool {
                let flags = update_flags(insert);
                match table {
                    FlowTable::Dst => $dst.insert(key, flow, flags),
                    FlowTable::Src => $src.insert(key, flow, flags),
                    FlowTable::NewDst => $new_dst.insert(key, flow, flags),
                    FlowTable::NewSrc => $new_src.insert(key, flow, flags),
                }
                .is_ok()
            }

            #[inline(always)]
            fn remove_flow(&self, table: FlowTable, key: &Tuple<$address>) {
                // A flow that is gone already is what was wanted.
                let _ = match table {
                    FlowTable::Dst => $dst.remove(key),
                    FlowTable::Src => $src.remove(key),
                    FlowTable::NewDst => $new_dst.remove(key),
                    FlowTable::NewSrc => $new_src.remove(key),
                };
            }

            #[inline(always)]
            fn fragment(&self, key: &FragmentKey<$address>) -> Option<FragmentPorts> {
                // SAFETY: copied at once; a reused element has the ports of another datagram, and
                // then this one is lost like any fragment that is evicted.
                unsafe { $fragments.get(key).copied() }
            }

            #[inline(always)]
            fn insert_fragment(&self, key: &FragmentKey<$address>, ports: FragmentPorts) {
                // Without it the later fragments are dropped, and counted.
                let _ = $fragments.insert(key, &ports, BPF_ANY as u64);
            }

            #[inline(always)]
            fn socket_peer(&self, key: &SocketKey<$address>) -> Option<SocketPeer<$address>> {
                // SAFETY: copied at once; reuse needs an eviction between look-up and copy.
                unsafe { $sockets.get(key).copied() }
            }

            #[inline(always)]
            fn insert_socket_peer(&self, key: &SocketKey<$address>, peer: SocketPeer<$address>) {
                // Without it the socket works, and shows the endpoint as its peer.
                let _ = $sockets.insert(key, &peer, BPF_ANY as u64);
            }

            #[inline(always)]
            fn masquerade_address(&self) -> Option<$address> {
                let address = self.device()?.$masquerade;
                let none: $address = bytemuck::Zeroable::zeroed();
                if address == none { None } else { Some(address) }
            }

            #[inline(always)]
            fn admits(&self, client: &SourceRangeKey<$address>) -> bool {
                // SAFETY: `Key` is the same two fields, and has no demands on alignment.
                let key: &Key<ServiceClient<$address>> = unsafe { &*ptr::from_ref(client).cast() };
                $source_ranges.get(key).is_some()
            }

            #[inline(always)]
            fn with_affinity<R>(
                &self,
                client: &AffinityKey<$address>,
                f: impl FnOnce(&mut Affinity) -> R,
            ) -> Option<R> {
                let affinity = $affinity.get_ptr_mut(client)?;
                // SAFETY: as in `with_flow`.
                Some(f(unsafe { &mut *affinity }))
            }

            #[inline(always)]
            fn insert_affinity(
                &self,
                client: &AffinityKey<$address>,
                affinity: &Affinity,
                insert: Insert,
            ) -> bool {
                $affinity.insert(client, affinity, update_flags(insert)).is_ok()
            }

            #[inline(always)]
            fn open_flows(&self, backend: BackendId) -> u32 {
                $open_flows.get(backend.get()).copied().unwrap_or(0)
            }

            #[inline(always)]
            fn change_open_flows(&self, backend: BackendId, change: Change) {
                let Some(count) = $open_flows.get_ptr_mut(backend.get()) else { return };
                // SAFETY: an array's element lives as long as the map.
                // Concurrency: see `Maps::change_open_flows`.
                unsafe { *count = change.applied_to(*count) };
            }

            #[inline(always)]
            fn has_socket(&self, tuple: &Tuple<$address>) -> bool {
                // SAFETY: whoever asks is a tc program, so the packet is there.
                unsafe { socket_table::has_socket(self.skb, tuple) }
            }
        }
    };
}

maps_of_family!(
    V4,
    SERVICES_V4,
    BACKENDS_V4,
    SOCKETS_V4,
    FRAGMENTS_V4,
    DST_FLOWS_V4,
    SRC_FLOWS_V4,
    NEW_DST_FLOWS_V4,
    NEW_SRC_FLOWS_V4,
    SOURCE_RANGES_V4,
    AFFINITY_V4,
    OPEN_FLOWS_V4,
    masquerade_v4
);
maps_of_family!(
    V6,
    SERVICES_V6,
    BACKENDS_V6,
    SOCKETS_V6,
    FRAGMENTS_V6,
    DST_FLOWS_V6,
    SRC_FLOWS_V6,
    NEW_DST_FLOWS_V6,
    NEW_SRC_FLOWS_V6,
    SOURCE_RANGES_V6,
    AFFINITY_V6,
    OPEN_FLOWS_V6,
    masquerade_v6
);
