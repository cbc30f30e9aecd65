//! What a plan needs, a stage each: written in one go for all plans, and what failed told by what
//! it was.

use std::collections::BTreeSet;

use proxy_common::{BackendId, ServiceId};

use crate::{
    desired::FrontendKey,
    model::{Family, NamespacedName},
    store::Op,
};

use super::{Commit, FailedBy, Put, ids_of};
use crate::reconcile::{ops, plan::Plan, sets::RunId, tables::node_port};

impl Commit<'_> {
    pub(super) fn filter_words(&mut self) -> FailedBy<u32> {
        let ops = self.tables.filter.ops();
        let failed = self.apply(&ops);
        let mut by_word = FailedBy::new();
        for (index, op) in ops.iter().enumerate() {
            if let Op::PutFilter { word, value } = op {
                match failed.get(&index) {
                    Some(failure) => _ = by_word.insert(*word, *failure),
                    None => self.tables.filter.wrote(*word, *value),
                }
            }
        }
        by_word
    }

    pub(super) fn backends(&mut self) -> FailedBy<(Family, BackendId)> {
        let mut by_id = FailedBy::new();
        for family in Family::ALL {
            let (ids, ops): (Vec<_>, Vec<_>) =
                self.tables.backends.of(family).puts().into_iter().unzip();
            let failed = self.apply(&ops);
            for (index, id) in ids.into_iter().enumerate() {
                match failed.get(&index) {
                    Some(failure) => _ = by_id.insert((family, id), *failure),
                    None => self.tables.backends.of_mut(family).wrote(id),
                }
            }
        }
        by_id
    }

    pub(super) fn slots(&mut self, puts: &[Put]) -> FailedBy<RunId> {
        let unwritten: BTreeSet<RunId> = puts
            .iter()
            .flat_map(|put| put.value.placement.runs.into_iter().flatten())
            .filter(|run| self.tables.sets.get(*run).is_some_and(|run| !run.written))
            .collect();
        let (runs, ops): (Vec<_>, Vec<_>) = unwritten
            .into_iter()
            .filter_map(|run| {
                let (base, backends) = self.tables.sets.content(run)?;
                Some((run, Op::PutSlots { base, backends }))
            })
            .unzip();
        let failed = self.apply(&ops);
        let mut by_run = FailedBy::new();
        for (index, run) in runs.into_iter().enumerate() {
            match failed.get(&index) {
                Some(failure) => _ = by_run.insert(run, *failure),
                None => self.tables.sets.wrote(run),
            }
        }
        by_run
    }

    pub(super) fn names(&mut self, puts: &[Put]) -> FailedBy<ServiceId> {
        let (ids, ops): (Vec<_>, Vec<_>) = ids_of(puts)
            .into_iter()
            .filter_map(|id| Some((id, self.tables.ids.put_name(id)?)))
            .unzip();
        let failed = self.apply(&ops);
        let mut by_id = FailedBy::new();
        for (index, id) in ids.into_iter().enumerate() {
            match failed.get(&index) {
                Some(failure) => _ = by_id.insert(id, *failure),
                None => self.tables.ids.wrote_name(id),
            }
        }
        by_id
    }

    /// Writes the markers of NodePorts; without its marker a NodePort's frontend is not written.
    pub(super) fn node_port_markers(
        &mut self,
        puts: Vec<Put>,
        plans: &[Plan],
        services: &mut BTreeSet<NamespacedName>,
    ) -> Vec<Put> {
        let (markers, puts): (Vec<Put>, Vec<Put>) =
            puts.into_iter().partition(|put| put.frontend.is_node_port_marker());
        let failed = self.frontends(markers, plans, services);
        self.keep(puts, plans, services, |_, put| {
            let marker = node_port(&put.frontend, &put.value.service)?;
            failed.get(&marker).copied()
        })
    }

    /// Writes frontends. Returns those that failed.
    pub(super) fn frontends(
        &mut self,
        puts: Vec<Put>,
        plans: &[Plan],
        services: &mut BTreeSet<NamespacedName>,
    ) -> FailedBy<FrontendKey> {
        let ops: Vec<Op> =
            puts.iter().map(|put| ops::put_frontend(&put.frontend, put.value.service)).collect();
        let failed = self.apply(&ops);
        let mut by_key = FailedBy::new();
        for (index, put) in puts.into_iter().enumerate() {
            match failed.get(&index) {
                Some(failure) => {
                    by_key.insert(put.frontend, *failure);
                    self.give_up(&put, plans, *failure, services);
                }
                None => self.tables.wrote_frontend(put.frontend, put.value, self.now),
            }
        }
        by_key
    }
}
