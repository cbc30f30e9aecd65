//! What the maps mean: frontends with the endpoint sets that their numbers lead to, and what would
//! be wrong with numbers that lead nowhere.
//!
//! Ids and slots don't appear: two contents with the same view treat packets alike.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use proxy_common::{
    Address, Algorithm, Backend, BackendFlags, BackendId, Be16, FilterBits, FilterSlot, Frontend,
    FrontendKind, MemberKey, MemberSets, Protocol, Seconds, Service, ServiceFlags, ServiceId,
    SlotRange,
};

use super::{Installed, InstalledFamily};

/// Address, port and protocol of a frontend; port 0 and [`Protocol::ANY`] mark a ClusterIP, the
/// unspecified address marks a NodePort.
pub type Place = (IpAddr, u16, Protocol);

/// A frontend, seen through the numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Namespace, name and port name; `None` for a marker.
    pub name: Option<(String, String, String)>,
    /// What kind of address it is; `None` for a marker.
    pub kind: Option<FrontendKind>,
    /// Its flags.
    pub flags: ServiceFlags,
    /// An [`Algorithm`] as its number.
    pub algorithm: u8,
    /// How long a client stays with its endpoint.
    pub affinity: Seconds,
    /// The slots of the cluster set.
    pub cluster: Vec<SeenBackend>,
    /// The slots of the local set.
    pub local: Vec<SeenBackend>,
    /// Who is admitted, as networks and prefix lengths; empty unless sources are checked.
    pub ranges: BTreeSet<(IpAddr, u32)>,
    /// The endpoints that a client may stay with, and the sets that each is in; empty without
    /// affinity. Elements that name no backend are left out.
    pub members: BTreeMap<SeenBackend, MemberSets>,
}

/// A backend: address, port, and whether it is on this node.
pub type SeenBackend = (IpAddr, u16, bool);

/// Something that must not be, whatever is under way.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// A set lies outside `SLOTS`.
    #[error("{place:?} leads to slots {range:?}, which don't exist")]
    NoSlots {
        /// The frontend.
        place: Place,
        /// Its range.
        range: SlotRange,
    },
    /// A slot names no backend of the family.
    #[error("{place:?} leads to slot {slot}, which names no backend of its family")]
    NoBackend {
        /// The frontend.
        place: Place,
        /// The slot.
        slot: u32,
    },
    /// A Service id has no name.
    #[error("{place:?} has service id {id:?}, which has no name")]
    NoName {
        /// The frontend.
        place: Place,
        /// The id.
        id: ServiceId,
    },
    /// One id stands for two things.
    #[error("{place:?} has service id {id:?}, which belongs to another family or protocol too")]
    SharedId {
        /// The frontend.
        place: Place,
        /// The id.
        id: ServiceId,
    },
    /// A client can't stay with an endpoint though it is in the set.
    #[error("{place:?} has affinity, and its backend {backend:?} is no member of its Service port")]
    NoMember {
        /// The frontend.
        place: Place,
        /// The backend in one of its slots.
        backend: SeenBackend,
    },
    /// Nobody counts whose turn it is.
    #[error("{place:?} picks in turn, and service id {id:?} has no element in TURNS")]
    NoTurn {
        /// The frontend.
        place: Place,
        /// The id.
        id: ServiceId,
    },
    /// A process of the node could bind a NodePort.
    #[error("{place:?} is a NodePort, and its number has no marker")]
    NoMarker {
        /// The frontend.
        place: Place,
    },
    /// The filter denies an address that is in use.
    #[error("ADDRESS_FILTER denies {address} port {port}, which is in use")]
    Filtered {
        /// The address.
        address: IpAddr,
        /// The port there.
        port: u16,
    },
}

/// The frontends of `installed`.
///
/// # Errors
/// Everything that must not be.
pub fn view(installed: &Installed) -> Result<BTreeMap<Place, Seen>, Vec<Violation>> {
    let mut viewer = Viewer {
        installed,
        seen: BTreeMap::new(),
        owners: BTreeMap::new(),
        violations: Vec::new(),
    };
    viewer.family(&installed.v4);
    viewer.family(&installed.v6);
    if viewer.violations.is_empty() { Ok(viewer.seen) } else { Err(viewer.violations) }
}

struct Viewer<'a> {
    installed: &'a Installed,
    seen: BTreeMap<Place, Seen>,
    /// Protocol and whether IPv4, by id.
    owners: BTreeMap<ServiceId, (Protocol, bool)>,
    violations: Vec<Violation>,
}

