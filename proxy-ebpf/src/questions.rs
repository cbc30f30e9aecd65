//! Programs that ask the kernel something which only a program can ask.
//!
//! Each is run once and never attached. Loaded by `proxy-agent/src/datapath/questions.rs`.

#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(not(target_arch = "bpf"))]
fn main() {}

#[cfg(target_arch = "bpf")]
mod programs {
    use aya_ebpf::{
        bindings::BPF_F_PSEUDO_HDR,
        btf_maps::Array,
        helpers::generated::{bpf_jiffies64, bpf_l4_csum_replace},
        macros::{btf_map, classifier},
        programs::TcContext,
    };
    use proxy_common::BPF_F_IPV6;

    /// The count of [`tell_ticks`].
    #[btf_map]
    static TICKS: Array<u64, 1> = Array::new();

    /// What is the count of ticks (`jiffies`)?
    #[classifier]
    pub(crate) fn tell_ticks(_: TcContext) -> i32 {
        if let Some(ticks) = TICKS.get_ptr_mut(0) {
            // SAFETY: an array's element lives as long as the map, and only one runs this program.
            // The helper takes nothing and returns a number. kernel ≥ 5.6
            unsafe { *ticks = bpf_jiffies64() };
        }
        0
    }

    /// Does `bpf_l4_csum_replace` know `BPF_F_IPV6`? 0 if so, or its errno.
    #[classifier]
    pub(crate) fn repair_ipv6(context: TcContext) -> i32 {
        let flags = u64::from(BPF_F_PSEUDO_HDR) | BPF_F_IPV6;
        // SAFETY: the context is valid while the program runs; a difference of 0 changes nothing.
        unsafe { bpf_l4_csum_replace(context.skb.skb, 0, 0, 0, flags) as i32 }
    }

    #[unsafe(link_section = "license")]
    #[unsafe(no_mangle)]
    static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

    #[panic_handler]
    fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
        // Never linked: the build refuses an object with a panicking path.
        loop {}
    }
}
