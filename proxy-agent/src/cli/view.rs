//! What several commands read from the maps: names, frontends, endpoints, as they are shown.
//!
//! Called by the commands beside it. How a Service looks in JSON is [`super::shown`]'s business.

use std::{
    collections::{BTreeMap, HashMap, HashSet, hash_map::Entry},
    path::Path,
};

use proxy_common::{
    Address, Backend, BackendFlags, BackendId, Be16, Frontend, FrontendKind, Protocol, Service,
    ServiceFlags, ServiceId, SlotRange, SourceRangeKey, V4, V6,
};

use super::{
    CliError,
    shown::{End, Endpoint, Member, Name, Shown},
};
use crate::datapath::tables::{Family, Services, Shared};

/// The maps of Services, opened.
pub(super) struct View {
    shared: Shared,
    v4: Services<V4>,
    v6: Services<V6>,
}

/// Source ranges by Service, as they are written in the Service.
type Ranges = BTreeMap<ServiceId, Vec<String>>;

/// What the frontends of a family lead to.
struct Behind<A> {
    names: BTreeMap<ServiceId, Name>,
    sets: HashMap<SlotRange, Vec<BackendId>>,
    backends: HashMap<BackendId, Backend<A>>,
    ranges: Ranges,
}

/// Up to here slots are read one by one; more of them are read faster all together.
const FEW: u32 = 1 << 15;

impl View {
    pub(super) fn open(maps: &Path) -> Result<Self, CliError> {
        Ok(Self {
            shared: Shared::open(maps)?,
            v4: Services::open(maps)?,
            v6: Services::open(maps)?,
        })
    }

    /// Names of Service ports by id.
    pub(super) fn names(&self) -> Result<BTreeMap<ServiceId, Name>, CliError> {
        let entries = self.shared.names.entries()?;
        Ok(entries
            .iter()
            .filter_map(|(id, name)| {
                let (namespace, name, port) = name.parts()?;
                let name = Name {
                    namespace: namespace.to_owned(),
                    name: name.to_owned(),
                    port: port.to_owned(),
                };
                Some((ServiceId::new(*id), name))
            })
            .collect())
    }

    /// Every frontend, by name, kind and address.
    pub(super) fn frontends(&self) -> Result<Vec<Shown>, CliError> {
        let mut shown = Vec::new();
        self.of_family(&self.v4, &mut shown)?;
        self.of_family(&self.v6, &mut shown)?;
        shown.sort_by(|a, b| {
            let key = |s: &Shown| (s.service.clone(), s.id, s.kind, s.frontend);
            key(a).cmp(&key(b))
        });
        Ok(shown)
    }

    /// Every backend by family and id.
    pub(super) fn backends(&self) -> Result<Vec<Endpoint>, CliError> {
        let mut shown = Vec::new();
        backends_of(&self.v4, &mut shown)?;
        backends_of(&self.v6, &mut shown)?;
        Ok(shown)
    }

    fn of_family<A: Family>(
        &self,
        maps: &Services<A>,
        shown: &mut Vec<Shown>,
    ) -> Result<(), CliError> {
        let frontends = maps.frontends.entries()?;
        let ranges = frontends.iter().flat_map(|(_, service)| [service.cluster, service.local]);
        let sets = self.sets(ranges.collect())?;
        let mut backends = HashMap::new();
        for id in sets.values().flatten() {
            if let Entry::Vacant(vacant) = backends.entry(*id)
                && let Some(backend) = maps.backends.get(&id.get())?
            {
                vacant.insert(backend);
            }
        }
        let behind = Behind { names: self.names()?, sets, backends, ranges: source_ranges(maps)? };
        for (frontend, service) in frontends {
            if let Some(kind) = service.frontend_kind() {
                shown.push(behind.shown(frontend, &service, kind));
            }
        }
        Ok(())
    }
}

impl View {
    /// What the slots of these ranges hold.
    fn sets(
        &self,
        ranges: HashSet<SlotRange>,
    ) -> Result<HashMap<SlotRange, Vec<BackendId>>, CliError> {
        let total = ranges.iter().fold(0u32, |sum, range| sum.saturating_add(range.count));
        let mut all = HashMap::new();
        if total > FEW {
            self.shared.slots.for_each(|slot, id| {
                all.insert(slot, id);
            })?;
        }
        let mut sets = HashMap::new();
        for range in ranges {
            let mut set = Vec::new();
            for slot in range.base..range.base.saturating_add(range.count) {
                let id = if total > FEW {
                    all.get(&slot).copied()
                } else {
                    self.shared.slots.get(&slot)?
                };
                set.extend(id);
            }
            sets.insert(range, set);
        }
        Ok(sets)
    }
}

