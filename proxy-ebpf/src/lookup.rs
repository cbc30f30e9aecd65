//! From a frontend to a backend, or to the reason why not.

use proxy_common::{
    Backend, BackendId, DropReason, Frontend, RejectReason, Service, ServiceFlags, SlotRange,
};

use crate::{
    env::{Kernel, Maps},
    filter,
    network::Network,
};

/// What a frontend leads to for a new flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Lookup<A> {
    /// This backend of that Service.
    Backend(Service, BackendId, Backend<A>),
    /// Not a Service's.
    NotAService,
    /// Refused with an answer.
    Reject(RejectReason),
    /// Dropped.
    Drop(DropReason),
}

/// Looks `frontend` up and selects a backend. One hash look-up and two array look-ups, whatever the
/// number of Services and endpoints; a second hash look-up only when the address is a Service's and
/// the port isn't.
#[inline(always)]
pub fn look_up<A, E>(env: &E, frontend: &Frontend<A>) -> Lookup<A>
where
    A: Network,
    E: Maps<A> + Kernel,
{
    let Some(service) = env.service(frontend) else {
        return undefined(env, frontend.address);
    };
    let slots = if service.flags.contains(ServiceFlags::LOCAL_ONLY) {
        service.local
    } else {
        service.cluster
    };
    if slots.count == 0 {
        return if service.cluster.count == 0 {
            Lookup::Reject(RejectReason::NoEndpoint)
        } else {
            Lookup::Drop(DropReason::NoLocalEndpoint)
        };
    }
    match select(env, slots) {
        Some((id, backend)) => Lookup::Backend(service, id, backend),
        None => Lookup::Drop(DropReason::BackendMissing),
    }
}

/// The verdict on an address and port that no Service defines.
#[inline(always)]
fn undefined<A, E>(env: &E, address: A) -> Lookup<A>
where
    A: Network,
    E: Maps<A> + Kernel,
{
    if is_cluster_ip(env, address) {
        Lookup::Reject(RejectReason::UndefinedPort)
    } else if filter::is_service_address(env, address) {
        Lookup::Drop(DropReason::UnallocatedClusterIp)
    } else {
        Lookup::NotAService
    }
}

/// Whether `address` is some Service's ClusterIP.
#[inline(always)]
pub fn is_cluster_ip<A, E>(env: &E, address: A) -> bool
where
    A: Network,
    E: Maps<A>,
{
    env.service(&Frontend::cluster_ip_marker(address)).is_some()
}

/// Picks one of `slots`, each as likely as any other.
#[inline(always)]
fn select<A, E>(env: &E, slots: SlotRange) -> Option<(BackendId, Backend<A>)>
where
    A: Network,
    E: Maps<A> + Kernel,
{
    // A multiplication and a shift instead of a division: random * count / 2^32.
    let pick = (u64::from(env.random()) * u64::from(slots.count)) >> 32;
    let id = env.slot(slots.base.wrapping_add(pick as u32))?;
    Some((id, env.backend(id)?))
}
