//! Plans, carried out: the one place that calls the store.
//!
//! The order is filter bits, backends, slots, names, what else the Service port has
//! ([`super::belongings`]), markers of NodePorts, frontends; and the other way round for what goes.
//! A frontend is written only when everything its value refers to is there, and is switched by that
//! one write. What fails stops the plans that need it and no others.

mod belongings;
mod stages;

use std::collections::{BTreeMap, BTreeSet};

use foldhash::HashMap;
use proxy_common::{BackendId, Nanoseconds, ServiceId};

use crate::{
    desired::FrontendKey,
    model::{Family, NamespacedName},
    store::{MapStore, Op, StoreError},
};

use super::{
    belongings::Wanted,
    error::{Failure, Report},
    need::Need,
    ops,
    plan::Plan,
    sets::grace_after,
    tables::{Mirrored, Tables},
};

pub(super) struct Commit<'a> {
    pub(super) tables: &'a mut Tables,
    pub(super) store: &'a mut dyn MapStore,
    pub(super) now: Nanoseconds,
    pub(super) report: &'a mut Report,
}

/// Operations that the store is given in one go: enough for whole batches of bpf(2), too few to take
/// memory to speak of. A first sync has hundreds of thousands.
const BATCH: usize = 4096;

/// A frontend to write.
struct Put {
    plan: usize,
    frontend: FrontendKey,
    value: Mirrored,
}

impl Put {
    /// The filter's bits that it holds until it is written, and from then on as a frontend.
    fn need(&self) -> Need {
        Need::of_frontend(&self.frontend, self.value.service.frontend_kind())
    }
}

/// Indexes into [`Report::failures`], by what failed.
type FailedBy<K> = BTreeMap<K, usize>;