impl<A: Address> Behind<A> {
    fn shown(&self, frontend: Frontend<A>, service: &Service, kind: FrontendKind) -> Shown {
        let has = |flag| service.flags.contains(flag);
        let ranges = || self.ranges.get(&service.id).cloned().unwrap_or_default();
        Shown {
            service: self.names.get(&service.id).cloned(),
            id: service.id.get(),
            frontend: End::new(frontend.address, frontend.port),
            protocol: protocol(frontend.protocol),
            kind: kind_name(kind),
            local_only: has(ServiceFlags::LOCAL_ONLY),
            algorithm: proxy_common::Algorithm::from_number(service.algorithm).map(|a| a.name()),
            affinity_seconds: has(ServiceFlags::AFFINITY).then(|| service.affinity.get()),
            source_ranges: has(ServiceFlags::SOURCE_RANGES).then(ranges),
            node_admitted: !has(ServiceFlags::SOURCE_RANGES) || has(ServiceFlags::NODE_ADMITTED),
            endpoints: self.members(service.cluster),
            local_endpoints: self.members(service.local),
        }
    }

    fn members(&self, range: SlotRange) -> Vec<Member> {
        let mut slots: BTreeMap<Endpoint, u32> = BTreeMap::new();
        for id in self.sets.get(&range).into_iter().flatten() {
            if let Some(backend) = self.backends.get(id) {
                *slots.entry(endpoint(*id, backend)).or_default() += 1;
            }
        }
        slots.into_iter().map(|(endpoint, slots)| Member { endpoint, slots }).collect()
    }
}

/// The source ranges of each Service of a family, in order.
fn source_ranges<A: Family>(maps: &Services<A>) -> Result<Ranges, CliError> {
    let mut keys = Vec::new();
    maps.ranges.for_each(|key, _| keys.push(key))?;
    keys.sort_unstable();
    let mut ranges = Ranges::new();
    for key in keys {
        ranges.entry(key.data.service).or_default().push(range_text(&key));
    }
    Ok(ranges)
}

fn range_text<A: Address>(key: &SourceRangeKey<A>) -> String {
    /// Bits of the Service's id, in front of the address.
    const SERVICE_BITS: u32 = 32;
    format!("{}/{}", key.data.address.to_ip(), key.prefix_len.saturating_sub(SERVICE_BITS))
}

fn backends_of<A: Family>(maps: &Services<A>, shown: &mut Vec<Endpoint>) -> Result<(), CliError> {
    maps.backends.for_each(|id, backend| {
        if backend.port != Be16::ZERO {
            shown.push(endpoint(BackendId::new(id), &backend));
        }
    })?;
    Ok(())
}

fn endpoint<A: Address>(id: BackendId, backend: &Backend<A>) -> Endpoint {
    Endpoint {
        end: End::new(backend.address, backend.port),
        local: backend.flags.contains(BackendFlags::LOCAL),
        backend: id.get(),
    }
}

/// The name of a protocol in tables and JSON.
pub(super) fn protocol(protocol: Protocol) -> String {
    protocol.to_string()
}

fn kind_name(kind: FrontendKind) -> &'static str {
    match kind {
        FrontendKind::ClusterIp => "cluster-ip",
        FrontendKind::ExternalIp => "external-ip",
        FrontendKind::LoadBalancer => "load-balancer",
        FrontendKind::NodePort => "node-port",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashMap};

    use proxy_common::{
        Backend, BackendFlags, BackendId, Be16, ServiceId, SlotRange, SourceRangeKey, V4,
    };

    use super::{Behind, range_text};

    #[test]
    fn an_endpoint_in_several_slots_is_shown_once_with_their_number() {
        let id = BackendId::new;
        let backend =
            |host| Backend::new(V4::new([10, 1, 0, host]), Be16::new(80), BackendFlags::LOCAL);
        let range = SlotRange { base: 1, count: 5 };
        let behind = Behind {
            names: BTreeMap::new(),
            sets: HashMap::from([(range, [1, 2, 1, 1, 9].map(id).to_vec())]),
            backends: HashMap::from([(id(1), backend(1)), (id(2), backend(2))]),
            ranges: BTreeMap::new(),
        };
        let members = behind.members(range);
        let slots: Vec<_> = members.iter().map(|m| (m.endpoint.backend, m.slots)).collect();
        assert_eq!(slots, [(1, 3), (2, 1)]);
    }

    #[test]
    fn a_source_range_is_shown_without_the_bits_of_its_service() {
        let key = SourceRangeKey::of_range(ServiceId::new(7), V4::new([192, 0, 2, 0]), 24);
        assert_eq!(range_text(&key), "192.0.2.0/24");
    }
}
