//! The socket path: destinations are rewritten at connect() and sendmsg(), and shown as they were
//! asked for at recvmsg() and getpeername().
//!
//! Any doubt lets the call go on untouched: for everything that enters by a device the packet path
//! is complete without this one.

mod bind;
mod open;

use proxy_common::{
    Algorithm, Backend, BackendId, Be16, Config, ConfigOptions, Counter, DeviceRole, DropReason,
    FilterBits, Frontend, Protocol, RejectReason, Scope, Service, ServiceFlags, SocketKey,
    SocketPeer,
};

use crate::{
    env::{Kernel, Maps},
    filter, lookup,
    network::Network,
    select,
    verdict::{Decision, Verdict},
};

pub use bind::{bind, bind_v6};
pub use open::release;

/// A socket in a call that names an address.
pub trait Socket<A> {
    /// The address and port of the call: where to connect or send, where a datagram came from, or
    /// who the peer is.
    fn peer(&self) -> (A, Be16);

    /// Replaces them.
    fn set_peer(&mut self, address: A, port: Be16);

    /// The socket's protocol.
    fn protocol(&self) -> Protocol;

    /// The socket's cookie, unique until reboot.
    fn cookie(&self) -> u64;

    /// The cookie of the socket's network namespace.
    fn netns_cookie(&self) -> u64;
}

/// What the call's owner gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum SocketVerdict {
    /// The call goes on, to the backend if there was one to go to.
    Allow,
    /// `ECONNREFUSED`.
    Refuse(RejectReason),
    /// `ETIMEDOUT`: what would be dropped on the packet path. Only for processes of the node: what
    /// pods send is dropped there.
    TimeOut(DropReason),
    /// `EADDRINUSE`: the port is a NodePort.
    InUse,
}

/// Whether the node's own processes are meant by this call.
#[inline(always)]
fn is_host<A, S: Socket<A>>(socket: &S, config: &Config) -> bool {
    socket.netns_cookie() == config.host_netns_cookie
}

/// Whether the socket path serves this socket at all.
#[inline(always)]
fn in_scope<A, S: Socket<A>>(socket: &S, config: &Config) -> bool {
    let scope = match socket.protocol() {
        Protocol::TCP => config.socket_lb_tcp,
        Protocol::UDP => config.socket_lb_udp,
        _ => return false,
    };
    scope == Scope::All as u8 || (scope == Scope::Host as u8 && is_host(socket, config))
}

/// connect(): TCP, and UDP that fixes its peer.
#[inline(always)]
pub fn connect<A, S, E>(socket: &mut S, env: &E) -> SocketVerdict
where
    A: Network,
    S: Socket<A>,
    E: Maps<A> + Kernel,
{
    let count = |env: &E, cookie, _, service: &Service, peer: SocketPeer<A>| {
        if service.algorithm == Algorithm::LeastConnections as u8 {
            open::count(env, cookie, peer.backend);
        }
    };
    translate(socket, env, count, Counter::SocketConnected)
}

/// sendmsg() with an address: UDP that doesn't fix its peer. A socket stays with the endpoint that
/// its first datagram to the frontend went to, as long as that endpoint is a backend.
#[inline(always)]
pub fn sendmsg<A, S, E>(socket: &mut S, env: &E) -> SocketVerdict
where
    A: Network,
    S: Socket<A>,
    E: Maps<A> + Kernel,
{
    let (address, port) = socket.peer();
    let interest = filter::interest(env, address);
    let for_frontend =
        interest.contains(FilterBits::FRONTEND) || interest.contains(FilterBits::NODE);
    if for_frontend && socket.protocol() == Protocol::UDP {
        let key = SocketKey::new(socket.cookie(), address, port);
        if let Some(peer) = env.socket_peer(&key) {
            let endpoint = (peer.address, peer.port);
            let stays = env
                .backend(peer.backend)
                .is_some_and(|Backend { address, port, .. }| (address, port) == endpoint);
            if stays {
                socket.set_peer(peer.address, peer.port);
                return SocketVerdict::Allow;
            }
        }
    }
    let remember = |env: &E, cookie, (address, port), _: &Service, peer| {
        env.insert_socket_peer(&SocketKey::new(cookie, address, port), peer);
    };
    translate(socket, env, remember, Counter::SocketSent)
}

