//! From the agent's words to operations on the maps of one family.

use std::net::IpAddr;

use proxy_common::{
    Address, BackendFlags, BackendId, Be16, Frontend, MemberKey, MemberSets, Service, ServiceId,
    SourceRangeKey, V4, V6,
};

use crate::{
    desired::FrontendKey,
    endpoints::Backend,
    model::{Cidr, Family},
    store::{FamilyOp, Op},
};

use super::belongings::Element;

/// Makes `key` lead to `service`.
pub(super) fn put_frontend(key: &FrontendKey, service: Service) -> Op {
    match key.address {
        IpAddr::V4(address) => Op::V4(FamilyOp::PutFrontend {
            frontend: frontend(key, V4::new(address.octets())),
            service,
        }),
        IpAddr::V6(address) => Op::V6(FamilyOp::PutFrontend {
            frontend: frontend(key, V6::new(address.octets())),
            service,
        }),
    }
}

/// Deletes `key`.
pub(super) fn delete_frontend(key: &FrontendKey) -> Op {
    match key.address {
        IpAddr::V4(address) => {
            Op::V4(FamilyOp::DeleteFrontend { frontend: frontend(key, V4::new(address.octets())) })
        }
        IpAddr::V6(address) => {
            Op::V6(FamilyOp::DeleteFrontend { frontend: frontend(key, V6::new(address.octets())) })
        }
    }
}

/// Writes `backend` as element `id`.
pub(super) fn put_backend(id: BackendId, backend: &Backend) -> Op {
    match backend.address {
        IpAddr::V4(address) => {
            Op::V4(FamilyOp::PutBackend { id, backend: stored(backend, V4::new(address.octets())) })
        }
        IpAddr::V6(address) => {
            Op::V6(FamilyOp::PutBackend { id, backend: stored(backend, V6::new(address.octets())) })
        }
    }
}

/// Zeroes element `id`.
pub(super) const fn clear_backend(family: Family, id: BackendId) -> Op {
    match family {
        Family::V4 => Op::V4(FamilyOp::ClearBackend { id }),
        Family::V6 => Op::V6(FamilyOp::ClearBackend { id }),
    }
}

/// Writes `element` of the Service port `id`.
pub(super) fn put_element(id: ServiceId, element: Element) -> Op {
    match element {
        Element::Range(range) => match range.network() {
            IpAddr::V4(network) => Op::V4(FamilyOp::PutRange {
                range: source_range(id, V4::new(network.octets()), range),
            }),
            IpAddr::V6(network) => Op::V6(FamilyOp::PutRange {
                range: source_range(id, V6::new(network.octets()), range),
            }),
        },
        Element::Member(member, sets) => {
            Op::PutMember { member: MemberKey { service: id, backend: member }, sets }
        }
        Element::Turn => Op::PutTurn { id },
    }
}

/// Takes `element` of the Service port `id` away; a member that is still in a set stays there.
pub(super) fn trim_element(id: ServiceId, element: Element) -> Op {
    match element {
        Element::Range(range) => match range.network() {
            IpAddr::V4(network) => Op::V4(FamilyOp::DeleteRange {
                range: source_range(id, V4::new(network.octets()), range),
            }),
            IpAddr::V6(network) => Op::V6(FamilyOp::DeleteRange {
                range: source_range(id, V6::new(network.octets()), range),
            }),
        },
        Element::Member(member, sets) if sets == MemberSets::empty() => {
            Op::DeleteMember { member: MemberKey { service: id, backend: member } }
        }
        Element::Member(..) => put_element(id, element),
        Element::Turn => Op::DeleteTurn { id },
    }
}

fn source_range<A: Address>(id: ServiceId, network: A, range: Cidr) -> SourceRangeKey<A> {
    SourceRangeKey::of_range(id, network, u32::from(range.bits()))
}

/// The agent's word for an element of `SOURCE_RANGES_*`; `None` when it is none of ours.
pub(super) fn read_range<A: Address>(range: &SourceRangeKey<A>) -> Option<Cidr> {
    let bits = u8::try_from(range.prefix_len.checked_sub(32)?).ok()?;
    Cidr::new(range.data.address.to_ip(), bits)
}

/// The agent's word for an element of `BACKENDS_*`.
pub(super) fn read_backend<A: Address>(backend: &proxy_common::Backend<A>) -> Backend {
    Backend {
        address: backend.address.to_ip(),
        port: backend.port.get(),
        local: backend.flags.contains(BackendFlags::LOCAL),
    }
}

fn frontend<A: Address>(key: &FrontendKey, address: A) -> Frontend<A> {
    Frontend::new(address, Be16::new(key.port), key.protocol)
}

fn stored<A: Address>(backend: &Backend, address: A) -> proxy_common::Backend<A> {
    let flags = if backend.local { BackendFlags::LOCAL } else { BackendFlags::empty() };
    proxy_common::Backend::new(address, Be16::new(backend.port), flags)
}
