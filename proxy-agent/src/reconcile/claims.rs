//! Who has a frontend that several Services ask for.
//!
//! The answer depends on the Services alone, never on the order in which they were seen: a restart
//! and a long life come to the same result. A ClusterIP goes before a load balancer's address, that
//! before an external IP, that before a NodePort; then the older Service, then the first by name.

use std::collections::{BTreeMap, BTreeSet};

use foldhash::HashMap;
use proxy_common::FrontendKind;

use crate::{desired::FrontendKey, model::NamespacedName};

/// A Service's claim to a frontend; the smallest wins.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Claim {
    rank: u8,
    created: i64,
    pub(super) service: NamespacedName,
}

impl Claim {
    pub(super) fn new(kind: FrontendKind, created: Option<i64>, service: NamespacedName) -> Self {
        let rank = match kind {
            FrontendKind::ClusterIp => 0,
            FrontendKind::LoadBalancer => 1,
            FrontendKind::ExternalIp => 2,
            FrontendKind::NodePort => NODE_PORT,
        };
        Self { rank, created: created.unwrap_or(i64::MIN), service }
    }

    /// Whether it is the claim of a NodePort.
    pub(super) fn is_of_node_port(&self) -> bool {
        self.rank == NODE_PORT
    }

    /// Why this claim wins against `other`.
    pub(super) fn wins_because(&self, other: &Self) -> &'static str {
        if self.rank != other.rank {
            "of a kind that goes first (ClusterIP, load balancer, external IP, NodePort)"
        } else if self.created != other.created {
            "the older Service"
        } else {
            "the first by name"
        }
    }
}

/// The rank of a NodePort's claims: the last.
const NODE_PORT: u8 = 3;

#[derive(Debug, Default)]
pub(super) struct Claims {
    owners: HashMap<FrontendKey, Claim>,
    /// Only frontends that more than one asks for.
    waiting: HashMap<FrontendKey, BTreeSet<Claim>>,
    /// In the order of the frontends. Most Services have two: a node of a B-tree would take room for
    /// eleven.
    of_service: HashMap<NamespacedName, Box<[(FrontendKey, Claim)]>>,
}

/// What a change of claims came to.
#[derive(Debug, Default)]
pub(super) struct Changed {
    /// Services that got or lost a frontend by it, beside the one whose claims changed.
    pub(super) others: BTreeSet<NamespacedName>,
    /// Frontends that nobody asks for any more.
    pub(super) unowned: Vec<FrontendKey>,
    /// Frontends that somebody asks for and doesn't get, or no longer: with that claim and the
    /// winner's. Each is told once.
    pub(super) lost: Vec<(FrontendKey, Claim, Claim)>,
}

impl Claims {
    pub(super) fn is_owner(&self, frontend: &FrontendKey, service: &NamespacedName) -> bool {
        self.owners.get(frontend).is_some_and(|claim| claim.service == *service)
    }

    pub(super) fn is_owned(&self, frontend: &FrontendKey) -> bool {
        self.owners.contains_key(frontend)
    }

    /// `service` asks for exactly these frontends from now on.
    pub(super) fn replace(
        &mut self,
        service: &NamespacedName,
        claims: BTreeMap<FrontendKey, Claim>,
    ) -> Changed {
        let mut changed = Changed::default();
        let before = self.of_service.remove(service).unwrap_or_default();
        let before_at = |frontend: &FrontendKey| {
            let place = before.binary_search_by(|(other, _)| other.cmp(frontend)).ok()?;
            Some(&before[place].1)
        };
        for (frontend, old) in &before {
            if claims.get(frontend) != Some(old) {
                self.withdraw(*frontend, old, &mut changed);
            }
        }
        for (frontend, claim) in &claims {
            let old = before_at(frontend);
            if old != Some(claim) {
                self.assert(*frontend, claim, old.is_none(), &mut changed);
            }
        }
        changed.others.remove(service);
        changed.unowned.retain(|frontend| !self.owners.contains_key(frontend));
        if !claims.is_empty() {
            self.of_service.insert(service.clone(), claims.into_iter().collect());
        }
        changed
    }

