//! The steps of an answer, in the order in which the datapath asks its questions.
//!
//! Everything that is told stands in the record of a run or in the maps that it ran over; nothing is
//! decided here. The sentences themselves are in [`super::words`]. Called by [`super::explain`].

use proxy_common::{
    BackendFlags, DropReason, FilterBits, Frontend, FrontendKind, RejectReason, Service,
    ServiceFlags, SlotRange,
};
use proxy_ebpf::{
    env::FlowTable,
    filter,
    user::{FamilyOf, Wire},
};

use super::{
    World,
    answer::algorithm_name,
    candidates::{Findings, Set, backends_in, find, service},
    question::{Entry, Question},
    recorder::{Asked, Flows, Recorder},
    run::{Ask, Path, Reached, Ruling, role},
    source::Source,
    unused::unused,
    words::{self, end, listed},
};
use crate::model::Family;

/// Who tells the steps, and of what.
pub(super) struct Teller<'a, A: FamilyOf, S> {
    pub(super) question: &'a Question,
    pub(super) ask: &'a Ask<A>,
    pub(super) world: &'a World<S>,
    pub(super) found: &'a Findings<A>,
}

impl<A: FamilyOf + Wire, S: Source<A>> Teller<'_, A, S> {
    /// The steps, and the one word for how they end.
    pub(super) fn tell(&self) -> (&'static str, Vec<String>) {
        let mut steps: Vec<String> = self.world.notes.clone();
        steps.push(words::entry(self.question));
        steps.extend(self.existing());
        steps.extend(self.lookups());
        if let Some((service, kind)) = self.service() {
            steps.extend(self.admitted());
            if self.chose() {
                steps.push(words::policy(&service, kind, self.ask.entry, self.found.set));
                steps.push(self.sizes(&service));
                steps.extend(self.unused(&service));
            }
            steps.extend(self.affinity(&service));
            steps.extend(self.picking(&service));
            steps.extend(self.left_out());
            steps.extend(self.masquerade(kind));
        }
        let (reason, last) = self.end();
        steps.push(last);
        steps.extend(self.earlier());
        (reason, steps)
    }

    fn source(&self) -> &S {
        &self.world.source
    }

    fn service(&self) -> Option<(Service, FrontendKind)> {
        let service = service(&self.found.first.record)?;
        Some((service, service.frontend_kind()?))
    }

    /// A flow that the packet would belong to, if it weren't the first of its connection.
    fn existing(&self) -> Option<String> {
        let tables = [FlowTable::Dst, FlowTable::NewDst];
        let mut flows = tables.iter().filter_map(|it| self.source().flow(*it, &self.ask.tuple));
        let flow = flows.next().filter(|_| self.ask.entry != Entry::Node)?;
        Some(words::existing(end(flow.address, flow.port)))
    }

    /// What the destination is.
    fn lookups(&self) -> Vec<String> {
        let address = self.ask.tuple.destination;
        if !self.interest().contains(FilterBits::FRONTEND) {
            let env = Recorder::<A, S>::new(self.source(), role(self.ask.entry), Flows::None);
            let is_node = filter::interest(&env, address).contains(FilterBits::NODE);
            let port = self.ask.tuple.destination_port.get();
            let address = address.to_ip();
            return vec![if is_node {
                words::filtered_port(address, port)
            } else {
                words::filtered(address)
            }];
        }
        if address.to_ip().is_loopback() && self.found.first.record.is_empty() {
            return vec![words::loopback(address.to_ip())];
        }
        let sentence = |asked: &Asked<A>| match asked {
            Asked::Service(key, found) if !key.is_marker() => Some(self.frontend(key, *found)),
            Asked::Service(key, found) => Some(self.cluster_ip(key.address, found.is_some())),
            _ => None,
        };
        self.found.first.record.iter().filter_map(sentence).collect()
    }

    /// What the destination may be, by the filter.
    fn interest(&self) -> FilterBits {
        let env = Recorder::<A, S>::new(self.source(), role(self.ask.entry), Flows::None);
        let tuple = &self.ask.tuple;
        let interest = filter::interest(&env, tuple.destination);
        filter::at_port(&env, interest, tuple.destination_port, tuple.protocol)
    }

    fn frontend(&self, key: &Frontend<A>, found: Option<Service>) -> String {
        let frontend = format!("{}/{}", end(key.address, key.port), key.protocol);
        match found {
            Some(service) => {
                words::frontend(&frontend, service.frontend_kind(), &self.world.name(service.id))
            }
            None => words::no_frontend(&frontend),
        }
    }

    /// What is at an address whose port nobody has.
    fn cluster_ip(&self, address: A, is_cluster_ip: bool) -> String {
        let there = self.source().frontends_at(address);
        let owner = there.first().and_then(|(_, service)| self.world.port(service.id));
        let owner = owner.map(|port| format!("{}/{}", port.namespace, port.name));
        let ports = there.iter().map(|(key, _)| format!("{}/{}", key.port.get(), key.protocol));
        words::cluster_ip(address.to_ip(), is_cluster_ip.then(|| (owner, listed(ports))))
    }

    fn admitted(&self) -> Option<String> {
        let node = (self.ask.entry == Entry::Node).then_some("processes of the node".to_owned());
        let who = node.unwrap_or_else(|| self.ask.tuple.source.to_string());
        let (service, _) = self.service()?;
        service.flags.contains(ServiceFlags::SOURCE_RANGES).then(|| {
            let refused = self.found.ruling == Ruling::Drop(DropReason::SourceRange);
            words::admitted(&who, !refused)
        })
    }

    /// Whether the datapath came so far as to choose between the sets.
    fn chose(&self) -> bool {
        !matches!(
            self.found.ruling,
            Ruling::Drop(DropReason::SourceRange)
                | Ruling::Reject(RejectReason::ExternalClusterIp)
                | Ruling::Pass
        )
    }

    fn sizes(&self, service: &Service) -> String {
        let size = |slots: SlotRange| {
            let ids = backends_in::<A, S>(slots, self.source());
            let backends = ids.iter().filter_map(|id| self.source().backend(*id));
            let here = backends.filter(|it| it.flags.contains(BackendFlags::LOCAL)).count();
            (ids.len(), here)
        };
        words::sizes(size(service.cluster), size(service.local).0)
    }

    /// Endpoints that no new connection goes to.
    fn unused(&self, service: &Service) -> Option<String> {
        let ids = [service.cluster, service.local].into_iter();
        let ids = ids.flat_map(|slots| backends_in::<A, S>(slots, self.source()));
        let backends = ids.filter_map(|id| self.source().backend(id));
        let used = backends.map(|it| end(it.address, it.port)).collect();
        let port = self.world.port(service.id)?;
        let kind = (self.question.protocol, Family::of(self.question.to.ip()));
        let unused = unused(&self.world.slices, &port, kind, &used);
        (!unused.is_empty()).then(|| words::unused(&unused))
    }

    fn affinity(&self, service: &Service) -> Option<String> {
        let known = self.found.first.record.iter().find_map(|asked| match asked {
            Asked::Affinity(_, found) => Some(found.is_some()),
            _ => None,
        })?;
        let stays = self.found.reached.first().filter(|_| self.found.set == Some(Set::Affinity));
        let stays = stays.map(|it| end(it.end.0, it.end.1));
        Some(words::affinity(known, stays, service.affinity))
    }

    fn picking(&self, service: &Service) -> Option<String> {
        let picked = matches!(self.found.set, Some(Set::Cluster | Set::Local));
        (picked && self.found.reached.len() > 1)
            .then(|| words::picking(algorithm_name(service.algorithm), self.ask.entry))
    }

    /// Endpoints that may be picked, and can't be reached.
    fn left_out(&self) -> Vec<String> {
        let reached = !self.found.reached.is_empty();
        let sentence = |(id, ruling): &(_, Ruling)| {
            let backend = self.source().backend(*id)?;
            Some(words::left_out(end(backend.address, backend.port), *ruling))
        };
        self.found.failed.iter().filter(|_| reached).filter_map(sentence).collect()
    }

    fn masquerade(&self, kind: FrontendKind) -> Vec<String> {
        if self.found.reached.is_empty() || self.ask.entry == Entry::Node {
            return Vec::new();
        }
        let is_sender = |it: &&Reached<A>| it.end.0 == self.ask.tuple.source;
        let masqueraded = || self.found.reached.iter().filter(|it| it.masquerade);
        let names = |reached: Vec<&Reached<A>>| {
            let ends = reached.iter().map(|it| end(it.end.0, it.end.1).to_string());
            (!reached.is_empty()).then(|| listed(ends))
        };
        let config = self.source().config();
        let others = names(masqueraded().filter(|it| !is_sender(it)).collect());
        let sentences = [
            names(masqueraded().filter(is_sender).collect()).map(|names| words::hairpin(&names)),
            others.map(|names| words::masquerade(&names, kind, config)),
        ];
        let sentences: Vec<String> = sentences.into_iter().flatten().collect();
        if sentences.is_empty() { vec![words::KEPT.to_owned()] } else { sentences }
    }

    /// How it ends, in one word and in a sentence.
    fn end(&self) -> (&'static str, String) {
        match self.found.ruling {
            Ruling::Translate => {
                let reason = match self.found.set {
                    Some(Set::Local) => "local-set",
                    Some(Set::Affinity) => "affinity",
                    Some(Set::Cluster) | None => "cluster-set",
                };
                let ends = self.found.reached.iter().map(|it| end(it.end.0, it.end.1).to_string());
                (reason, words::goes_to(self.found.reached.len(), &listed(ends)))
            }
            Ruling::Reject(reason) => (reason.name(), words::rejected(reason, self.question)),
            Ruling::Drop(reason) => (reason.name(), words::dropped(reason, self.question)),
            Ruling::Pass if self.was_asked() || self.ask.entry != Entry::Node => {
                ("not-a-frontend", words::PASSES.to_owned())
            }
            Ruling::Pass => words::not_served(self.question, self.source().config()),
        }
    }

    /// Whether the datapath came so far as to look the destination up, or needed not.
    fn was_asked(&self) -> bool {
        let looked_up = |asked: &Asked<A>| matches!(asked, Asked::Service(..));
        let env = Recorder::<A, S>::new(self.source(), role(self.ask.entry), Flows::None);
        let nobodys = !self.interest().contains(FilterBits::FRONTEND)
            && !filter::is_service_address(&env, self.ask.tuple.destination);
        nobodys || self.found.first.record.iter().any(looked_up)
    }

    /// What the socket path has done about a pod's packet before it is sent.
    fn earlier(&self) -> Option<String> {
        if self.ask.entry != Entry::Pod || self.found.ruling == Ruling::Pass {
            return None;
        }
        let early = find(self.ask, Path::PodSocket, self.source());
        let ends = |found: &Findings<A>| found.reached.iter().map(|it| it.end).collect::<Vec<_>>();
        let same = early.ruling == self.found.ruling && ends(&early) == ends(self.found);
        let masquerades = self.found.reached.iter().any(|it| it.masquerade);
        words::earlier(early.ruling, same, masquerades, self.question)
    }
}
