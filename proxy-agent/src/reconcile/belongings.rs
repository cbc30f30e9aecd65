//! What a Service port has beside its frontends and its sets: source ranges, affinity members, a
//! turn. Elements of maps that are looked up by service id.
//!
//! An element is there before the first frontend that needs it, and until after the last one that
//! did. In between both the old elements and the new ones are there.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt::Debug,
};

use proxy_common::{Algorithm, BackendId, MemberSets, Service, ServiceFlags, ServiceId};

use crate::model::Cidr;

/// What a kind of element is needed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Need {
    Ranges,
    Members,
    Turn,
}

impl Need {
    pub(super) const ALL: [Self; 3] = [Self::Ranges, Self::Members, Self::Turn];

    /// Whether a frontend with this value needs it.
    pub(super) fn of(self, service: &Service) -> bool {
        match self {
            Self::Ranges => service.flags.contains(ServiceFlags::SOURCE_RANGES),
            Self::Members => service.flags.contains(ServiceFlags::AFFINITY),
            Self::Turn => service.algorithm == Algorithm::RoundRobin as u8,
        }
    }
}

/// One element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Element {
    Range(Cidr),
    Member(BackendId, MemberSets),
    Turn,
}

impl Element {
    pub(super) const fn need(self) -> Need {
        match self {
            Self::Range(_) => Need::Ranges,
            Self::Member(..) => Need::Members,
            Self::Turn => Need::Turn,
        }
    }
}

/// What a Service port asks for; `None` for what it doesn't need at all.
#[derive(Clone, Debug, Default)]
pub(super) struct Wanted {
    pub(super) ranges: Option<BTreeMap<Cidr, ()>>,
    pub(super) members: Option<BTreeMap<BackendId, MemberSets>>,
    pub(super) turn: bool,
}

/// Elements of the three kinds, by service id.
#[derive(Debug, Default)]
pub(super) struct Belongings {
    ranges: Kind<Cidr, ()>,
    members: Kind<BackendId, MemberSets>,
    turns: Kind<(), ()>,
}

impl Belongings {
    /// An element was found.
    pub(super) fn adopt(&mut self, id: ServiceId, element: Element) {
        match element {
            Element::Range(range) => self.ranges.adopt(id, range, ()),
            Element::Member(member, sets) => self.members.adopt(id, member, sets),
            Element::Turn => self.turns.adopt(id, (), ()),
        }
    }

    /// The Service port asks for exactly this from now on. What it asked for before goes when that
    /// is confirmed.
    pub(super) fn want(&mut self, id: ServiceId, wanted: Wanted) {
        self.ranges.want(id, wanted.ranges);
        self.members.want(id, wanted.members);
        self.turns.want(id, wanted.turn.then(|| BTreeMap::from([((), ())])));
    }

    /// The frontends of the Service port are as they should be.
    pub(super) fn confirm(&mut self, id: ServiceId) {
        self.ranges.confirm(id);
        self.members.confirm(id);
        self.turns.confirm(id);
    }

    /// A frontend with this value is installed.
    pub(super) fn hold(&mut self, service: &Service) {
        for need in Need::ALL.into_iter().filter(|need| need.of(service)) {
            match need {
                Need::Ranges => self.ranges.hold(service.id),
                Need::Members => self.members.hold(service.id),
                Need::Turn => self.turns.hold(service.id),
            }
        }
    }

    /// A frontend no longer has this value.
    pub(super) fn release(&mut self, service: &Service) {
        for need in Need::ALL.into_iter().filter(|need| need.of(service)) {
            match need {
                Need::Ranges => self.ranges.release(service.id),
                Need::Members => self.members.release(service.id),
                Need::Turn => self.turns.release(service.id),
            }
        }
    }

    /// What the Service port still lacks.
    pub(super) fn missing(&self, id: ServiceId) -> Vec<Element> {
        let ranges = self.ranges.missing(id).into_iter().map(|(range, ())| Element::Range(range));
        let members = self.members.missing(id).into_iter();
        let turns = self.turns.missing(id).into_iter().map(|_| Element::Turn);
        ranges
            .chain(members.map(|(member, sets)| Element::Member(member, sets)))
            .chain(turns)
            .collect()
    }

    /// The map has this element. Returns whether it is new.
    pub(super) fn wrote(&mut self, id: ServiceId, element: Element) -> bool {
        match element {
            Element::Range(range) => self.ranges.wrote(id, range, ()),
            Element::Member(member, sets) => self.members.wrote(id, member, sets),
            Element::Turn => self.turns.wrote(id, (), ()),
        }
    }

    /// What nobody needs any more: elements to delete, and members to leave with fewer sets (none,
    /// to delete).
    pub(super) fn surplus(&self) -> Vec<(ServiceId, Element)> {
        let ranges = self.ranges.surplus();
        let members = self.members.surplus();
        let turns = self.turns.surplus();
        let ranges = ranges.into_iter().map(|(id, range, _)| (id, Element::Range(range)));
        let members = members.into_iter().map(|(id, member, sets)| {
            (id, Element::Member(member, sets.unwrap_or(MemberSets::empty())))
        });
        let turns = turns.into_iter().map(|(id, ..)| (id, Element::Turn));
        ranges.chain(members).chain(turns).collect()
    }

    /// What [`Self::surplus`] named was carried out.
    pub(super) fn trimmed(&mut self, id: ServiceId, element: Element) {
        match element {
            Element::Range(range) => self.ranges.removed(id, &range),
            Element::Member(member, sets) if sets == MemberSets::empty() => {
                self.members.removed(id, &member);
            }
            Element::Member(member, sets) => _ = self.members.wrote(id, member, sets),
            Element::Turn => self.turns.removed(id, &()),
        }
    }