/// What connect() and sendmsg() share. `remember` is told the socket's cookie, the frontend, its Service
/// and the endpoint.
#[inline(always)]
fn translate<A, S, E>(
    socket: &mut S,
    env: &E,
    remember: impl FnOnce(&E, u64, (A, Be16), &Service, SocketPeer<A>),
    counter: Counter,
) -> SocketVerdict
where
    A: Network,
    S: Socket<A>,
    E: Maps<A> + Kernel,
{
    let (address, port) = socket.peer();
    let interest = filter::interest(env, address);
    let interest = filter::at_port(env, interest, port, socket.protocol());
    let for_frontend = interest.contains(FilterBits::FRONTEND);
    if !for_frontend && !filter::is_service_address(env, address) {
        return SocketVerdict::Allow;
    }
    let Some(config) = env.config() else { return SocketVerdict::Allow };
    if !in_scope(socket, config) {
        return SocketVerdict::Allow;
    }
    let is_host = is_host(socket, config);
    if address.is_loopback() && !is_host {
        // A pod's loopback is its own.
        return SocketVerdict::Allow;
    }
    let frontend = Frontend::new(address, port, socket.protocol());
    let cookie = socket.cookie();
    let mut service = Service::default();
    let (id, backend) = match endpoint(env, &frontend, is_host, cookie, &mut service) {
        Ok(endpoint) => endpoint,
        Err(verdict) => return conclude(env, verdict, is_host),
    };
    let asked_for = SocketPeer::new(address, port, service.id, id);
    env.insert_socket_peer(&SocketKey::new(cookie, backend.address, backend.port), asked_for);
    let endpoint = SocketPeer::new(backend.address, backend.port, service.id, id);
    remember(env, cookie, (address, port), &service, endpoint);
    socket.set_peer(backend.address, backend.port);
    env.count(counter);
    SocketVerdict::Allow
}

/// The endpoint that a connection to `frontend` goes to, and its `service`; otherwise the verdict.
///
/// [`Verdict::PASS`] also where the packet path can do more: by a pod's packets it knows the pod's
/// address, which source ranges and session affinity go by, and it can give them another source.
#[inline(always)]
fn endpoint<A, E>(
    env: &E,
    frontend: &Frontend<A>,
    is_host: bool,
    cookie: u64,
    service: &mut Service,
) -> Result<(BackendId, Backend<A>), Verdict>
where
    A: Network,
    E: Maps<A> + Kernel,
{
    *service = lookup::service(env, frontend)?;
    let has = |flag| service.flags.contains(flag);
    let masqueraded = lookup::at_cluster_ip(service)
        && env
            .config()
            .is_some_and(|config| config.options.contains(ConfigOptions::MASQUERADE_ALL));
    if !is_host && (has(ServiceFlags::SOURCE_RANGES) || has(ServiceFlags::AFFINITY) || masqueraded)
    {
        return Err(Verdict::PASS);
    }
    if has(ServiceFlags::SOURCE_RANGES) && !has(ServiceFlags::NODE_ADMITTED) {
        return Err(Verdict::drop(DropReason::SourceRange));
    }
    // Pods and the node's processes alike are this side of every policy for clients outside.
    let set = lookup::endpoints(service, DeviceRole::Workload)?;
    // The node's processes are one client, whatever address they will have.
    let hash = || select::hash_of_socket(cookie);
    let endpoint = select::select(env, service, &set, A::zeroed(), hash);
    endpoint.ok_or(Verdict::drop(DropReason::BackendMissing))
}

/// What becomes of a call that isn't translated.
#[inline(always)]
fn conclude<E: Kernel>(env: &E, verdict: Verdict, is_host: bool) -> SocketVerdict {
    match verdict.decision() {
        Decision::Reject(reason) => {
            env.count(Counter::Reject(reason));
            SocketVerdict::Refuse(reason)
        }
        Decision::Drop(reason) if is_host => {
            env.count(Counter::Drop(reason));
            SocketVerdict::TimeOut(reason)
        }
        _ => SocketVerdict::Allow,
    }
}

/// recvmsg(): a datagram from an endpoint shows the frontend that was asked for.
#[inline(always)]
pub fn recvmsg<A, S, E>(socket: &mut S, env: &E)
where
    A: Network,
    S: Socket<A>,
    E: Maps<A> + Kernel,
{
    // Every datagram of every process passes here, so those that are never translated are let go
    // before anything is looked up.
    if env.config().is_some_and(|config| in_scope(socket, config)) {
        getpeername(socket, env);
    }
}

/// getpeername(): a peer that is an endpoint shows as the frontend that was asked for.
#[inline(always)]
pub fn getpeername<A, S, E>(socket: &mut S, env: &E)
where
    A: Network,
    S: Socket<A>,
    E: Maps<A>,
{
    let (address, port) = socket.peer();
    if let Some(frontend) = env.socket_peer(&SocketKey::new(socket.cookie(), address, port)) {
        socket.set_peer(frontend.address, frontend.port);
    }
}
