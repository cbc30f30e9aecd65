//! [`Kernel`] over the kernel's maps and helpers: what doesn't depend on the family.

use core::ptr;

use aya_ebpf::{
    bindings::{__sk_buff, BPF_ANY, BPF_NOEXIST},
    helpers::bpf_get_prandom_u32,
};
use proxy_common::{
    BackendId, Config, CountedSocket, Counter, Device, DeviceRole, MemberKey, MemberSets,
    Nanoseconds, REJECTS_PER_SECOND, ServiceId,
};
use proxy_ebpf::env::Kernel;

use super::{
    facts,
    maps::{
        ADDRESS_FILTER, AFFINITY_MEMBERS, CONFIG, COUNTED_SOCKETS, COUNTERS, DEVICES, REJECT_LIMIT,
        SLOTS, TURNS,
    },
};

/// The running kernel, as a program at one hook sees it.
pub(crate) struct Live {
    /// The packet that a tc program was called with; null at a socket hook.
    pub(super) skb: *mut __sk_buff,
}

impl Live {
    /// As a tc program sees it.
    #[inline(always)]
    pub(crate) fn at_device(skb: *mut __sk_buff) -> Self {
        Self { skb }
    }

    /// As a program at a socket hook sees it.
    #[inline(always)]
    pub(crate) fn at_socket() -> Self {
        Self { skb: ptr::null_mut() }
    }

    /// The device that the program runs on. Only tc programs may ask.
    // verifier: read when it is asked for, for less stack than to keep it.
    #[inline(always)]
    pub(super) fn ifindex(&self) -> u32 {
        // SAFETY: the context is valid while the program runs.
        unsafe { (*self.skb).ifindex }
    }

    /// What the agent says of that device.
    pub(super) fn device(&self) -> Option<&Device> {
        // SAFETY: only the agent writes devices, by replacing them; a reader that meets a reused
        // element reads another device's address, as it would a moment later.
        unsafe { DEVICES.get(self.ifindex()) }
    }
}

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
        facts::now()
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

    #[inline(always)]
    fn device_role(&self) -> DeviceRole {
        let role = self.device().and_then(|device| DeviceRole::from_number(device.role));
        role.unwrap_or(DeviceRole::Workload)
    }

    #[inline(always)]
    fn take_turn(&self, service: ServiceId) -> u32 {
        let service = service.get();
        let Some(turn) = TURNS.get_ptr_mut(service) else {
            // Where there is no room, every flow takes the first turn until there is.
            let _ = TURNS.insert(service, 1, BPF_NOEXIST as u64);
            return 0;
        };
        // SAFETY: the kernel keeps the element's memory until the program ends. Two CPUs may read
        // the same number, see `Kernel::take_turn`.
        unsafe {
            let number = *turn;
            *turn = number.wrapping_add(1);
            number
        }
    }

    #[inline(always)]
    fn member_sets(&self, member: &MemberKey) -> MemberSets {
        // SAFETY: copied at once.
        unsafe { AFFINITY_MEMBERS.get(member).copied() }.unwrap_or(MemberSets::empty())
    }

    #[inline(always)]
    fn counted_socket(&self, cookie: u64) -> Option<CountedSocket> {
        // SAFETY: copied at once; only this socket's own calls write it.
        unsafe { COUNTED_SOCKETS.get(cookie).copied() }
    }

    #[inline(always)]
    fn insert_counted_socket(&self, cookie: u64, socket: CountedSocket) {
        // Without it the count is one too many until the next sweep.
        let _ = COUNTED_SOCKETS.insert(cookie, socket, BPF_ANY as u64);
    }

    #[inline(always)]
    fn remove_counted_socket(&self, cookie: u64) {
        // One that was evicted is gone already.
        let _ = COUNTED_SOCKETS.remove(cookie);
    }
}
