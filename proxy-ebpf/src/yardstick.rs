//! Programs that others are measured against: nothing at all, and one hash look-up.
//!
//! They are built and loaded like the datapath, and never attached.

#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(not(target_arch = "bpf"))]
fn main() {}

#[cfg(target_arch = "bpf")]
mod programs {
    use aya_ebpf::{
        bindings::{BPF_F_NO_PREALLOC, TC_ACT_UNSPEC},
        btf_maps::HashMap,
        macros::{btf_map, classifier},
        programs::TcContext,
    };
    use proxy_common::{Be16, Flow, Protocol, Tuple, V4};

    /// A table like `DST_FLOWS_V4`.
    #[btf_map]
    static YARDSTICK_FLOWS: HashMap<Tuple<V4>, Flow<V4>, 524288, { BPF_F_NO_PREALLOC as usize }> =
        HashMap::new();

    /// The cost of running a program at all.
    #[classifier]
    pub(crate) fn empty(_: TcContext) -> i32 {
        TC_ACT_UNSPEC
    }

    /// The cost of one look-up in a flow table, of a key that the packet's length makes.
    #[classifier]
    pub(crate) fn one_lookup(context: TcContext) -> i32 {
        let address = V4::from_word(context.len());
        let key = Tuple::new((address, Be16::ZERO), (address, Be16::ZERO), Protocol::TCP);
        match YARDSTICK_FLOWS.get_ptr(key) {
            // A verdict of its own, so that the look-up isn't optimised away.
            Some(_) => 0,
            None => TC_ACT_UNSPEC,
        }
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
