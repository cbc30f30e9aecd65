//! From the agent's words to operations on the maps of one family.

use std::net::IpAddr;

use proxy_common::{Address, BackendFlags, BackendId, Be16, Frontend, Service, V4, V6};

use crate::{
    desired::FrontendKey,
    endpoints::Backend,
    model::Family,
    store::{FamilyOp, Op},
};

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
