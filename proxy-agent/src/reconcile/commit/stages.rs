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
use crate::reconcile::{
    ops,
    plan::Plan,
    sets::RunId,
    tables::{Tables, node_port},
};

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
            let unwritten = self.tables.backends.of(family).unwritten();
            let op = |tables: &Tables, id: &BackendId| {
                let backend = tables.backends.of(family).get(*id)?;
                Some(ops::put_backend(*id, backend))
            };
            self.each(unwritten, op, |it, id, failure| match failure {
                Some(failure) => _ = by_id.insert((family, id), failure),
                None => it.tables.backends.of_mut(family).wrote(id),
            });
        }
        by_id
    }

    pub(super) fn slots(&mut self, puts: &[Put]) -> FailedBy<RunId> {
        let unwritten: BTreeSet<RunId> = puts
            .iter()
            .flat_map(|put| put.value.placement.runs.into_iter().flatten())
            .filter(|run| self.tables.sets.get(*run).is_some_and(|run| !run.written))
            .collect();
        let op = |tables: &Tables, run: &RunId| {
            let (base, backends) = tables.sets.content(*run)?;
            Some(Op::PutSlots { base, backends })
        };
        let mut by_run = FailedBy::new();
        self.each(unwritten.into_iter().collect(), op, |it, run, failure| match failure {
            Some(failure) => _ = by_run.insert(run, failure),
            None => it.tables.sets.wrote(run),
        });
        by_run
    }

    pub(super) fn names(&mut self, puts: &[Put]) -> FailedBy<ServiceId> {
        let ids = ids_of(puts).into_iter().collect();
        let op = |tables: &Tables, id: &ServiceId| tables.ids.put_name(*id);
        let mut by_id = FailedBy::new();
        self.each(ids, op, |it, id, failure| match failure {
            Some(failure) => _ = by_id.insert(id, failure),
            None => it.tables.ids.wrote_name(id),
        });
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
        let op = |_: &Tables, put: &Put| Some(ops::put_frontend(&put.frontend, put.value.service));
        let mut by_key = FailedBy::new();
        self.each(puts, op, |it, put, failure| match failure {
            Some(failure) => {
                by_key.insert(put.frontend, failure);
                it.give_up(&put, plans, failure, services);
            }
            None => it.tables.wrote_frontend(put.frontend, put.value, it.now),
        });
        by_key
    }
}
