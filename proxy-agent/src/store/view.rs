//! What the maps mean: frontends with the endpoint sets that their numbers lead to, and what would
//! be wrong with numbers that lead nowhere.
//!
//! Ids and slots don't appear: two contents with the same view treat packets alike.

use std::{collections::BTreeMap, net::IpAddr};

use proxy_common::{
    Address, Backend, BackendFlags, BackendId, Be16, FilterBits, FilterSlot, Frontend,
    FrontendKind, Protocol, Seconds, Service, ServiceFlags, ServiceId, SlotRange,
};

use super::{Installed, InstalledFamily};

/// Address, port and protocol of a frontend; port 0 and [`Protocol::ANY`] mark a ClusterIP.
pub type Place = (IpAddr, u16, Protocol);

/// A frontend, seen through the numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Namespace, name and port name; `None` for the marker of a ClusterIP.
    pub name: Option<(String, String, String)>,
    /// What kind of address it is; `None` for the marker of a ClusterIP.
    pub kind: Option<FrontendKind>,
    /// Its flags.
    pub flags: ServiceFlags,
    /// How long a client stays with its endpoint.
    pub affinity: Seconds,
    /// The cluster set.
    pub cluster: Vec<SeenBackend>,
    /// The local set.
    pub local: Vec<SeenBackend>,
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
    /// The filter denies an address that is in use.
    #[error("ADDRESS_FILTER denies {address}, which is in use")]
    Filtered {
        /// The address.
        address: IpAddr,
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
            self.filtered(frontend.address, FilterBits::FRONTEND);
            let marker = *frontend == Frontend::new(frontend.address, Be16::ZERO, Protocol::ANY);
            let seen = Seen {
                name: if marker { None } else { self.name(place, service) },
                kind: service.frontend_kind(),
                flags: service.flags,
                affinity: service.affinity,
                cluster: self.set(maps, place, service.cluster),
                local: self.set(maps, place, service.local),
            };
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
        let mut set: Vec<SeenBackend> =
            (range.base..end).filter_map(|slot| self.slot(maps, place, slot)).collect();
        set.sort_unstable();
        set
    }

    fn slot<A: Address>(
        &mut self,
        maps: &InstalledFamily<A>,
        place: Place,
        slot: u32,
    ) -> Option<SeenBackend> {
        let id = self.installed.slots.get(slot as usize).copied().unwrap_or_default();
        let backend = (id != BackendId::default()).then(|| maps.backends.get(&id)).flatten();
        let Some(Backend { address, port, flags }) = backend else {
            self.violations.push(Violation::NoBackend { place, slot });
            return None;
        };
        self.filtered(*address, FilterBits::BACKEND);
        Some((address.to_ip(), port.get(), flags.contains(BackendFlags::LOCAL)))
    }

    fn filtered<A: Address>(&mut self, address: A, bit: FilterBits) {
        let slot = FilterSlot::of(address);
        let word = self.installed.filter.get(slot.word as usize).copied().unwrap_or_default();
        if !slot.read(word).contains(bit) {
            self.violations.push(Violation::Filtered { address: address.to_ip() });
        }
    }
}
