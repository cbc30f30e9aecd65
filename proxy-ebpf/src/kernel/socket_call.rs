//! From the cgroup's socket hooks into the library, and from its verdict to an errno.

use aya_ebpf::{
    bindings::bpf_sock_addr,
    helpers::generated::{bpf_get_netns_cookie, bpf_get_socket_cookie, bpf_set_retval},
    programs::{SockAddrContext, SockContext},
};
use proxy_common::{Be16, KernelLacks, Protocol, V4, V6};
use proxy_ebpf::{
    network::Network,
    socket::{
        Socket, SocketVerdict, bind, bind_v6, connect, getpeername, recvmsg, release, sendmsg,
    },
};

use super::{env::Live, facts::lacks};

const ALLOW: i32 = 1;
const DENY: i32 = 0;

const ECONNREFUSED: i32 = 111;
const ETIMEDOUT: i32 = 110;
const EADDRINUSE: i32 = 98;

const LOOPBACK_V4: V4 = V4::new([127, 0, 0, 1]);
const LOOPBACK_V6: V6 = V6::new([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);

/// The call that is being made.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    /// connect().
    Connect,
    /// sendmsg() or sendto() with an address, UDP.
    Sendmsg,
    /// recvmsg() or recvfrom(), UDP.
    Recvmsg,
    /// getpeername().
    Getpeername,
}

/// The family that the address of a call is read in.
#[derive(Clone, Copy)]
struct SockAddr {
    context: *mut bpf_sock_addr,
}

/// An IPv4 address in an IPv4 call.
struct Inet(SockAddr);
/// An IPv6 address in an IPv6 call.
struct Inet6(SockAddr);
/// An IPv4 address in an IPv6 call: `::ffff:a.b.c.d`.
struct Mapped(SockAddr);

impl SockAddr {
    #[inline(always)]
    fn port(self) -> Be16 {
        // SAFETY: the context is valid while the program runs. The kernel keeps the port in network
        // order in the low half of a 32-bit field.
        Be16::from_wire(unsafe { (&raw const (*self.context).user_port).read_volatile() } as u16)
    }

    #[inline(always)]
    fn set_port(self, port: Be16) {
        // SAFETY: as in `port`. verifier: the field must be written as a whole.
        unsafe { (&raw mut (*self.context).user_port).write_volatile(u32::from(port.wire())) };
    }

    #[inline(always)]
    fn ip4(self) -> V4 {
        // SAFETY: the context is valid while the program runs.
        V4::from_word(unsafe { (&raw const (*self.context).user_ip4).read_volatile() })
    }

    #[inline(always)]
    fn set_ip4(self, address: V4) {
        // SAFETY: the context is valid while the program runs.
        unsafe { (&raw mut (*self.context).user_ip4).write_volatile(address.word()) };
    }

    #[inline(always)]
    fn ip6(self) -> V6 {
        let word = |index: usize| {
            // SAFETY: the context is valid, `index` is below 4.
            unsafe { (&raw const (*self.context).user_ip6[index]).read_volatile() }
        };
        V6::from_words([word(0), word(1), word(2), word(3)])
    }

    #[inline(always)]
    fn set_ip6(self, address: V6) {
        use proxy_common::Address as _;
        let words = address.words();
        // SAFETY: the context is valid while the program runs.
        unsafe {
            (&raw mut (*self.context).user_ip6[0]).write_volatile(words[0]);
            (&raw mut (*self.context).user_ip6[1]).write_volatile(words[1]);
            (&raw mut (*self.context).user_ip6[2]).write_volatile(words[2]);
            (&raw mut (*self.context).user_ip6[3]).write_volatile(words[3]);
        }
    }

    #[inline(always)]
    fn protocol(self) -> Protocol {
        // SAFETY: the context is valid while the program runs.
        Protocol::new(unsafe { (*self.context).protocol } as u8)
    }

    #[inline(always)]
    fn cookie(self) -> u64 {
        // SAFETY: the context is valid while the program runs.
        unsafe { bpf_get_socket_cookie(self.context.cast()) }
    }

    #[inline(always)]
    fn netns_cookie(self) -> u64 {
        // SAFETY: the context is valid while the program runs. kernel ≥ 5.7
        unsafe { bpf_get_netns_cookie(self.context.cast()) }
    }
}

/// Where a connect() is sent that the kernel can't be told to refuse.
trait DeadEnd {
    /// Sends it to port 0 of the namespace's own loopback: no socket can have that port, so that TCP
    /// is reset at once, and UDP hears of an unreachable port.
    fn lead_nowhere(&mut self);
}

