//! One program that tells user space the cookie of a socket's network namespace, for kernels without
//! `SO_NETNS_COOKIE` (before 5.14).
//!
//! It is attached for as long as it takes to bind one socket, and does nothing for any other. Loaded
//! by `proxy-agent/src/datapath/netns_cookie.rs`.

#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(not(target_arch = "bpf"))]
fn main() {}

#[cfg(target_arch = "bpf")]
mod programs {
    use aya_ebpf::{
        btf_maps::Array,
        helpers::generated::{bpf_get_netns_cookie, bpf_get_socket_cookie},
        macros::{btf_map, cgroup_sock},
        programs::SockContext,
    };

    /// The answer; 0 until the socket was bound.
    #[btf_map]
    static NETNS_COOKIE: Array<u64, 1> = Array::new();

    /// The cookie of the socket that is asked about, written by the loader.
    #[unsafe(no_mangle)]
    static SOCKET_COOKIE: u64 = 0;

    /// After the bind() of an IPv4 socket.
    #[cgroup_sock(post_bind4)]
    pub(crate) fn tell_netns(context: SockContext) -> i32 {
        let socket = context.sock.cast();
        // SAFETY: a constant of ours; volatile, since the loader writes it.
        let wanted = unsafe { (&raw const SOCKET_COOKIE).read_volatile() };
        // SAFETY: the context is valid while the program runs. kernel ≥ 5.7
        if unsafe { bpf_get_socket_cookie(socket) } == wanted
            && let Some(answer) = NETNS_COOKIE.get_ptr_mut(0)
        {
            // SAFETY: an array's element lives as long as the map; nobody else writes it.
            unsafe { *answer = bpf_get_netns_cookie(socket) };
        }
        1
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
