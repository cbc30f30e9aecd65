//! Which bits of the filter something needs: of its address, and of its port. Pure; who counts and
//! clears them is [`super::filter`].

use std::{array, net::IpAddr};

use proxy_common::{Be16, FilterBits, FilterSlot, FrontendKind, Protocol, V4, V6};

use crate::desired::FrontendKey;

use super::LiveFlows;

/// One bit: where, and which.
pub(super) type Bit = (FilterSlot, FilterBits);

/// The bits that something needs, three at most.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Need([Option<Bit>; 3]);

impl Need {
    /// Of a frontend of `kind` or a marker. A NodePort needs its port at the node's address, any other
    /// frontend its address: a ClusterIP answers at every port. The unspecified address, which stands
    /// in markers, is nobody's.
    pub(super) fn of_frontend(frontend: &FrontendKey, kind: Option<FrontendKind>) -> Self {
        let FrontendKey { address, port, protocol } = *frontend;
        if address.is_unspecified() {
            Self::default()
        } else if kind == Some(FrontendKind::NodePort) {
            Self([at(address, FilterBits::NODE), at_port(protocol, port, FilterBits::NODE), None])
        } else {
            Self([at(address, FilterBits::FRONTEND), None, None])
        }
    }

    /// Of a backend, which may serve a port of either protocol.
    pub(super) fn of_backend(address: IpAddr, port: u16) -> Self {
        Self([
            at(address, FilterBits::BACKEND),
            at_port(Protocol::TCP, port, FilterBits::BACKEND),
            at_port(Protocol::UDP, port, FilterBits::BACKEND),
        ])
    }

    /// Of an address that packets are masqueraded to.
    pub(super) fn of_masquerade_address(address: IpAddr) -> Self {
        Self([at(address, FilterBits::NODE), None, None])
    }

    /// Of a port that packets are masqueraded to.
    pub(super) fn of_masquerade_port(port: u16) -> Self {
        Self([
            at_port(Protocol::TCP, port, FilterBits::NODE),
            at_port(Protocol::UDP, port, FilterBits::NODE),
            None,
        ])
    }
}

impl IntoIterator for Need {
    type Item = Bit;
    type IntoIter = std::iter::Flatten<array::IntoIter<Option<Bit>, 3>>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter().flatten()
    }
}

/// What the flows that a sweep found need. A destination may be a frontend's, a node's or, of a flow
/// that is no Service's, a backend's. Ports are kept whoever's address they were at.
pub(super) fn live(flows: &LiveFlows) -> impl Iterator<Item = Need> {
    let destinations = flows.destinations.iter().map(|address| {
        Need([at(*address, FilterBits::FRONTEND), at(*address, FilterBits::NODE), None])
    });
    let sources =
        flows.sources.iter().map(|address| Need([at(*address, FilterBits::BACKEND), None, None]));
    let destination_ports = flows.destination_ports.iter().map(|(protocol, port)| {
        Need([
            at_port(*protocol, *port, FilterBits::NODE),
            at_port(*protocol, *port, FilterBits::BACKEND),
            None,
        ])
    });
    let source_ports = flows
        .source_ports
        .iter()
        .map(|(protocol, port)| Need([at_port(*protocol, *port, FilterBits::BACKEND), None, None]));
    destinations.chain(sources).chain(destination_ports).chain(source_ports)
}

fn at(address: IpAddr, bits: FilterBits) -> Option<Bit> {
    let slot = match address {
        IpAddr::V4(address) => FilterSlot::of(V4::new(address.octets())),
        IpAddr::V6(address) => FilterSlot::of(V6::new(address.octets())),
    };
    Some((slot, bits))
}

fn at_port(protocol: Protocol, port: u16, bits: FilterBits) -> Option<Bit> {
    Some((FilterSlot::of_port(Be16::new(port), protocol)?, bits))
}