    fn withdraw(&mut self, frontend: FrontendKey, claim: &Claim, changed: &mut Changed) {
        if self.owners.get(&frontend) != Some(claim) {
            self.stop_waiting(&frontend, claim);
            return;
        }
        self.owners.remove(&frontend);
        match self.waiting.get(&frontend).and_then(BTreeSet::first).cloned() {
            Some(next) => {
                self.stop_waiting(&frontend, &next);
                changed.others.insert(next.service.clone());
                self.owners.insert(frontend, next);
            }
            None => changed.unowned.push(frontend),
        }
    }

    fn assert(&mut self, frontend: FrontendKey, claim: &Claim, new: bool, changed: &mut Changed) {
        let Some(owner) = self.owners.get(&frontend).cloned() else {
            self.owners.insert(frontend, claim.clone());
            return;
        };
        let waiting = self.waiting.entry(frontend).or_default();
        if *claim < owner {
            changed.others.insert(owner.service.clone());
            changed.lost.push((frontend, owner.clone(), claim.clone()));
            waiting.insert(owner);
            self.owners.insert(frontend, claim.clone());
        } else {
            waiting.insert(claim.clone());
            if new {
                changed.lost.push((frontend, claim.clone(), owner));
            }
        }
    }

    fn stop_waiting(&mut self, frontend: &FrontendKey, claim: &Claim) {
        if let Some(waiting) = self.waiting.get_mut(frontend) {
            waiting.remove(claim);
            if waiting.is_empty() {
                self.waiting.remove(frontend);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proxy_common::{FrontendKind, Protocol};

    use super::{Changed, Claim, Claims};
    use crate::{desired::FrontendKey, model::NamespacedName};

    fn name(name: &str) -> NamespacedName {
        NamespacedName::new("default", name)
    }

    fn frontend() -> FrontendKey {
        let address = "10.96.0.1".parse().unwrap();
        FrontendKey { address, port: 80, protocol: Protocol::TCP }
    }

    fn ask(claims: &mut Claims, service: &str, kind: FrontendKind, created: i64) -> Changed {
        let claim = Claim::new(kind, Some(created), name(service));
        claims.replace(&name(service), BTreeMap::from([(frontend(), claim)]))
    }

    #[test]
    fn the_older_service_keeps_a_frontend_whoever_came_first() {
        let mut claims = Claims::default();
        ask(&mut claims, "young", FrontendKind::ExternalIp, 9);
        let changed = ask(&mut claims, "old", FrontendKind::ExternalIp, 1);
        assert!(changed.others.contains(&name("young")));
        assert_eq!(changed.lost[0].1.service, name("young"));
        assert!(claims.is_owner(&frontend(), &name("old")));
    }

    #[test]
    fn a_cluster_ip_is_not_taken_by_an_external_ip() {
        let mut claims = Claims::default();
        ask(&mut claims, "served", FrontendKind::ClusterIp, 9);
        let changed = ask(&mut claims, "thief", FrontendKind::ExternalIp, 1);
        assert_eq!(changed.lost.len(), 1);
        assert!(claims.is_owner(&frontend(), &name("served")));
        let again = ask(&mut claims, "thief", FrontendKind::ExternalIp, 1);
        assert!(again.lost.is_empty(), "told once");
    }

    #[test]
    fn who_waits_gets_it_when_the_owner_leaves_and_then_nobody_has_it() {
        let mut claims = Claims::default();
        ask(&mut claims, "a", FrontendKind::ClusterIp, 1);
        ask(&mut claims, "b", FrontendKind::ClusterIp, 1);
        let changed = claims.replace(&name("a"), BTreeMap::new());
        assert!(changed.others.contains(&name("b")) && changed.unowned.is_empty());
        assert!(claims.is_owner(&frontend(), &name("b")));
        let changed = claims.replace(&name("b"), BTreeMap::new());
        assert_eq!(changed.unowned, [frontend()]);
        assert!(!claims.is_owned(&frontend()));
    }

    #[test]
    fn an_owner_whose_claim_weakens_gives_way() {
        let mut claims = Claims::default();
        ask(&mut claims, "a", FrontendKind::LoadBalancer, 5);
        ask(&mut claims, "b", FrontendKind::ExternalIp, 1);
        let changed = ask(&mut claims, "a", FrontendKind::ExternalIp, 5);
        assert!(claims.is_owner(&frontend(), &name("b")));
        assert!(changed.others.contains(&name("b")) && changed.unowned.is_empty());
    }
}
