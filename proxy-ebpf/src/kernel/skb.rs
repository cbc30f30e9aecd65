//! [`Packet`] over the kernel's socket buffer, by direct access.

use aya_ebpf::{
    bindings::{
        __sk_buff, BPF_F_MARK_MANGLED_0, BPF_F_PSEUDO_HDR, bpf_adj_room_mode::BPF_ADJ_ROOM_MAC,
    },
    helpers::generated::{
        bpf_csum_update, bpf_l4_csum_replace, bpf_skb_adjust_room, bpf_skb_change_tail,
        bpf_skb_pull_data,
    },
};
use bytemuck::Pod;
use proxy_common::{BPF_F_IPV6, KernelLacks};
use proxy_ebpf::packet::{ChecksumKind, Covered, Packet};

use super::facts::lacks;

/// A socket buffer at a tc hook.
pub(crate) struct Skb {
    skb: *mut __sk_buff,
}

impl Skb {
    /// The buffer a program was called with.
    #[inline(always)]
    pub(crate) fn new(skb: *mut __sk_buff) -> Self {
        Self { skb }
    }

    /// The first `length` bytes are made readable, where the packet has them elsewhere.
    #[inline(always)]
    pub(crate) fn make_readable(&mut self, length: u32) {
        // SAFETY: the context is valid while the program runs.
        let (start, end, total) =
            unsafe { ((*self.skb).data as usize, (*self.skb).data_end as usize, (*self.skb).len) };
        // verifier: no arithmetic on packet pointers but the comparison.
        if start + length as usize > end {
            // A packet may be shorter, with all of it readable.
            let length = if length < total { length } else { total };
            if start + length as usize > end {
                // SAFETY: as above. On failure the bytes stay unreadable, and `read` says so.
                unsafe { bpf_skb_pull_data(self.skb, length) };
            }
        }
    }

    /// Where `size` bytes at `offset` are, if they are readable.
    #[inline(always)]
    fn at<T>(&self, offset: usize) -> Option<*mut T> {
        // SAFETY: the context is valid while the program runs.
        // verifier: volatile, so that each access keeps a comparison of its own. The compiler would
        // drop one that follows from an earlier one, by an argument the verifier can't see.
        let (start, end) = unsafe {
            (
                (&raw const (*self.skb).data).read_volatile() as usize,
                (&raw const (*self.skb).data_end).read_volatile() as usize,
            )
        };
        // verifier: this very comparison is what allows the access that follows.
        if start + offset + size_of::<T>() > end {
            return None;
        }
        Some((start + offset) as *mut T)
    }
}

fn succeeded(code: i64) -> Option<()> {
    if code == 0 { Some(()) } else { None }
}

impl Packet for Skb {
    #[inline(always)]
    fn read<T: Pod>(&self, offset: usize) -> Option<T> {
        // SAFETY: inside the packet, and any bytes are a `T`. The address may not be aligned for
        // `T`; BPF has no such requirement where the kernel allows the access, and the verifier
        // refuses it where it does not.
        Some(unsafe { *self.at::<T>(offset)? })
    }

    #[inline(always)]
    fn write<T: Pod>(&mut self, offset: usize, value: T) -> Option<()> {
        let at = self.at::<T>(offset)?;
        // SAFETY: as in `read`.
        unsafe { *at = value };
        Some(())
    }

    #[inline(always)]
    fn length(&self) -> u32 {
        // SAFETY: the context is valid while the program runs.
        unsafe { (*self.skb).len }
    }

    #[inline(always)]
    fn adjust_checksum(
        &mut self,
        offset: usize,
        kind: ChecksumKind,
        covered: Covered,
        difference: u32,
        family_words: usize,
    ) -> Option<()> {
        let mark = match kind {
            ChecksumKind::Plain => 0,
            ChecksumKind::ZeroIsNone => BPF_F_MARK_MANGLED_0,
        };
        let pseudo = match covered {
            Covered::PseudoHeader => BPF_F_PSEUDO_HDR,
            Covered::Payload => 0,
        };
        // The helper takes the difference from a sum that the device made over the packet
        // (CHECKSUM_COMPLETE), as is right for IPv4, where the header checksum makes up for the
        // address. IPv6 has none: the sum has to stay.
        let keeps_sum = covered == Covered::PseudoHeader && family_words == 4;
        let knows_ipv6 = !lacks(KernelLacks::CSUM_IPV6);
        let ipv6 = if keeps_sum && knows_ipv6 { BPF_F_IPV6 } else { 0 };
        // SAFETY: the context is valid; offsets are checked by the helper. A field size of 0 says
        // that the difference is given and not the old and new value.
        let code = unsafe {
            bpf_l4_csum_replace(
                self.skb,
                offset as u32,
                0,
                u64::from(difference),
                u64::from(mark | pseudo) | ipv6,
            )
        };
        if keeps_sum && !knows_ipv6 {
            // SAFETY: the context is valid. Gives back what was taken; where there is no such sum
            // nothing happens.
            let _ = unsafe { bpf_csum_update(self.skb, difference) };
        }
        succeeded(code)
    }

    #[inline(always)]
    fn resize(&mut self, length: u32) -> Option<()> {
        // SAFETY: the context is valid; the helper checks the length.
        succeeded(unsafe { bpf_skb_change_tail(self.skb, length, 0) })
    }

    #[inline(always)]
    fn grow(&mut self, bytes: u32) -> Option<()> {
        // SAFETY: the context is valid; the helper checks the length.
        succeeded(unsafe { bpf_skb_adjust_room(self.skb, bytes as i32, BPF_ADJ_ROOM_MAC, 0) })
    }
}
