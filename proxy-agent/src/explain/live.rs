//! The maps of the running datapath, read element by element as the code asks for them. Nothing is
//! written.
//!
//! Flows, services and endpoints may change between two questions, as they may under a packet.

use std::{cell::RefCell, path::Path};

use bytemuck::Zeroable as _;
use proxy_common::{
    Affinity, AffinityKey, Backend, BackendId, Be16, Config, CountedSocket, Flow, FragmentKey,
    FragmentPorts, Frontend, MemberKey, MemberSets, Nanoseconds, Service, ServiceId, SocketKey,
    SocketPeer, SourceRangeKey, Tuple, V4, V6,
};
use proxy_ebpf::{env::FlowTable, user::FamilyOf};

use super::{
    World,
    source::{Shared, Source},
};
use crate::{
    datapath::{
        map::{Map, MapError},
        tables::{self, Family, Flows, Services},
    },
    host::clock,
};

/// The maps of one family.
#[derive(Debug)]
pub struct FamilyPins<A: Family> {
    services: Services<A>,
    flows: Flows<A>,
    affinity: Map<AffinityKey<A>, Affinity>,
    open_flows: Map<u32, u32>,
}

impl<A: Family> FamilyPins<A> {
    fn open(maps: &Path) -> Result<Self, MapError> {
        Ok(Self {
            services: Services::open(maps)?,
            flows: Flows::open(maps)?,
            affinity: tables::affinity::<A>(maps)?,
            open_flows: tables::open_flows::<A>(maps)?,
        })
    }
}

/// The pinned maps.
#[derive(Debug)]
pub struct Pinned {
    config: Option<Config>,
    shared: tables::Shared,
    v4: FamilyPins<V4>,
    v6: FamilyPins<V6>,
    now: Nanoseconds,
    failed: RefCell<Option<MapError>>,
}

/// A family's maps among the pinned ones.
pub trait PinnedFamily: FamilyOf + Family {
    /// Which they are.
    fn of_pins(pinned: &Pinned) -> &FamilyPins<Self>;
}

impl PinnedFamily for V4 {
    fn of_pins(pinned: &Pinned) -> &FamilyPins<Self> {
        &pinned.v4
    }
}

impl PinnedFamily for V6 {
    fn of_pins(pinned: &Pinned) -> &FamilyPins<Self> {
        &pinned.v6
    }
}

/// Opens the maps that are pinned in `maps`.
///
/// # Errors
/// When one is missing, has another shape, or can't be read.
pub fn open(maps: &Path) -> Result<World<Pinned>, MapError> {
    let config = tables::config(maps)?.get(&0)?.filter(|config| *config != Config::zeroed());
    let shared = tables::Shared::open(maps)?;
    let names = shared.names.entries()?;
    let source = Pinned {
        config,
        shared,
        v4: FamilyPins::open(maps)?,
        v6: FamilyPins::open(maps)?,
        now: clock::now(),
        failed: RefCell::default(),
    };
    let names = names.into_iter().map(|(id, name)| (ServiceId::new(id), name)).collect();
    Ok(World { source, names, slices: Vec::new(), notes: Vec::new() })
}

impl Pinned {
    /// What went wrong while the maps were read: the answer is not to be trusted then.
    #[must_use]
    pub fn take_error(&self) -> Option<MapError> {
        self.failed.take()
    }

    /// What was read, or nothing and a note of why.
    fn read<T>(&self, result: Result<Option<T>, MapError>) -> Option<T> {
        result.unwrap_or_else(|error| {
            self.failed.replace(Some(error));
            None
        })
    }
}

impl Shared for Pinned {
    fn config(&self) -> Option<&Config> {
        self.config.as_ref()
    }

    fn filter_word(&self, index: u32) -> u64 {
        self.read(self.shared.filter.get(&index)).unwrap_or_default()
    }

    fn slot(&self, index: u32) -> Option<BackendId> {
        self.read(self.shared.slots.get(&index))
    }

    fn now(&self) -> Nanoseconds {
        self.now
    }

    fn turn(&self, service: ServiceId) -> u32 {
        self.read(self.shared.turns.get(&service.get())).unwrap_or_default()
    }

    fn member_sets(&self, member: &MemberKey) -> MemberSets {
        self.read(self.shared.members.get(member)).unwrap_or_default()
    }

    // No socket of the running node is asked about, but one that opens a connection just now.
    fn counted_socket(&self, _: u64) -> Option<CountedSocket> {
        None
    }
}

impl<A: PinnedFamily> Source<A> for Pinned {
    fn service(&self, frontend: &Frontend<A>) -> Option<Service> {
        self.read(A::of_pins(self).services.frontends.get(frontend))
    }

    fn frontends_at(&self, address: A) -> Vec<(Frontend<A>, Service)> {
        let frontends = A::of_pins(self).services.frontends.entries();
        let mut at = self.read(frontends.map(Some)).unwrap_or_default();
        at.retain(|(frontend, _)| frontend.address == address && !frontend.is_marker());
        at.sort_by_key(|(frontend, _)| *frontend);
        at
    }

    fn backend(&self, id: BackendId) -> Option<Backend<A>> {
        let backend = self.read(A::of_pins(self).services.backends.get(&id.get()));
        // An element that is zero is unused.
        backend.filter(|backend: &Backend<A>| backend.port != Be16::ZERO)
    }

    fn flow(&self, table: FlowTable, key: &Tuple<A>) -> Option<Flow<A>> {
        let flows = &A::of_pins(self).flows;
        let table = match table {
            FlowTable::Dst => &flows.dst,
            FlowTable::Src => &flows.src,
            FlowTable::NewDst => &flows.new_dst,
            FlowTable::NewSrc => &flows.new_src,
        };
        self.read(table.get(key))
    }

    // Only whole packets and new sockets are asked about.
    fn fragment(&self, _: &FragmentKey<A>) -> Option<FragmentPorts> {
        None
    }

    fn socket_peer(&self, _: &SocketKey<A>) -> Option<SocketPeer<A>> {
        None
    }

    fn admits(&self, client: &SourceRangeKey<A>) -> bool {
        self.read(A::of_pins(self).services.ranges.get(client)).is_some()
    }

    fn affinity(&self, client: &AffinityKey<A>) -> Option<Affinity> {
        self.read(A::of_pins(self).affinity.get(client))
    }

    fn open_flows(&self, backend: BackendId) -> u32 {
        self.read(A::of_pins(self).open_flows.get(&backend.get())).unwrap_or_default()
    }
}
