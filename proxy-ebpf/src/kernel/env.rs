//! [`Maps`] and [`Kernel`] over the kernel's maps and helpers.

use aya_ebpf::{
    bindings::{BPF_ANY, BPF_NOEXIST},
    helpers::{bpf_get_prandom_u32, generated::bpf_ktime_get_coarse_ns},
};
use proxy_common::{
    Backend, BackendId, Be16, Config, Counter, Device, Flow, FragmentKey, FragmentPorts, Frontend,
    Nanoseconds, REJECTS_PER_SECOND, Service, SocketKey, SocketPeer, Tuple, V4, V6,
};
use proxy_ebpf::env::{FlowTable, Insert, Kernel, Maps};

use super::maps::{
    ADDRESS_FILTER, BACKENDS_V4, BACKENDS_V6, CONFIG, COUNTERS, DEVICES, DST_FLOWS_V4,
    DST_FLOWS_V6, FRAGMENTS_V4, FRAGMENTS_V6, NEW_DST_FLOWS_V4, NEW_DST_FLOWS_V6, NEW_SRC_FLOWS_V4,
    NEW_SRC_FLOWS_V6, REJECT_LIMIT, SERVICES_V4, SERVICES_V6, SLOTS, SOCKETS_V4, SOCKETS_V6,
    SRC_FLOWS_V4, SRC_FLOWS_V6,
};

/// The running kernel, as a program on one device (or on none, ifindex 0) sees it.
pub(crate) struct Live {
    /// The device that the program runs on.
    pub(crate) ifindex: u32,
}

impl Live {
    fn device(&self) -> Option<&Device> {
        // SAFETY: only the agent writes devices, by replacing them; a reader that meets a reused
        // element reads another device's address, as it would a moment later.
        unsafe { DEVICES.get(self.ifindex) }
    }
}

const fn update_flags(insert: Insert) -> u64 {
    match insert {
        Insert::Replace => BPF_ANY as u64,
        Insert::Keep => BPF_NOEXIST as u64,
    }
}

macro_rules! maps_of_family {
    (
        $address:ty, $services:ident, $backends:ident, $sockets:ident, $fragments:ident,
        $dst:ident, $src:ident, $new_dst:ident, $new_src:ident, $masquerade:ident
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
    masquerade_v6
);

impl Kernel for Live {
    #[inline(always)]
    fn config(&self) -> Option<&Config> {
        CONFIG.get(0)
    }

    #[inline(always)]
    fn filter_word(&self, index: u32) -> u64 {
        ADDRESS_FILTER.get(index).copied().unwrap_or(0)
    }

    #[inline(always)]
    fn slot(&self, index: u32) -> Option<BackendId> {
        SLOTS.get(index).copied()
    }

    #[inline(always)]
    fn now(&self) -> Nanoseconds {
        // SAFETY: the helper takes nothing and returns a number. kernel ≥ 5.11
        Nanoseconds::new(unsafe { bpf_ktime_get_coarse_ns() })
    }

    #[inline(always)]
    fn random(&self) -> u32 {
        // SAFETY: the helper takes nothing and returns a number.
        unsafe { bpf_get_prandom_u32() }
    }

    #[inline(always)]
    fn count(&self, counter: Counter) {
        if let Some(count) = COUNTERS.get_ptr_mut(counter.index()) {
            // SAFETY: this CPU's own element, and programs at these hooks don't preempt each other
            // on a CPU.
            unsafe { *count = (*count).wrapping_add(1) };
        }
    }

    #[inline(always)]
    fn take_reject_budget(&self) -> bool {
        const SECOND: u64 = 1_000_000_000;
        let Some(budget) = REJECT_LIMIT.get_ptr_mut(0) else { return false };
        // SAFETY: this CPU's own element, as in `count`.
        let budget = unsafe { &mut *budget };
        let now = self.now();
        if now.get().wrapping_sub(budget.since.get()) >= SECOND {
            budget.since = now;
            budget.sent = 0;
        }
        budget.sent = budget.sent.wrapping_add(1);
        budget.sent <= REJECTS_PER_SECOND
    }
}
