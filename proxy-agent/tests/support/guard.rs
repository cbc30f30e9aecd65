//! A store that looks at its maps after every single operation, as a packet might.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
};

use proxy_agent::store::{
    Failed, FamilyOp, Installed, InstalledFamily, MapStore, Op, StoreError,
    faulty::Fault,
    memory::MemoryStore,
    view::{Place, Seen, SeenBackend, view},
};
use proxy_common::{Address, Backend, BackendFlags, BackendId, MemberSets, Service, ServiceId};

/// How long what was referred to has to be left alone.
const GRACE_NS: u64 = 1_000_000_000;

/// What a frontend may be seen as: not at all, or as one of these.
type Legal = BTreeMap<Place, Vec<Seen>>;

/// A Service port of one family.
type Port = (Option<(String, String, String)>, bool);

/// Ranges and members that a Service port may have at all.
#[derive(Debug, Default)]
struct Most {
    ranges: BTreeSet<(IpAddr, u32)>,
    members: BTreeMap<SeenBackend, MemberSets>,
}

/// Checks after every operation:
/// - the maps have a view (nothing leads nowhere, nothing in use is filtered);
/// - every frontend is seen as it was before this run, or as it should be after it, with at least
///   the source ranges and members that belong to that, and with none that belong to neither;
/// - no operation writes what is there already;
/// - no slot or backend changes within the grace period after it was last referred to.
#[derive(Debug)]
pub(crate) struct Guard {
    pub(crate) store: MemoryStore,
    pub(crate) now: u64,
    legal: Legal,
    most: BTreeMap<Port, Most>,
    slots_used: HashMap<u32, u64>,
    backends_used: HashMap<(bool, BackendId), u64>,
    faults: Vec<Option<Fault>>,
    next_fault: usize,
}

impl Guard {
    pub(crate) fn new(store: MemoryStore) -> Self {
        Self {
            store,
            now: 0,
            legal: Legal::new(),
            most: BTreeMap::new(),
            slots_used: HashMap::new(),
            backends_used: HashMap::new(),
            faults: Vec::new(),
            next_fault: 0,
        }
    }

    /// A run begins: its operations fail as `faults` says, over and over; what is seen may become
    /// what `after` says.
    pub(crate) fn begin(&mut self, faults: &[Option<Fault>], after: &BTreeMap<Place, Seen>) {
        self.faults = faults.to_vec();
        self.next_fault = 0;
        self.legal.clear();
        self.most.clear();
        for seen in [&self.view(), after] {
            for (place, seen) in seen {
                self.legal.entry(*place).or_default().push(seen.clone());
                let port = (seen.name.clone(), place.0.is_ipv4());
                allow(self.most.entry(port).or_default(), seen);
            }
        }
        self.allow_leftovers();
        self.note_used();
    }

    pub(crate) fn view(&self) -> BTreeMap<Place, Seen> {
        view(self.store.content()).unwrap_or_else(|violations| panic!("{violations:#?}"))
    }

    /// What a run that failed could not take away is found by the next one.
    fn allow_leftovers(&mut self) {
        let all = self.store.content();
        for (id, family) in all.names.keys().flat_map(|id| [(*id, true), (*id, false)]) {
            let name = all.names.get(&id).and_then(|name| name.parts());
            let name = name.map(|(a, b, c)| (a.to_owned(), b.to_owned(), c.to_owned()));
            let most = self.most.entry((name, family)).or_default();
            if family {
                leftovers(most, &all.v4, all, id);
            } else {
                leftovers(most, &all.v6, all, id);
            }
        }
    }

    fn check(&mut self, op: &Op) {
        for (place, seen) in &self.view() {
            let legal = self.legal.get(place).is_some_and(|legal| {
                let most = self.most.get(&(seen.name.clone(), place.0.is_ipv4()));
                legal.iter().any(|legal| is_between(seen, legal, most))
            });
            assert!(
                legal,
                "after {op:?}\n{place:?} is {seen:#?}\nallowed: {:#?}",
                self.legal.get(place)
            );
        }
        self.note_used();
    }

    /// What is referred to at this moment.
    fn note_used(&mut self) {
        let installed = self.store.content();
        let services = |family: bool| -> Vec<Service> {
            if family {
                installed.v4.frontends.values().copied().collect()
            } else {
                installed.v6.frontends.values().copied().collect()
            }
        };
        let mut slots = BTreeSet::new();
        for family in [true, false] {
            for service in services(family) {
                for range in [service.cluster, service.local] {
                    slots.extend((range.base..range.base + range.count).map(|slot| (family, slot)));
                }
            }
        }
        for (family, slot) in slots {
            self.slots_used.insert(slot, self.now);
            self.backends_used.insert((family, installed.slots[slot as usize]), self.now);
        }
    }

    fn rests(&self, last_used: Option<&u64>) -> bool {
        last_used.is_none_or(|last| self.now >= last + GRACE_NS)
    }

