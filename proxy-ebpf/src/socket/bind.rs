//! Bind protection: a process of the node that binds a NodePort would wait for connections that never
//! reach it. It is told so when it binds. Pods have ports of their own.

use proxy_common::{Counter, Frontend, V4, V6};

use super::{Socket, SocketVerdict, is_host};
use crate::{
    env::{Kernel, Maps},
    network::Network,
};

/// bind(): is the port some Service's NodePort? The address doesn't matter, for NodePorts are at many.
#[inline(always)]
pub fn bind<A, S, E>(socket: &S, env: &E) -> SocketVerdict
where
    A: Network,
    S: Socket<A>,
    E: Maps<A> + Kernel,
{
    if binds_node_port::<A, A, S, E>(socket, env) { refuse(env) } else { SocketVerdict::Allow }
}

/// bind() of an IPv6 socket, which at no address in particular is there for IPv4 as well.
#[inline(always)]
pub fn bind_v6<S, E>(socket: &S, env: &E) -> SocketVerdict
where
    S: Socket<V6>,
    E: Maps<V4> + Maps<V6> + Kernel,
{
    let everywhere = socket.peer().0 == V6::from_words([0; 4]);
    if binds_node_port::<V6, V6, S, E>(socket, env)
        || (everywhere && binds_node_port::<V4, V6, S, E>(socket, env))
    {
        refuse(env)
    } else {
        SocketVerdict::Allow
    }
}

/// Whether a process of the node binds a NodePort of family `F`.
#[inline(always)]
fn binds_node_port<F, A, S, E>(socket: &S, env: &E) -> bool
where
    F: Network,
    S: Socket<A>,
    E: Maps<F> + Kernel,
{
    let Some(config) = env.config() else { return false };
    let ((_, port), protocol) = (socket.peer(), socket.protocol());
    // Port 0 lets the kernel choose, from a range that NodePorts are no part of.
    protocol.has_ports()
        && port.get() != 0
        && is_host(socket, config)
        && env.service(&Frontend::<F>::node_port_marker(port, protocol)).is_some()
}

#[inline(always)]
fn refuse<E: Kernel>(env: &E) -> SocketVerdict {
    env.count(Counter::BindRefused);
    SocketVerdict::InUse
}
