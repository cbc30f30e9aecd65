//! Connected sockets as open flows of their endpoints, for Services that pick by least connections:
//! counted at connect(), until the socket is released.

use proxy_common::{BackendId, CountedSocket, V4, V6};

use crate::{
    env::{Change, Kernel, Maps},
    network::Network,
};

/// Counts a socket that connects to `backend`. One that was connected before counts for its new
/// endpoint only.
#[inline(always)]
pub(super) fn count<A, E>(env: &E, cookie: u64, backend: BackendId)
where
    A: Network,
    E: Maps<A> + Kernel,
{
    // An endpoint of the other family, before, is left to the sweep.
    if let Some(before) = env.counted_socket(cookie)
        && before.family == A::VERSION
    {
        env.change_open_flows(before.backend, Change::Less);
    }
    env.insert_counted_socket(cookie, CountedSocket { backend, family: A::VERSION });
    env.change_open_flows(backend, Change::More);
}

/// A socket is released: its connection is no open flow any more.
#[inline(always)]
pub fn release<E>(env: &E, cookie: u64)
where
    E: Maps<V4> + Maps<V6> + Kernel,
{
    let Some(CountedSocket { backend, family }) = env.counted_socket(cookie) else { return };
    env.remove_counted_socket(cookie);
    if family == V4::VERSION {
        Maps::<V4>::change_open_flows(env, backend, Change::Less);
    } else {
        Maps::<V6>::change_open_flows(env, backend, Change::Less);
    }
}
