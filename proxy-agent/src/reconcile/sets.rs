//! Endpoint sets in `SLOTS`: where each lies, who refers to it, and what waits to be reused.
//!
//! A set is written to a run that nothing refers to, then referred to, then no longer referred to,
//! and its run is reused one grace period after that: a program that read the old value of a
//! frontend has finished by then. What lies in a run is never changed.

use std::collections::VecDeque;

use foldhash::HashMap;
use proxy_common::{BackendId, Nanoseconds, SlotRange};

use crate::model::Family;

use super::slots::FreeSlots;

/// How long after its last reference a run, and so a backend's id, may still be met by a program
/// that is running.
pub(super) const GRACE_NS: u64 = 1_000_000_000;

/// When what is let go now may be reused.
pub(super) const fn grace_after(now: Nanoseconds) -> Nanoseconds {
    Nanoseconds::new(now.get().saturating_add(GRACE_NS))
}

/// Names a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct RunId(u64);

/// A run of slots that belongs to somebody.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) family: Family,
    base: u32,
    slots: u32,
    /// What its slots hold, 0 where that is nothing known.
    content: Vec<BackendId>,
    /// The backends that it needs. One that stands here twice is needed twice.
    pub(super) backends: Vec<BackendId>,
    holders: u32,
    pub(super) written: bool,
}

/// Where the two sets of a Service port lie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Placement {
    pub(super) cluster: SlotRange,
    pub(super) local: SlotRange,
    /// The runs they lie in; both the same one, unless adopted from another hand.
    pub(super) runs: [Option<RunId>; 2],
}

#[derive(Debug)]
pub(super) struct SlotSets {
    free: FreeSlots,
    runs: HashMap<RunId, Run>,
    next: u64,
    retired: VecDeque<(Nanoseconds, RunId)>,
    /// Runs that were let go before they were written: no program can know them.
    stillborn: Vec<RunId>,
}

impl SlotSets {
    pub(super) fn new(capacity: u32) -> Self {
        Self {
            free: FreeSlots::new(capacity),
            runs: HashMap::default(),
            next: 0,
            retired: VecDeque::new(),
            stillborn: Vec::new(),
        }
    }

    /// So many slots were added from `base` on.
    pub(super) fn more_slots(&mut self, base: u32, slots: u32) {
        self.free.give_back(base, slots);
    }

    /// Slots that were found in use, or might be: what they hold, and the backends that they need.
    pub(super) fn adopt(
        &mut self,
        family: Family,
        (base, slots): (u32, u32),
        content: Vec<BackendId>,
        backends: Vec<BackendId>,
    ) -> RunId {
        self.free.reserve(base, slots);
        self.insert(Run { family, base, slots, content, backends, holders: 0, written: true })
    }

    /// Backends that nothing refers to from now on, and that a running program may still meet.
    pub(super) fn linger(&mut self, family: Family, backends: Vec<BackendId>, now: Nanoseconds) {
        let run = self.adopt(family, (0, 0), Vec::new(), backends);
        self.retired.push_back((grace_after(now), run));
    }

    /// Places the slots of a cluster set and of a local set, which need `backends`, in one fresh
    /// run; they overlap when the local set is how the cluster set begins. `Err` says how many slots
    /// were wanted and not to be had.
    pub(super) fn place(
        &mut self,
        family: Family,
        cluster: &[BackendId],
        local: &[BackendId],
        backends: &[BackendId],
    ) -> Result<Placement, u32> {
        let mut content = cluster.to_vec();
        let local_offset = if cluster.starts_with(local) { 0 } else { length(cluster) };
        if local_offset > 0 || cluster.is_empty() {
            content.extend_from_slice(local);
        }
        if content.is_empty() {
            return Ok(Placement::default());
        }
        let wanted = length(&content);
        let base = self.free.take(wanted).ok_or(wanted)?;
        let (slots, backends) = (wanted, backends.to_vec());
        let run =
            self.insert(Run { family, base, slots, content, backends, holders: 0, written: false });
        let range = |offset, set: &[BackendId]| match length(set) {
            0 => SlotRange::default(),
            count => SlotRange { base: base + offset, count },
        };
        Ok(Placement {
            cluster: range(0, cluster),
            local: range(local_offset, local),
            runs: [Some(run), None],
        })
    }

    /// Whether the sets that lie at `placement` are these.
    pub(super) fn holds(
        &self,
        placement: &Placement,
        cluster: &[BackendId],
        local: &[BackendId],
    ) -> bool {
        self.at(placement, placement.cluster) == Some(cluster)
            && self.at(placement, placement.local) == Some(local)
    }

    /// What lies at `range` of `placement`; `None` when that isn't known.
    pub(super) fn at(&self, placement: &Placement, range: SlotRange) -> Option<&[BackendId]> {
        if range.count == 0 {
            return Some(&[]);
        }
        placement.runs.iter().flatten().find_map(|run| {
            let run = self.runs.get(run)?;
            let start = range.base.checked_sub(run.base)? as usize;
            run.content.get(start..start + range.count as usize)
        })
    }

    pub(super) fn get(&self, run: RunId) -> Option<&Run> {
        self.runs.get(&run)
    }

    /// Where a run begins, and what is to be written there.
    pub(super) fn content(&self, run: RunId) -> Option<(u32, Vec<BackendId>)> {
        self.runs.get(&run).map(|run| (run.base, run.content.clone()))
    }

    pub(super) fn wrote(&mut self, run: RunId) {
        if let Some(run) = self.runs.get_mut(&run) {
            run.written = true;
        }
    }

