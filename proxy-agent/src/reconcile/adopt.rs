//! The start: from what the maps hold to tables that go on from there.
//!
//! Nothing that is found is trusted further than it can be checked. What doesn't fit together (a
//! range outside `SLOTS`, an id without a name) is kept as it is until a Service claims the
//! frontend and it is written anew, or nobody does and it is deleted.

use std::collections::{BTreeMap, BTreeSet};

use foldhash::HashMap;
use proxy_common::{Address, BackendId, Service, ServiceId, SlotRange, SourceRangeKey};

use crate::{
    desired::FrontendKey,
    endpoints::Backend,
    model::{Cidr, Family, NamespacedName, ServicePortName},
    store::{Installed, InstalledFamily},
};

use super::{
    backends::BackendTable,
    belongings::{Belongings, Element},
    family::PerFamily,
    filter::Filter,
    ids::{PortKey, ServiceIds},
    need::Need,
    ops,
    sets::{Placement, RunId, SlotSets},
    tables::{Mirrored, Tables},
};

/// Adopts what is installed.
pub(super) fn adopt(mut installed: Installed) -> Tables {
    let mut frontends: BTreeMap<FrontendKey, Service> = BTreeMap::new();
    let backends = PerFamily {
        v4: family(&installed.v4, &mut frontends),
        v6: family(&installed.v6, &mut frontends),
    };

    let ports = ports(&frontends, &installed);
    let mut tables = Tables {
        capacity: installed.capacity,
        filter: Filter::adopt(std::mem::take(&mut installed.filter)),
        backends: PerFamily {
            v4: BackendTable::adopt(installed.capacity.backends_v4, &backends.v4),
            v6: BackendTable::adopt(installed.capacity.backends_v6, &backends.v6),
        },
        sets: SlotSets::new(installed.capacity.slots),
        ids: ServiceIds::adopt(&installed.names, &ports),
        belongings: Belongings::default(),
        held_members: HashMap::default(),
        frontends: HashMap::default(),
        placements: HashMap::default(),
        node_ports: HashMap::default(),
        short: BTreeMap::new(),
    };
    for backend in backends.v4.values().chain(backends.v6.values()) {
        tables.filter.hold(Need::of_backend(backend.address, backend.port));
    }
    adopt_belongings(&mut tables, &installed);
    let runs = adopt_runs(&mut tables, &frontends, &installed.slots);
    keep_for_a_grace_period(&mut tables, &backends, &runs, &installed.slots);
    for (frontend, service) in frontends {
        let run = |range: SlotRange| find(&runs, range);
        let mut held = [run(service.cluster), run(service.local)];
        if held[0] == held[1] {
            held[1] = None;
        }
        let placement = Placement { cluster: service.cluster, local: service.local, runs: held };
        tables.filter.hold(Need::of_frontend(&frontend, service.frontend_kind()));
        let there = Mirrored { service, placement };
        tables.hold(&frontend, &there);
        tables.frontends.insert(frontend, there);
        if let Some(Some(port)) = ports.get(&service.id)
            && !tables.placements.contains_key(port)
        {
            tables.sets.hold(&placement);
            tables.placements.insert(port.clone(), placement);
        }
    }
    tables
}

fn family<A: Address>(
    installed: &InstalledFamily<A>,
    frontends: &mut BTreeMap<FrontendKey, Service>,
) -> BTreeMap<BackendId, Backend> {
    frontends.extend(
        installed.frontends.iter().map(|(key, service)| (FrontendKey::from(*key), *service)),
    );
    installed.backends.iter().map(|(id, backend)| (*id, ops::read_backend(backend))).collect()
}

/// Source ranges, members and turns. Members hold their backends.
fn adopt_belongings(tables: &mut Tables, installed: &Installed) {
    let ranges = found(&installed.v4.ranges).chain(found(&installed.v6.ranges));
    for (id, range) in ranges {
        tables.belongings.adopt(id, Element::Range(range));
    }
    for (member, sets) in &installed.members {
        tables.hold_member(*member);
        tables.belongings.adopt(member.service, Element::Member(member.backend, *sets));
    }
    for id in &installed.turns {
        tables.belongings.adopt(*id, Element::Turn);
    }
}

/// The ranges of one family, in the agent's words.
fn found<A: Address>(
    ranges: &BTreeSet<SourceRangeKey<A>>,
) -> impl Iterator<Item = (ServiceId, Cidr)> {
    ranges.iter().filter_map(|range| Some((range.data.service, ops::read_range(range)?)))
}

