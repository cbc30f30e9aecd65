//! From a frontend to the Service behind it, and to the endpoints that a new flow may use. Pure
//! decisions and look-ups: nothing is picked ([`crate::select`]) and nothing is written. Called for
//! the first packet of a flow and for every connect() to a frontend.

use proxy_common::{
    ConfigOptions, DeviceRole, DropReason, Frontend, FrontendKind, MemberSets, RejectReason,
    Service, ServiceFlags, SlotRange, SourceRangeKey,
};

use crate::{
    env::{Kernel, Maps},
    filter,
    network::Network,
    verdict::Verdict,
};

/// A set of endpoints of a Service port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndpointSet {
    /// Where it is.
    pub slots: SlotRange,
    /// Which it is.
    pub name: MemberSets,
}

/// The Service port behind `frontend`, or the verdict where there is none.
///
/// One hash look-up, whatever the number of Services; a second one only when the port isn't a
/// Service's.
#[inline(always)]
pub fn service<A, E>(env: &E, frontend: &Frontend<A>) -> Result<Service, Verdict>
where
    A: Network,
    E: Maps<A> + Kernel,
{
    match env.service(frontend) {
        // A marker's value is zero: an address of zeros is nobody's frontend.
        Some(service) if service.kind != 0 => Ok(service),
        _ => Err(undefined(env, frontend.address)),
    }
}

/// The verdict on an address and port that no Service defines.
#[inline(always)]
fn undefined<A, E>(env: &E, address: A) -> Verdict
where
    A: Network,
    E: Maps<A> + Kernel,
{
    if is_cluster_ip(env, address) {
        Verdict::reject(RejectReason::UndefinedPort)
    } else {
        filter::unowned(env, address)
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

/// Whether `service` is at a ClusterIP, which policies and filters treat apart from what is meant
/// for clients outside.
#[inline(always)]
#[must_use]
pub const fn at_cluster_ip(service: &Service) -> bool {
    service.kind == FrontendKind::ClusterIp as u8
}

/// Whether the source ranges of `service`, at the frontend's address `frontend`, admit `source`.
#[inline(always)]
pub fn admits<A, E>(env: &E, service: &Service, frontend: A, source: A) -> bool
where
    A: Network,
    E: Maps<A>,
{
    if !service.flags.contains(ServiceFlags::SOURCE_RANGES) {
        return true;
    }
    // The node may speak from the address that it serves.
    let is_node = source == frontend && service.flags.contains(ServiceFlags::NODE_ADMITTED);
    is_node || env.admits(&SourceRangeKey::of_client(service.id, source))
}

/// Whether the operator doesn't want `service` to be used by what comes from a device with that role.
#[inline(always)]
#[must_use]
pub fn is_refused(service: &Service, role: DeviceRole, options: ConfigOptions) -> bool {
    at_cluster_ip(service)
        && role as u8 == DeviceRole::Uplink as u8
        && options.contains(ConfigOptions::REFUSE_EXTERNAL_CLUSTER_IP)
}

/// The set that a new flow uses which comes from a device with that role.
///
/// A policy of `Local` means clients outside, and everybody at a ClusterIP; pods and processes of
/// the node that use another frontend of the Service may go anywhere ("short-circuit").
#[inline(always)]
#[must_use]
pub fn set_in_use(service: &Service, role: DeviceRole) -> EndpointSet {
    let is_meant = at_cluster_ip(service) || role as u8 == DeviceRole::Uplink as u8;
    if is_meant && service.flags.contains(ServiceFlags::LOCAL_ONLY) {
        EndpointSet { slots: service.local, name: MemberSets::LOCAL }
    } else {
        EndpointSet { slots: service.cluster, name: MemberSets::CLUSTER }
    }
}

/// The set that a new flow uses, or the verdict when it is empty.
#[inline(always)]
pub fn endpoints(service: &Service, role: DeviceRole) -> Result<EndpointSet, Verdict> {
    let set = set_in_use(service, role);
    if set.slots.count != 0 {
        Ok(set)
    } else if service.cluster.count == 0 {
        Err(Verdict::reject(RejectReason::NoEndpoint))
    } else {
        Err(Verdict::drop(DropReason::NoLocalEndpoint))
    }
}