macro_rules! socket_of {
    ($socket:ident, $address:ty, $loopback:expr, $get:expr, $set:expr) => {
        impl DeadEnd for $socket {
            #[inline(always)]
            fn lead_nowhere(&mut self) {
                self.set_peer($loopback, Be16::ZERO);
            }
        }

        impl Socket<$address> for $socket {
            #[inline(always)]
            fn peer(&self) -> ($address, Be16) {
                ($get(self.0), self.0.port())
            }

            #[inline(always)]
            fn set_peer(&mut self, address: $address, port: Be16) {
                $set(self.0, address);
                self.0.set_port(port);
            }

            #[inline(always)]
            fn protocol(&self) -> Protocol {
                self.0.protocol()
            }

            #[inline(always)]
            fn cookie(&self) -> u64 {
                self.0.cookie()
            }

            #[inline(always)]
            fn netns_cookie(&self) -> u64 {
                self.0.netns_cookie()
            }
        }
    };
}

/// The IPv4 address in the last word of an IPv6 call's address.
#[inline(always)]
fn mapped(socket: SockAddr) -> V4 {
    // SAFETY: the context is valid while the program runs.
    V4::from_word(unsafe { (&raw const (*socket.context).user_ip6[3]).read_volatile() })
}

#[inline(always)]
fn set_mapped(socket: SockAddr, address: V4) {
    socket.set_ip6(V6::from_v4_mapped(address));
}

socket_of!(Inet, V4, LOOPBACK_V4, SockAddr::ip4, SockAddr::set_ip4);
socket_of!(Inet6, V6, LOOPBACK_V6, SockAddr::ip6, SockAddr::set_ip6);
socket_of!(Mapped, V4, LOOPBACK_V4, mapped, set_mapped);

/// A call on an IPv4 address.
#[inline(always)]
pub(crate) fn run_v4(context: &SockAddrContext, call: Call) -> i32 {
    run(Inet(SockAddr { context: context.sock_addr }), call)
}

/// A call on an IPv6 address, which may be a mapped IPv4 address.
#[inline(always)]
pub(crate) fn run_v6(context: &SockAddrContext, call: Call) -> i32 {
    let socket = SockAddr { context: context.sock_addr };
    match socket.ip6().to_v4_mapped() {
        Some(_) => run(Mapped(socket), call),
        None => run(Inet6(socket), call),
    }
}

#[inline(always)]
fn run<A, S>(mut socket: S, call: Call) -> i32
where
    A: Network,
    S: Socket<A> + DeadEnd,
    Live: proxy_ebpf::env::Maps<A>,
{
    let env = Live::at_socket();
    let verdict = match call {
        Call::Connect => connect(&mut socket, &env),
        Call::Sendmsg => sendmsg(&mut socket, &env),
        Call::Recvmsg => {
            recvmsg(&mut socket, &env);
            SocketVerdict::Allow
        }
        Call::Getpeername => {
            getpeername(&mut socket, &env);
            SocketVerdict::Allow
        }
    };
    if call == Call::Connect && verdict != SocketVerdict::Allow && lacks(KernelLacks::SET_RETVAL) {
        socket.lead_nowhere();
        return ALLOW;
    }
    answer(verdict)
}

/// bind() of an IPv4 socket.
#[inline(always)]
pub(crate) fn bind_of_v4(context: &SockAddrContext) -> i32 {
    let socket = SockAddr { context: context.sock_addr };
    answer(bind(&Inet(socket), &Live::at_socket()))
}

/// bind() of an IPv6 socket, at an IPv6 address or at a mapped IPv4 address.
#[inline(always)]
pub(crate) fn bind_of_v6(context: &SockAddrContext) -> i32 {
    let socket = SockAddr { context: context.sock_addr };
    answer(match socket.ip6().to_v4_mapped() {
        Some(_) => bind(&Mapped(socket), &Live::at_socket()),
        None => bind_v6(&Inet6(socket), &Live::at_socket()),
    })
}

/// The end of a socket.
#[inline(always)]
pub(crate) fn run_release(context: &SockContext) -> i32 {
    // SAFETY: the context is valid while the program runs.
    let cookie = unsafe { bpf_get_socket_cookie(context.sock.cast()) };
    release(&Live::at_socket(), cookie);
    ALLOW
}

/// What the kernel is told.
#[inline(always)]
fn answer(verdict: SocketVerdict) -> i32 {
    match verdict {
        SocketVerdict::Allow => ALLOW,
        SocketVerdict::Refuse(_) => deny(ECONNREFUSED),
        SocketVerdict::TimeOut(_) => deny(ETIMEDOUT),
        SocketVerdict::InUse => deny(EADDRINUSE),
    }
}

/// Ends the call with `errno`, and where the kernel can't be told one with EPERM: a connect(), on
/// whose EPERM some kernel clients spin, doesn't come here then.
#[inline(always)]
fn deny(errno: i32) -> i32 {
    if !lacks(KernelLacks::SET_RETVAL) {
        // SAFETY: takes a number. kernel ≥ 5.18
        unsafe { bpf_set_retval(-errno) };
    }
    DENY
}