    fn check_before(&self, op: &Op) {
        let installed = self.store.content();
        match op {
            Op::PutSlots { base, backends } => {
                for slot in *base..*base + u32::try_from(backends.len()).unwrap() {
                    assert!(self.rests(self.slots_used.get(&slot)), "{op:?} reuses slot {slot}");
                }
            }
            Op::PutConfig(config) => assert_ne!(installed.config.as_ref(), Some(config)),
            Op::PutFilter { word, value } => {
                assert_ne!(installed.filter[*word as usize], *value, "{op:?} changes nothing");
            }
            Op::PutName { id, name } => {
                assert_ne!(installed.names.get(id), Some(&**name), "{op:?} changes nothing");
            }
            Op::DeleteName { id } => {
                assert!(installed.names.contains_key(id), "{op:?} changes nothing");
                let v4 = installed.v4.frontends.values();
                let mut all = v4.chain(installed.v6.frontends.values());
                assert!(all.all(|service| service.id != *id), "{op:?}: the id is in use");
            }
            Op::PutMember { member, sets } => {
                assert_ne!(installed.members.get(member), Some(sets), "{op:?} changes nothing");
            }
            Op::DeleteMember { member } => {
                assert!(installed.members.contains_key(member), "{op:?} changes nothing");
            }
            Op::PutTurn { id } => assert!(!installed.turns.contains(id), "{op:?} resets a turn"),
            Op::DeleteTurn { id } => {
                assert!(installed.turns.contains(id), "{op:?} changes nothing");
            }
            Op::V4(of_family) => self.check_family(true, op, of_family, &installed.v4),
            Op::V6(of_family) => self.check_family(false, op, of_family, &installed.v6),
        }
    }

    fn check_family<A: Address>(
        &self,
        family: bool,
        op: &Op,
        of_family: &FamilyOp<A>,
        maps: &InstalledFamily<A>,
    ) {
        let rests = |id| self.rests(self.backends_used.get(&(family, id)));
        match of_family {
            FamilyOp::PutBackend { id, backend } => {
                let there: Option<&Backend<A>> = maps.backends.get(id);
                assert_ne!(there, Some(backend), "{op:?} changes nothing");
                assert!(there.is_none() && rests(*id), "{op:?} reuses an id");
            }
            FamilyOp::ClearBackend { id } => {
                assert!(maps.backends.contains_key(id), "{op:?} changes nothing");
                assert!(rests(*id), "{op:?} clears what may be met");
            }
            FamilyOp::PutFrontend { frontend, service } => {
                assert_ne!(maps.frontends.get(frontend), Some(service), "{op:?} changes nothing");
            }
            FamilyOp::DeleteFrontend { frontend } => {
                assert!(maps.frontends.contains_key(frontend), "{op:?} changes nothing");
            }
            FamilyOp::PutRange { range } => {
                assert!(!maps.ranges.contains(range), "{op:?} changes nothing");
            }
            FamilyOp::DeleteRange { range } => {
                assert!(maps.ranges.contains(range), "{op:?} changes nothing");
            }
        }
    }

    fn fault(&mut self) -> Option<Fault> {
        let fault = self.faults.get(self.next_fault % self.faults.len().max(1)).copied().flatten();
        self.next_fault += 1;
        fault
    }
}

fn allow(most: &mut Most, seen: &Seen) {
    most.ranges.extend(&seen.ranges);
    for (member, sets) in &seen.members {
        let allowed = most.members.entry(*member).or_default();
        *allowed = allowed.union(*sets);
    }
}

fn leftovers<A: Address>(
    most: &mut Most,
    maps: &InstalledFamily<A>,
    installed: &Installed,
    id: ServiceId,
) {
    let of_service = maps.ranges.iter().filter(|range| range.data.service == id);
    most.ranges.extend(of_service.map(|range| (range.data.address.to_ip(), range.prefix_len - 32)));
    for (member, sets) in installed.members.iter().filter(|(member, _)| member.service == id) {
        if let Some(backend) = maps.backends.get(&member.backend) {
            let local = backend.flags.contains(BackendFlags::LOCAL);
            let seen = (backend.address.to_ip(), backend.port.get(), local);
            let allowed = most.members.entry(seen).or_default();
            *allowed = allowed.union(*sets);
        }
    }
}

/// Whether `seen` is `legal`, but for ranges and members that it has beside.
fn is_between(seen: &Seen, legal: &Seen, most: Option<&Most>) -> bool {
    let bare =
        |seen: &Seen| Seen { ranges: BTreeSet::new(), members: BTreeMap::new(), ..seen.clone() };
    let has = |members: &BTreeMap<SeenBackend, MemberSets>, member, sets| {
        members.get(member).is_some_and(|has: &MemberSets| has.contains(sets))
    };
    bare(seen) == bare(legal)
        && seen.ranges.is_superset(&legal.ranges)
        && legal.members.iter().all(|(member, sets)| has(&seen.members, member, *sets))
        && most.is_some_and(|most| {
            seen.ranges.is_subset(&most.ranges)
                && seen.members.iter().all(|(member, sets)| has(&most.members, member, *sets))
        })
}

impl MapStore for Guard {
    fn apply(&mut self, ops: &[Op]) -> Vec<Failed> {
        let mut failed = Vec::new();
        for (index, op) in ops.iter().enumerate() {
            self.check_before(op);
            let fault = self.fault();
            let mut faulty =
                proxy_agent::store::faulty::FaultyStore::new(&mut self.store, |_: &Op| fault);
            let outcome = faulty.apply(std::slice::from_ref(op));
            failed.extend(outcome.into_iter().map(|it| Failed { op: index, error: it.error }));
            self.check(op);
        }
        failed
    }

    fn read(&self) -> Result<Installed, StoreError> {
        self.store.read()
    }
}
