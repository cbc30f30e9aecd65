//! Every endpoint that a new connection may go to.
//!
//! Who may be picked, and what then becomes of the packet, is not worked out here: the datapath's
//! code runs once to show which slots it picks from, and once more for each backend in them, with
//! that backend in whichever slot it picks. Called by [`super::explain`].

use std::collections::BTreeSet;

use proxy_common::{BackendId, MemberSets, Service, SlotRange};
use proxy_ebpf::{
    lookup,
    user::{FamilyOf, Wire},
};

use super::{
    recorder::{Asked, Flows, Recorder},
    run::{Ask, Outcome, Path, Reached, Ruling, role, run},
    source::Source,
};

/// Which endpoints a connection is given one of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Set {
    /// The cluster set.
    Cluster,
    /// The local set.
    Local,
    /// The one that the client stays with.
    Affinity,
}

/// What happens to a new connection.
#[derive(Clone, Debug, PartialEq)]
pub struct Findings<A: FamilyOf> {
    /// One run, as it comes.
    pub first: Outcome<A>,
    /// What is decided; translated if any endpoint can be reached.
    pub ruling: Ruling,
    /// The endpoints are of this set.
    pub set: Option<Set>,
    /// The endpoints that can be reached.
    pub reached: Vec<Reached<A>>,
    /// What becomes of the packet where it can't go on to a backend that may be picked.
    pub failed: Vec<(BackendId, Ruling)>,
}

/// Finds out what happens on `path`.
pub fn find<A, S>(ask: &Ask<A>, path: Path, source: &S) -> Findings<A>
where
    A: FamilyOf + Wire,
    S: Source<A>,
{
    let recorder = || Recorder::new(source, role(ask.entry), Flows::None);
    let first = run(ask, path, recorder());
    let Some((set, slots)) = picked_from(ask, &first.record) else {
        let set = first.reached.map(|_| Set::Affinity);
        return Findings {
            ruling: first.ruling,
            set,
            reached: first.reached.into_iter().collect(),
            failed: Vec::new(),
            first,
        };
    };
    let (mut reached, mut failed) = (Vec::new(), Vec::new());
    for id in backends_in(slots, source) {
        let outcome = run(ask, path, recorder().steered(id));
        match outcome.reached {
            Some(endpoint) => reached.push(endpoint),
            None => failed.push((id, outcome.ruling)),
        }
    }
    reached.sort_by_key(|endpoint| endpoint.end);
    reached.dedup();
    let ruling = if reached.is_empty() { first.ruling } else { Ruling::Translate };
    Findings { first, ruling, set: Some(set), reached, failed }
}

/// The distinct backends that `slots` hold.
pub fn backends_in<A: FamilyOf, S: Source<A>>(slots: SlotRange, source: &S) -> BTreeSet<BackendId> {
    let slots = slots.base..slots.base.saturating_add(slots.count);
    slots.filter_map(|slot| source.slot(slot)).collect()
}

/// The set that a slot was picked from, if it came to that.
fn picked_from<A: FamilyOf>(ask: &Ask<A>, record: &[Asked<A>]) -> Option<(Set, SlotRange)> {
    record.iter().find(|asked| matches!(asked, Asked::Slot(..)))?;
    let set = lookup::set_in_use(&service(record)?, role(ask.entry));
    let name = if set.name == MemberSets::LOCAL { Set::Local } else { Set::Cluster };
    Some((name, set.slots))
}

/// The Service that the packet is for.
pub fn service<A: FamilyOf>(record: &[Asked<A>]) -> Option<Service> {
    record.iter().find_map(|asked| match asked {
        Asked::Service(frontend, found) if !frontend.is_marker() => *found,
        _ => None,
    })
}