impl Commit<'_> {
    /// Carries out `plans`; `owned` says who has a frontend. Returns the Services that are not as
    /// they should be.
    pub(super) fn plans(
        &mut self,
        plans: &[Plan],
        owned: impl Fn(&FrontendKey, &NamespacedName) -> bool,
    ) -> BTreeSet<NamespacedName> {
        self.tables.expire(self.now);
        let mut puts = self.puts(plans, owned);
        for put in &puts {
            self.tables.filter.hold(put.need());
        }
        let waiting = ids_of(&puts);
        let mut failed = BTreeSet::new();
        let words = self.filter_words();
        let backends = self.backends();
        puts = self.keep(puts, plans, &mut failed, |tables, put| {
            blocked_by(tables, put, &words, &backends)
        });
        let runs = self.slots(&puts);
        let names = self.names(&puts);
        puts = self.keep(puts, plans, &mut failed, |_, put| {
            let runs = put.value.placement.runs.iter().flatten().find_map(|run| runs.get(run));
            runs.or_else(|| names.get(&put.value.service.id)).copied()
        });
        puts = self.belongings(puts, &waiting, plans, &mut failed);
        puts = self.node_port_markers(puts, plans, &mut failed);
        self.frontends(puts, plans, &mut failed);
        for plan in plans.iter().filter(|plan| !failed.contains(&plan.service)) {
            if let Some(id) = plan.id {
                self.tables.belongings.confirm(id);
            }
        }
        failed
    }

    /// Deletes `frontends`; returns those that are still there. A NodePort's marker goes after the
    /// last of its frontends.
    pub(super) fn deletes(&mut self, frontends: BTreeSet<FrontendKey>) -> BTreeSet<FrontendKey> {
        let (markers, frontends): (BTreeSet<_>, BTreeSet<_>) =
            frontends.into_iter().partition(FrontendKey::is_node_port_marker);
        let mut left = self.delete(frontends);
        let (in_use, markers): (BTreeSet<_>, BTreeSet<_>) =
            markers.into_iter().partition(|marker| self.tables.node_ports.contains_key(marker));
        left.extend(in_use);
        left.extend(self.delete(markers));
        left
    }

    fn delete(&mut self, frontends: BTreeSet<FrontendKey>) -> BTreeSet<FrontendKey> {
        let op = |tables: &Tables, frontend: &FrontendKey| {
            tables.frontends.contains_key(frontend).then(|| ops::delete_frontend(frontend))
        };
        let mut left = BTreeSet::new();
        self.each(frontends.into_iter().collect(), op, |it, frontend, failure| match failure {
            Some(_) => _ = left.insert(frontend),
            None => it.tables.deleted_frontend(&frontend, it.now),
        });
        left
    }

    /// Zeroes backends and deletes names that nothing needs any more.
    pub(super) fn release(&mut self) {
        self.tables.expire(self.now);
        for family in Family::ALL {
            let unneeded = self.tables.backends.of(family).unneeded();
            let op = |_: &Tables, id: &BackendId| Some(ops::clear_backend(family, *id));
            self.each(unneeded, op, |it, id, failure| {
                if failure.is_none()
                    && let Some(backend) = it.tables.backends.of_mut(family).cleared(id)
                {
                    let need = Need::of_backend(backend.address, backend.port);
                    it.tables.filter.release(need, grace_after(it.now));
                }
            });
        }
        let unneeded = self.tables.ids.unneeded();
        self.each(
            unneeded,
            |_, id| Some(Op::DeleteName { id: *id }),
            |it, id, failure| {
                if failure.is_none() {
                    it.tables.ids.deleted(id);
                }
            },
        );
        for id in self.tables.ids.take_gone() {
            self.tables.belongings.want(id, Wanted::default());
        }
    }

    /// Writes filter words that changed for other reasons than a plan.
    pub(super) fn filter(&mut self) {
        self.filter_words();
    }

    /// Applies one operation that concerns no Service; whether it was applied.
    pub(super) fn alone(&mut self, op: Op) -> bool {
        self.apply(&[op]).is_empty()
    }

    /// The frontends of `plans` that differ from what is there.
    fn puts(
        &self,
        plans: &[Plan],
        owned: impl Fn(&FrontendKey, &NamespacedName) -> bool,
    ) -> Vec<Put> {
        let mut puts = Vec::new();
        for (index, plan) in plans.iter().enumerate() {
            for (frontend, value) in &plan.frontends {
                let there = self.tables.frontends.get(frontend);
                if there != Some(value) && owned(frontend, &plan.service) {
                    puts.push(Put { plan: index, frontend: *frontend, value: *value });
                }
            }
        }
        puts
    }

    /// Drops the puts that a failure stands in the way of.
    fn keep(
        &mut self,
        puts: Vec<Put>,
        plans: &[Plan],
        services: &mut BTreeSet<NamespacedName>,
        failure: impl Fn(&Tables, &Put) -> Option<usize>,
    ) -> Vec<Put> {
        let mut kept = Vec::with_capacity(puts.len());
        for put in puts {
            match failure(self.tables, &put) {
                Some(failure) => self.give_up(&put, plans, failure, services),
                None => kept.push(put),
            }
        }
        kept
    }

    fn give_up(
        &mut self,
        put: &Put,
        plans: &[Plan],
        failure: usize,
        services: &mut BTreeSet<NamespacedName>,
    ) {
        self.tables.filter.release(put.need(), grace_after(self.now));
        if let Some(plan) = plans.get(put.plan) {
            self.blame(&plan.service, failure, services);
        }
    }

    /// `service` is not as it should be, because of `failure`.
    fn blame(
        &mut self,
        service: &NamespacedName,
        failure: usize,
        services: &mut BTreeSet<NamespacedName>,
    ) {
        if let Some(failure) = self.report.failures.get_mut(failure)
            && let Err(place) = failure.services.binary_search(service)
        {
            failure.services.insert(place, service.clone());
        }
        services.insert(service.clone());
    }

    /// Applies the operation for each of `items` that has one, and tells `done` of it: also whether it
    /// failed, by its place in [`Report::failures`].
    fn each<T>(
        &mut self,
        items: Vec<T>,
        op: impl Fn(&Tables, &T) -> Option<Op>,
        mut done: impl FnMut(&mut Self, T, Option<usize>),
    ) {
        let mut items = items.into_iter();
        while items.len() > 0 {
            let (batch, ops): (Vec<T>, Vec<Op>) = items
                .by_ref()
                .take(BATCH)
                .filter_map(|item| op(self.tables, &item).map(|op| (item, op)))
                .unzip();
            let failed = self.apply(&ops);
            for (index, item) in batch.into_iter().enumerate() {
                done(self, item, failed.get(&index).copied());
            }
        }
    }

    /// Applies `ops`; returns which failed, each with its place in [`Report::failures`]. Failures
    /// of one map with one error number are one.
    fn apply(&mut self, ops: &[Op]) -> HashMap<usize, usize> {
        if ops.is_empty() {
            return HashMap::default();
        }
        let failed = self.store.apply(ops);
        for failed in &failed {
            if let StoreError::Full { map } = failed.error {
                self.tables.is_short(map, 1);
            }
        }
        self.report.applied += ops.len() - failed.len();
        failed.into_iter().map(|failed| (failed.op, self.failure(failed.error))).collect()
    }

    fn failure(&mut self, error: StoreError) -> usize {
        let failures = &mut self.report.failures;
        let known = failures.iter().position(|known| {
            known.error.map() == error.map()
                && known.error.errno() == error.errno()
                && known.error.is_from_the_store()
        });
        known.unwrap_or_else(|| {
            failures.push(Failure { services: Vec::new(), error: error.into() });
            failures.len() - 1
        })
    }
}

/// The Service ports that `puts` belong to.
fn ids_of(puts: &[Put]) -> BTreeSet<ServiceId> {
    puts.iter().map(|put| put.value.service.id).collect()
}

/// The failure that leaves something unwritten that `put` needs.
fn blocked_by(
    tables: &Tables,
    put: &Put,
    words: &FailedBy<u32>,
    backends: &FailedBy<(Family, BackendId)>,
) -> Option<usize> {
    if words.is_empty() && backends.is_empty() {
        return None;
    }
    let word = |need| tables.filter.missing(need).find_map(|word| words.get(&word).copied());
    let runs = put.value.placement.runs.iter().flatten().filter_map(|run| tables.sets.get(*run));
    let mut needed = runs.flat_map(|run| run.backends.iter().map(|id| (run.family, *id)));
    word(put.need()).or_else(|| {
        needed.find_map(|(family, id)| {
            let backend = tables.backends.of(family).get(id)?;
            word(Need::of_backend(backend.address, backend.port))
                .or_else(|| backends.get(&(family, id)).copied())
        })
    })
}
