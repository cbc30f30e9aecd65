//! The eBPF programs.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(not(target_arch = "bpf"))]
fn main() {}

#[cfg(target_arch = "bpf")]
mod programs {
    use aya_ebpf::{
        bindings::TC_ACT_UNSPEC,
        btf_maps::{Array, HashMap},
        macros::{btf_map, classifier},
        programs::TcContext,
    };
    use proxy_common::{Be16, Config, Flow, Frontend, Protocol, Service, Tuple, V4, V6};

    #[btf_map]
    static CONFIG: Array<Config, 1> = Array::new();
    #[btf_map]
    static DST_FLOWS_V4: HashMap<Tuple<V4>, Flow<V4>, 524288, 1> = HashMap::new();
    #[btf_map]
    static DST_FLOWS_V6: HashMap<Tuple<V6>, Flow<V6>, 524288, 1> = HashMap::new();
    #[btf_map]
    static SERVICES_V4: HashMap<Frontend<V4>, Service, 131072, 1> = HashMap::new();

    #[classifier]
    pub fn ingress_l2(context: TcContext) -> i32 {
        let length = context.len() as u16;
        let key = Tuple::new(
            (V4::from_word(length.into()), Be16::new(length)),
            (V4::from_word(length.into()), Be16::new(length)),
            Protocol::TCP,
        );
        let six = Tuple::new(
            (V6::from_words([1, 2, 3, 4]), Be16::new(length)),
            (V6::from_words([1, 2, 3, 4]), Be16::new(length)),
            Protocol::TCP,
        );
        if CONFIG.get(0).is_none()
            || DST_FLOWS_V4.get_ptr(&key).is_some()
            || DST_FLOWS_V6.get_ptr(&six).is_some()
            || SERVICES_V4
                .get_ptr(Frontend::new(V4::from_word(7), Be16::new(80), Protocol::TCP))
                .is_some()
        {
            return 0;
        }
        TC_ACT_UNSPEC
    }

    #[unsafe(link_section = "license")]
    #[unsafe(no_mangle)]
    static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

    #[panic_handler]
    fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
        loop {}
    }
}