    /// Forgets what needs no more attention.
    pub(super) fn tidy(&mut self) {
        self.ranges.tidy();
        self.members.tidy();
        self.turns.tidy();
    }
}

/// What an element says, and how it says what two of them say.
trait Value: Copy + Eq + Debug {
    fn union(self, other: Self) -> Self;
}

impl Value for () {
    fn union(self, (): Self) -> Self {}
}

impl Value for MemberSets {
    fn union(self, other: Self) -> Self {
        Self::union(self, other)
    }
}

/// The elements of one kind.
#[derive(Debug)]
struct Kind<K, V> {
    of: HashMap<ServiceId, Of<K, V>>,
    /// Ids that may have a surplus.
    touched: BTreeSet<ServiceId>,
}

/// The elements of one kind that one Service port has.
#[derive(Debug)]
struct Of<K, V> {
    wanted: Option<BTreeMap<K, V>>,
    /// What was wanted when the frontends were last as they should be, or found at the start: until
    /// that is so again, they may still need it.
    before: BTreeMap<K, V>,
    there: BTreeMap<K, V>,
    /// Whether the frontends are as they should be with what is wanted.
    confirmed: bool,
    /// Installed frontends that need these elements.
    frontends: u32,
}

impl<K, V> Default for Kind<K, V> {
    fn default() -> Self {
        Self { of: HashMap::new(), touched: BTreeSet::new() }
    }
}

impl<K, V> Default for Of<K, V> {
    fn default() -> Self {
        Self {
            wanted: None,
            before: BTreeMap::new(),
            there: BTreeMap::new(),
            confirmed: false,
            frontends: 0,
        }
    }
}

impl<K: Copy + Ord, V: Value> Kind<K, V> {
    fn want(&mut self, id: ServiceId, wanted: Option<BTreeMap<K, V>>) {
        if wanted.is_none() && !self.of.contains_key(&id) {
            return;
        }
        let of = self.of.entry(id).or_default();
        if of.wanted != wanted {
            let before = std::mem::replace(&mut of.wanted, wanted);
            if let (true, Some(before)) = (of.confirmed, before) {
                of.before = before;
            }
            of.confirmed = false;
        }
        self.touched.insert(id);
    }

    fn confirm(&mut self, id: ServiceId) {
        if let Some(of) = self.of.get_mut(&id) {
            of.confirmed = true;
            if of.wanted.is_some() {
                of.before.clear();
            }
        }
    }

    fn adopt(&mut self, id: ServiceId, key: K, value: V) {
        let of = self.of.entry(id).or_default();
        of.there.insert(key, value);
        of.before.insert(key, value);
        self.touched.insert(id);
    }

    fn hold(&mut self, id: ServiceId) {
        self.of.entry(id).or_default().frontends += 1;
    }

    fn release(&mut self, id: ServiceId) {
        if let Some(of) = self.of.get_mut(&id) {
            of.frontends -= 1;
            if of.frontends == 0 {
                self.touched.insert(id);
            }
        }
    }

    fn missing(&self, id: ServiceId) -> Vec<(K, V)> {
        let Some(of) = self.of.get(&id) else { return Vec::new() };
        of.wanted
            .iter()
            .flatten()
            .filter_map(|(key, value)| {
                let there = of.there.get(key).copied();
                let both = there.map_or(*value, |there| there.union(*value));
                (there != Some(both)).then_some((*key, both))
            })
            .collect()
    }

    fn wrote(&mut self, id: ServiceId, key: K, value: V) -> bool {
        self.of.entry(id).or_default().there.insert(key, value).is_none()
    }

    fn surplus(&self) -> Vec<(ServiceId, K, Option<V>)> {
        let mut surplus = Vec::new();
        for id in &self.touched {
            let Some(of) = self.of.get(id) else { continue };
            for (key, value) in &of.there {
                let needed = of.needed(key);
                if needed != Some(*value) {
                    surplus.push((*id, *key, needed));
                }
            }
        }
        surplus
    }

    fn removed(&mut self, id: ServiceId, key: &K) {
        if let Some(of) = self.of.get_mut(&id) {
            of.there.remove(key);
        }
    }

    fn tidy(&mut self) {
        let of = &mut self.of;
        self.touched.retain(|id| {
            let Some(known) = of.get(id) else { return false };
            if known.wanted.is_none() && known.there.is_empty() && known.frontends == 0 {
                of.remove(id);
                return false;
            }
            !known.confirmed
                || known.there.iter().any(|(key, value)| known.needed(key) != Some(*value))
        });
    }
}

impl<K: Ord, V: Value> Of<K, V> {
    /// What the element under `key` has to say for the frontends that there are, and for those that
    /// there will be.
    fn needed(&self, key: &K) -> Option<V> {
        let wanted = self.wanted.as_ref().and_then(|wanted| wanted.get(key)).copied();
        let old_frontends = match self.wanted {
            Some(_) => !self.confirmed,
            None => self.frontends > 0,
        };
        match (wanted, self.before.get(key).filter(|_| old_frontends)) {
            (Some(wanted), Some(before)) => Some(wanted.union(*before)),
            (wanted, before) => wanted.or(before.copied()),
        }
    }
}

#[cfg(test)]
#[path = "belongings_tests.rs"]
mod tests;
