//! The eBPF programs: entry points of a few lines each. What they decide is in the library; how they
//! reach the kernel is in [`kernel`].
//!
//! On any other target this is an empty program, so that the workspace builds as a whole.

#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(target_arch = "bpf")]
mod kernel;

#[cfg(target_arch = "bpf")]
mod programs {
    //! Names are what the agent loads and what `bpftool prog` shows.

    use crate::kernel::{
        socket_call::{self, Call},
        tc::{self, ETHERNET_HEADER},
    };
    use aya_ebpf::{
        macros::{cgroup_sock, cgroup_sock_addr, classifier},
        programs::{SockAddrContext, SockContext, TcContext},
    };

    /// A device with Ethernet headers, packets coming in.
    #[classifier]
    pub(crate) fn ingress_l2(context: TcContext) -> i32 {
        tc::run_ingress::<ETHERNET_HEADER>(&context)
    }

    /// A device with Ethernet headers, packets going out.
    #[classifier]
    pub(crate) fn egress_l2(context: TcContext) -> i32 {
        tc::run_egress::<ETHERNET_HEADER>(&context)
    }

    /// A device without link-layer headers, packets coming in.
    #[classifier]
    pub(crate) fn ingress_l3(context: TcContext) -> i32 {
        tc::run_ingress::<0>(&context)
    }

    /// A device without link-layer headers, packets going out.
    #[classifier]
    pub(crate) fn egress_l3(context: TcContext) -> i32 {
        tc::run_egress::<0>(&context)
    }

    macro_rules! socket_programs {
        ($($name:ident, $run:ident, $call:ident;)*) => {$(
            #[cgroup_sock_addr($name)]
            pub(crate) fn $name(context: SockAddrContext) -> i32 {
                socket_call::$run(&context, Call::$call)
            }
        )*};
    }

    socket_programs! {
        connect4, run_v4, Connect;
        connect6, run_v6, Connect;
        sendmsg4, run_v4, Sendmsg;
        sendmsg6, run_v6, Sendmsg;
        recvmsg4, run_v4, Recvmsg;
        recvmsg6, run_v6, Recvmsg;
        getpeername4, run_v4, Getpeername;
        getpeername6, run_v6, Getpeername;
    }

    /// bind() of an IPv4 socket.
    #[cgroup_sock_addr(bind4)]
    pub(crate) fn bind4(context: SockAddrContext) -> i32 {
        socket_call::bind_of_v4(&context)
    }

    /// bind() of an IPv6 socket.
    #[cgroup_sock_addr(bind6)]
    pub(crate) fn bind6(context: SockAddrContext) -> i32 {
        socket_call::bind_of_v6(&context)
    }

    /// The end of a socket.
    #[cgroup_sock(sock_release)]
    pub(crate) fn sock_release(context: SockContext) -> i32 {
        socket_call::run_release(&context)
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

#[cfg(not(target_arch = "bpf"))]
fn main() {}
