//! Does a socket of the node want a packet? Asked of the kernel's own tables, in the network
//! namespace of the device. Called by [`super::env`] for the choice of masquerade ports.

use core::ptr;

use aya_ebpf::{
    bindings::__sk_buff,
    helpers::generated::{bpf_sk_lookup_udp, bpf_sk_release, bpf_skc_lookup_tcp},
};
use proxy_common::{Address, Protocol, Tuple};

/// `BPF_F_CURRENT_NETNS`: that of the packet's device.
const CURRENT_NETNS: u64 = u64::MAX;

/// Whether a socket would get a packet with this tuple. TCP: also a listening one, and one in
/// TIME-WAIT (kernel ≥ 5.2).
///
/// # Safety
/// `skb` is the context of the running tc program.
#[inline(always)]
pub(crate) unsafe fn has_socket<A: Address>(skb: *mut __sk_buff, tuple: &Tuple<A>) -> bool {
    // `struct bpf_sock_tuple` is what our tuple begins with: addresses, then ports.
    let size = (A::WORDS * 8 + 4) as u32;
    let sock_tuple = ptr::from_ref(tuple).cast_mut().cast();
    // SAFETY: the context is valid while the program runs; the helper only reads `size` bytes.
    let socket = unsafe {
        match tuple.protocol {
            Protocol::TCP => bpf_skc_lookup_tcp(skb.cast(), sock_tuple, size, CURRENT_NETNS, 0),
            Protocol::UDP => bpf_sk_lookup_udp(skb.cast(), sock_tuple, size, CURRENT_NETNS, 0),
            _ => return false,
        }
    };
    if socket.is_null() {
        return false;
    }
    // SAFETY: a socket that was found is held, and released once.
    unsafe { bpf_sk_release(socket.cast()) };
    true
}
