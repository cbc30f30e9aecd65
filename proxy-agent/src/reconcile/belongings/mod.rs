//! What a Service port has beside its frontends and its sets: source ranges, affinity members, a
//! turn. Elements of maps that are looked up by service id.
//!
//! An element is there before the first frontend that needs it, and until after the last one that
//! did. In between both the old elements and the new ones are there.

mod kind;

use std::collections::BTreeMap;

use proxy_common::{Algorithm, BackendId, MemberSets, Service, ServiceFlags, ServiceId};

use crate::model::Cidr;

use kind::Kind;

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

#[cfg(test)]
mod tests;