    /// Somebody refers to the runs of `placement`.
    pub(super) fn hold(&mut self, placement: &Placement) {
        for run in placement.runs.iter().flatten() {
            if let Some(run) = self.runs.get_mut(run) {
                run.holders += 1;
            }
        }
    }

    /// Somebody no longer refers to them. A run that nobody refers to is reused after the grace
    /// period, or at once if it was never written.
    pub(super) fn release(&mut self, placement: &Placement, now: Nanoseconds) {
        for id in placement.runs.iter().flatten() {
            if let Some(run) = self.runs.get_mut(id) {
                run.holders -= 1;
                match (run.holders, run.written) {
                    (0, true) => self.retired.push_back((grace_after(now), *id)),
                    (0, false) => self.stillborn.push(*id),
                    _ => {}
                }
            }
        }
    }

    /// Adopted runs that nobody refers to begin their grace period.
    pub(super) fn settle(&mut self, now: Nanoseconds) {
        let mut unheld: Vec<RunId> =
            self.runs.iter().filter(|(_, run)| run.holders == 0).map(|(id, _)| *id).collect();
        unheld.sort_unstable();
        self.retired.extend(unheld.into_iter().map(|id| (grace_after(now), id)));
    }

    /// Runs whose grace period is over. Their slots are free; the backends in them are needed once
    /// less each.
    pub(super) fn expire(&mut self, now: Nanoseconds) -> Vec<Run> {
        let mut over = std::mem::take(&mut self.stillborn);
        while let Some((_, id)) = self.retired.pop_front_if(|(at, _)| *at <= now) {
            over.push(id);
        }
        over.into_iter().filter_map(|id| self.free(id)).collect()
    }

    fn free(&mut self, id: RunId) -> Option<Run> {
        let run = self.runs.remove(&id)?;
        self.free.give_back(run.base, run.slots);
        Some(run)
    }

    /// When the next run's grace period is over.
    pub(super) fn next_expiry(&self) -> Option<Nanoseconds> {
        self.retired.front().map(|(at, _)| *at)
    }

    fn insert(&mut self, run: Run) -> RunId {
        let id = RunId(self.next);
        self.next += 1;
        self.runs.insert(id, run);
        id
    }
}

/// How many slots a set takes. A set is never longer than `SLOTS`, whose length is a `u32`; a
/// longer one asks for more than there is, and is refused.
fn length(set: &[BackendId]) -> u32 {
    u32::try_from(set.len()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proxy_common::{BackendId, Nanoseconds, SlotRange};

    use super::{GRACE_NS, Placement, SlotSets};
    use crate::model::Family;

    fn ids(ids: &[u32]) -> Vec<BackendId> {
        ids.iter().map(|id| BackendId::new(*id)).collect()
    }

    fn place(sets: &mut SlotSets, cluster: &[u32], local: &[u32]) -> Placement {
        let placement = sets.place(Family::V4, &ids(cluster), &ids(local), &ids(cluster)).unwrap();
        assert!(sets.holds(&placement, &ids(cluster), &ids(local)));
        placement
    }

    #[test]
    fn a_local_set_that_begins_the_cluster_set_takes_no_slots_of_its_own() {
        let mut sets = SlotSets::new(8);
        let placement = place(&mut sets, &[1, 2, 3], &[1]);
        assert_eq!(placement.cluster, SlotRange { base: 0, count: 3 });
        assert_eq!(placement.local, SlotRange { base: 0, count: 1 });
    }

    #[test]
    fn another_local_set_lies_behind_the_cluster_set() {
        let mut sets = SlotSets::new(8);
        let placement = place(&mut sets, &[1, 2], &[3]);
        assert_eq!(placement.local, SlotRange { base: 2, count: 1 });
        let alone = place(&mut sets, &[], &[3]);
        assert_eq!(alone.local, SlotRange { base: 3, count: 1 });
    }

    #[test]
    fn empty_sets_take_nothing() {
        assert_eq!(place(&mut SlotSets::new(0), &[], &[]), Placement::default());
    }

    #[test]
    fn a_run_is_reused_one_grace_period_after_its_last_reference() {
        let mut sets = SlotSets::new(2);
        let placement = place(&mut sets, &[1, 2], &[]);
        sets.hold(&placement);
        sets.hold(&placement);
        sets.wrote(placement.runs[0].unwrap());
        sets.release(&placement, Nanoseconds::new(5));
        assert_eq!(sets.next_expiry(), None);
        sets.release(&placement, Nanoseconds::new(7));
        assert_eq!(sets.next_expiry(), Some(Nanoseconds::new(7 + GRACE_NS)));
        assert!(sets.expire(Nanoseconds::new(6 + GRACE_NS)).is_empty());
        assert_eq!(sets.place(Family::V4, &ids(&[3]), &[], &[]), Err(1));
        let over = sets.expire(Nanoseconds::new(7 + GRACE_NS));
        assert_eq!(over.len(), 1);
        assert_eq!(over[0].backends, ids(&[1, 2]));
        place(&mut sets, &[3], &[]);
    }

    #[test]
    fn a_run_that_was_never_written_is_free_at_once() {
        let mut sets = SlotSets::new(2);
        let placement = place(&mut sets, &[1, 2], &[]);
        sets.hold(&placement);
        sets.release(&placement, Nanoseconds::new(5));
        assert_eq!(sets.expire(Nanoseconds::new(5)).len(), 1);
        place(&mut sets, &[3, 4], &[]);
    }
}