impl Viewer<'_> {
    fn family<A: Address>(&mut self, maps: &InstalledFamily<A>) {
        for (frontend, service) in &maps.frontends {
            let place = (frontend.address.to_ip(), frontend.port.get(), frontend.protocol);
            let bits = if service.frontend_kind() == Some(FrontendKind::NodePort) {
                FilterBits::NODE
            } else {
                FilterBits::FRONTEND
            };
            self.filtered((frontend.address, frontend.port), &[frontend.protocol], bits);
            let seen = Seen {
                name: if frontend.is_marker() { None } else { self.name(place, service) },
                kind: service.frontend_kind(),
                flags: service.flags,
                algorithm: service.algorithm,
                affinity: service.affinity,
                cluster: self.set(maps, place, service.cluster),
                local: self.set(maps, place, service.local),
                ranges: ranges(maps, service),
                members: self.members(maps, service),
            };
            self.complete(maps, frontend, service, &seen);
            self.seen.insert(place, seen);
        }
    }

    fn name(&mut self, place: Place, service: &Service) -> Option<(String, String, String)> {
        let owner = (place.2, place.0.is_ipv4());
        if *self.owners.entry(service.id).or_insert(owner) != owner {
            self.violations.push(Violation::SharedId { place, id: service.id });
        }
        let name = self.installed.names.get(&service.id).and_then(|name| name.parts());
        if name.is_none() {
            self.violations.push(Violation::NoName { place, id: service.id });
        }
        name.map(|(namespace, name, port)| (namespace.into(), name.into(), port.into()))
    }

    fn set<A: Address>(
        &mut self,
        maps: &InstalledFamily<A>,
        place: Place,
        range: SlotRange,
    ) -> Vec<SeenBackend> {
        if range.count == 0 {
            return Vec::new();
        }
        let Some(end) = range.base.checked_add(range.count).filter(|end| {
            *end <= self.installed.capacity.slots && *end as usize <= self.installed.slots.len()
        }) else {
            self.violations.push(Violation::NoSlots { place, range });
            return Vec::new();
        };
        (range.base..end).filter_map(|slot| self.slot(maps, place, slot)).collect()
    }

    fn slot<A: Address>(
        &mut self,
        maps: &InstalledFamily<A>,
        place: Place,
        slot: u32,
    ) -> Option<SeenBackend> {
        let id = self.installed.slots.get(slot as usize).copied().unwrap_or_default();
        let backend = (id != BackendId::default()).then(|| maps.backends.get(&id)).flatten();
        let Some(backend) = backend else {
            self.violations.push(Violation::NoBackend { place, slot });
            return None;
        };
        let protocols = [Protocol::TCP, Protocol::UDP];
        self.filtered((backend.address, backend.port), &protocols, FilterBits::BACKEND);
        Some(see(backend))
    }

    fn members<A: Address>(
        &self,
        maps: &InstalledFamily<A>,
        service: &Service,
    ) -> BTreeMap<SeenBackend, MemberSets> {
        if !service.flags.contains(ServiceFlags::AFFINITY) {
            return BTreeMap::new();
        }
        let from = MemberKey { service: service.id, backend: BackendId::default() };
        let of_service = self.installed.members.range(from..);
        of_service
            .take_while(|(member, _)| member.service == service.id)
            .filter_map(|(member, sets)| {
                maps.backends.get(&member.backend).map(|backend| (see(backend), *sets))
            })
            .collect()
    }

    /// Whether a frontend has what it needs beside its sets.
    fn complete<A: Address>(
        &mut self,
        maps: &InstalledFamily<A>,
        frontend: &Frontend<A>,
        service: &Service,
        seen: &Seen,
    ) {
        let place = (frontend.address.to_ip(), frontend.port.get(), frontend.protocol);
        if service.flags.contains(ServiceFlags::AFFINITY) {
            for (slots, set) in
                [(&seen.cluster, MemberSets::CLUSTER), (&seen.local, MemberSets::LOCAL)]
            {
                for backend in slots {
                    if !seen.members.get(backend).is_some_and(|sets| sets.contains(set)) {
                        self.violations.push(Violation::NoMember { place, backend: *backend });
                    }
                }
            }
        }
        let in_turn = service.algorithm == Algorithm::RoundRobin as u8;
        if in_turn && !self.installed.turns.contains(&service.id) {
            self.violations.push(Violation::NoTurn { place, id: service.id });
        }
        let marker = Frontend::node_port_marker(frontend.port, frontend.protocol);
        if seen.kind == Some(FrontendKind::NodePort) && !maps.frontends.contains_key(&marker) {
            self.violations.push(Violation::NoMarker { place });
        }
    }

    /// Whether the filter lets packets to this address and port through as what `bits` says.
    fn filtered<A: Address>(
        &mut self,
        (address, port): (A, Be16),
        protocols: &[Protocol],
        bits: FilterBits,
    ) {
        if address == A::zeroed() {
            return;
        }
        let denies = |slot: FilterSlot| {
            let word = self.installed.filter.get(slot.word as usize).copied().unwrap_or_default();
            !slot.read(word).contains(bits)
        };
        let mut ports = protocols.iter().filter_map(|it| FilterSlot::of_port(port, *it));
        let denies_port = bits != FilterBits::FRONTEND && ports.any(denies);
        if denies(FilterSlot::of(address)) || denies_port {
            let address = address.to_ip();
            self.violations.push(Violation::Filtered { address, port: port.get() });
        }
    }
}

fn see<A: Address>(backend: &Backend<A>) -> SeenBackend {
    let Backend { address, port, flags } = backend;
    (address.to_ip(), port.get(), flags.contains(BackendFlags::LOCAL))
}

fn ranges<A: Address>(maps: &InstalledFamily<A>, service: &Service) -> BTreeSet<(IpAddr, u32)> {
    let checked = service.flags.contains(ServiceFlags::SOURCE_RANGES);
    maps.ranges
        .iter()
        .filter(|range| checked && range.data.service == service.id)
        .map(|range| (range.data.address.to_ip(), range.prefix_len.saturating_sub(32)))
        .collect()
}