/// Which Service port an id belongs to: its name, and the family and protocol of its frontends.
/// `None` where that can't be told, and for ids that have only elements of other maps.
fn ports(
    frontends: &BTreeMap<FrontendKey, Service>,
    installed: &Installed,
) -> BTreeMap<ServiceId, Option<PortKey>> {
    let mut ports: BTreeMap<ServiceId, Option<PortKey>> = BTreeMap::new();
    for (frontend, service) in frontends.iter().filter(|(frontend, _)| !frontend.is_marker()) {
        let name = installed.names.get(&service.id).and_then(|name| name.parts());
        let port = name.map(|(namespace, name, port)| PortKey {
            name: ServicePortName {
                service: NamespacedName::new(namespace, name),
                port: port.into(),
                protocol: frontend.protocol,
            },
            family: Family::of(frontend.address),
        });
        ports
            .entry(service.id)
            .and_modify(|known| *known = known.take().filter(|known| Some(known) == port.as_ref()))
            .or_insert(port);
    }
    let members = installed.members.keys().map(|member| member.service);
    let ranges = installed.v4.ranges.iter().map(|range| range.data.service);
    let ranges = ranges.chain(installed.v6.ranges.iter().map(|range| range.data.service));
    for id in members.chain(ranges).chain(installed.turns.iter().copied()) {
        ports.entry(id).or_insert(None);
    }
    ports
}

/// Slots that frontends refer to: base, how many, and the run.
type Runs = BTreeMap<u32, (u32, RunId)>;

fn adopt_runs(
    tables: &mut Tables,
    frontends: &BTreeMap<FrontendKey, Service>,
    slots: &[BackendId],
) -> Runs {
    let capacity = tables.capacity.slots;
    let mut ranges: Vec<(u32, u32, Option<Family>)> = frontends
        .iter()
        .flat_map(|(frontend, service)| {
            [service.cluster, service.local].map(|range| (range, Family::of(frontend.address)))
        })
        .filter(|(range, _)| range.count > 0)
        .filter_map(|(range, family)| {
            let end = range.base.checked_add(range.count).filter(|end| *end <= capacity)?;
            Some((range.base, end, Some(family)))
        })
        .collect();
    ranges.sort_unstable();
    let mut merged: Vec<(u32, u32, Option<Family>)> = Vec::new();
    for (base, end, family) in ranges {
        match merged.last_mut().filter(|last| base < last.1) {
            Some(last) => {
                last.1 = last.1.max(end);
                last.2 = last.2.filter(|known| Some(*known) == family);
            }
            None => merged.push((base, end, family)),
        }
    }
    merged
        .into_iter()
        .map(|(base, end, family)| {
            let content = match family {
                Some(family) => hold_slots(tables, family, slots, base, end),
                None => Vec::new(),
            };
            let family = family.unwrap_or(Family::V4);
            let backends = content.iter().copied().filter(|id| id.get() != 0).collect();
            let run = tables.sets.adopt(family, (base, end - base), content, backends);
            (base, (end - base, run))
        })
        .collect()
}

fn hold_slots(
    tables: &mut Tables,
    family: Family,
    slots: &[BackendId],
    base: u32,
    end: u32,
) -> Vec<BackendId> {
    (base..end)
        .map(|slot| {
            let id = slots.get(slot as usize).copied().unwrap_or_default();
            if tables.backends.of_mut(family).hold_again(id) { id } else { BackendId::default() }
        })
        .collect()
}

fn find(runs: &Runs, range: SlotRange) -> Option<RunId> {
    let (base, (slots, run)) = runs.range(..=range.base).next_back()?;
    (range.count > 0 && range.base + range.count <= base + slots).then_some(*run)
}

/// A program that runs across the agent's restart may hold a value that was just replaced: slots
/// with something in them, and every backend, are left alone for a grace period.
fn keep_for_a_grace_period(
    tables: &mut Tables,
    backends: &PerFamily<BTreeMap<BackendId, Backend>>,
    runs: &Runs,
    slots: &[BackendId],
) {
    for family in Family::ALL {
        let ids: Vec<BackendId> = backends.of(family).keys().copied().collect();
        for id in &ids {
            tables.backends.of_mut(family).hold_again(*id);
        }
        tables.sets.adopt(family, (0, 0), Vec::new(), ids);
    }
    let referred_to = |slot: u32| {
        runs.range(..=slot).next_back().is_some_and(|(base, (count, _))| slot < base + count)
    };
    let mut stale: Vec<(u32, u32)> = Vec::new();
    for (slot, id) in (0..tables.capacity.slots).zip(slots) {
        if id.get() == 0 || referred_to(slot) {
            continue;
        }
        match stale.last_mut().filter(|(base, count)| base + count == slot) {
            Some((_, count)) => *count += 1,
            None => stale.push((slot, 1)),
        }
    }
    for run in stale {
        tables.sets.adopt(Family::V4, run, Vec::new(), Vec::new());
    }
}
