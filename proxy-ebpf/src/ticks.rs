//! One program that tells user space the kernel's count of ticks (`jiffies`).
//!
//! It is run once and never attached. Loaded by `proxy-agent/src/datapath/ticks.rs`.

#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(not(target_arch = "bpf"))]
fn main() {}

#[cfg(target_arch = "bpf")]
mod programs {
    use aya_ebpf::{
        btf_maps::Array,
        helpers::generated::bpf_jiffies64,
        macros::{btf_map, classifier},
        programs::TcContext,
    };

    /// The count.
    #[btf_map]
    static TICKS: Array<u64, 1> = Array::new();

    #[classifier]
    pub(crate) fn tell_ticks(_: TcContext) -> i32 {
        if let Some(ticks) = TICKS.get_ptr_mut(0) {
            // SAFETY: an array's element lives as long as the map, and only one runs this program.
            // The helper takes nothing and returns a number. kernel ≥ 5.6
            unsafe { *ticks = bpf_jiffies64() };
        }
        0
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
