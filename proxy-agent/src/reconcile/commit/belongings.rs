//! Source ranges, affinity members and turns: added before the frontends that need them, taken away
//! after the last one that did.

use std::collections::BTreeSet;

use proxy_common::ServiceId;

use crate::model::NamespacedName;

use super::{Commit, FailedBy, Put, ids_of};
use crate::reconcile::{
    belongings::{Element, Need},
    ops,
    plan::Plan,
    tables::Tables,
};

impl Commit<'_> {
    /// Adds what the Service ports of `plans` lack, except those that had something to put
    /// (`waiting`) and have not any more: their turn comes when that can be put. Returns the puts
    /// that have what they need.
    pub(super) fn belongings(
        &mut self,
        puts: Vec<Put>,
        waiting: &BTreeSet<ServiceId>,
        plans: &[Plan],
        services: &mut BTreeSet<NamespacedName>,
    ) -> Vec<Put> {
        let left = ids_of(&puts);
        let ids = plans.iter().filter_map(|plan| plan.id);
        let ids = ids.filter(|id| left.contains(id) || !waiting.contains(id));
        let missing: Vec<(ServiceId, Element)> = ids
            .flat_map(|id| {
                let missing = self.tables.belongings.missing(id);
                missing.into_iter().map(move |element| (id, element))
            })
            .collect();
        let op = |_: &Tables, (id, element): &(ServiceId, Element)| {
            Some(ops::put_element(*id, *element))
        };
        let mut by_need: FailedBy<(ServiceId, Need)> = FailedBy::new();
        self.each(missing, op, |it, (id, element), failure| match failure {
            Some(failure) => _ = by_need.insert((id, element.need()), failure),
            None => it.tables.wrote_element(id, element),
        });
        if by_need.is_empty() {
            return puts;
        }
        let failure = |id, need| by_need.get(&(id, need)).copied();
        // A Service whose frontends need no write lacks something all the same.
        for plan in plans {
            let id = plan.id.into_iter();
            for failure in
                id.flat_map(|id| Need::ALL.into_iter().filter_map(move |need| failure(id, need)))
            {
                self.blame(&plan.service, failure, services);
            }
        }
        self.keep(puts, plans, services, |_, put| {
            let service = &put.value.service;
            let mut needs = Need::ALL.into_iter().filter(|need| need.of(service));
            needs.find_map(|need| failure(service.id, need))
        })
    }

    /// Takes away what nobody needs any more.
    pub(in crate::reconcile) fn trim(&mut self) {
        let surplus = self.tables.belongings.surplus();
        let op = |_: &Tables, (id, element): &(ServiceId, Element)| {
            Some(ops::trim_element(*id, *element))
        };
        let mut trimmed = Vec::with_capacity(surplus.len());
        self.each(surplus, op, |_, element, failure| {
            trimmed.extend(failure.is_none().then_some(element));
        });
        self.tables.trimmed_elements(&trimmed, self.now);
    }
}
