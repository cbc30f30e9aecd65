//! What would happen to this packet? The datapath's own code answers, run in user space over maps
//! that the reconciler made of manifests ([`manifests`]) or over those of the running datapath
//! ([`live`]). Nothing is written and nothing is sent.
//!
//! A [`Question`] is turned into the first packet of a connection, or into a connect() or sendmsg()
//! of the node ([`run`]). The code runs in surroundings that write down what it asks ([`recorder`]);
//! the record becomes sentences ([`steps`]). Which endpoints there are to choose from is found by
//! running it once for each of them ([`candidates`]).
//!
//! No rule of SEMANTICS is written down here a second time: if the datapath changes, so does the
//! answer. Called by `sluice explain`.

pub mod answer;
pub mod candidates;
pub mod live;
pub mod manifests;
pub mod question;
pub mod recorder;
pub mod run;
pub mod source;
mod steps;
mod unused;
mod words;

use std::{collections::BTreeMap, net::SocketAddr};

use proxy_common::{Be16, Seconds, Service, ServiceFlags, ServiceId, ServiceName, Tuple, V4, V6};
use proxy_ebpf::user::{FamilyOf, Wire};

pub use self::{
    answer::{Answer, Candidate, FrontendRef, ServicePortRef, Verdict},
    question::{Destination, Entry, Question, QuestionError, Source as Sender},
};
use self::{
    answer::{algorithm_name, kind_name},
    candidates::{Findings, find, service},
    run::{Ask, Path, Ruling},
    source::Source,
    steps::Teller,
};
use crate::model::EndpointSlice;

/// Maps, and what else there is to know about them.
#[derive(Debug)]
pub struct World<S> {
    /// The maps.
    pub source: S,
    /// What Kubernetes calls Service ports.
    pub names: BTreeMap<ServiceId, ServiceName>,
    /// The EndpointSlices that the maps were made of, where they are known.
    pub slices: Vec<EndpointSlice>,
    /// What has to be said before anything is explained.
    pub notes: Vec<String>,
}

impl<S> World<S> {
    /// A Service port, as Kubernetes calls it.
    fn port(&self, id: ServiceId) -> Option<ServicePortRef> {
        let (namespace, name, port) = self.names.get(&id)?.parts()?;
        Some(ServicePortRef {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            port: port.to_owned(),
        })
    }

    /// Its name in a sentence.
    fn name(&self, id: ServiceId) -> String {
        match self.port(id) {
            None => format!("Service #{}", id.get()),
            Some(ServicePortRef { namespace, name, port }) if port.is_empty() => {
                format!("{namespace}/{name}")
            }
            Some(ServicePortRef { namespace, name, port }) => format!("{namespace}/{name}:{port}"),
        }
    }
}

/// What would happen to the packet that `question` is about.
pub fn explain<S: Source<V4> + Source<V6>>(question: &Question, world: &World<S>) -> Answer {
    if question.to.is_ipv4() {
        explain_in::<V4, S>(question, world)
    } else {
        explain_in::<V6, S>(question, world)
    }
}

fn explain_in<A: FamilyOf + Wire, S: Source<A>>(question: &Question, world: &World<S>) -> Answer {
    // The command line lets no question through whose ends are of different families.
    let part =
        |end: SocketAddr| (A::from_ip(end.ip()).unwrap_or(A::zeroed()), Be16::new(end.port()));
    let ask = Ask {
        entry: question.entry,
        tuple: Tuple::new(part(question.source), part(question.to), question.protocol),
    };
    let found = find(&ask, Path::of(question.entry), &world.source);
    let (reason, steps) = Teller { question, ask: &ask, world, found: &found }.tell();
    let service = service(&found.first.record);
    Answer {
        verdict: match found.ruling {
            Ruling::Translate => Verdict::Translate,
            Ruling::Reject(_) => Verdict::Reject,
            Ruling::Drop(_) => Verdict::Drop,
            Ruling::Pass => Verdict::Pass,
        },
        reason,
        service: service.and_then(|service| world.port(service.id)),
        frontend: service.and_then(|service| frontend(question, &service)),
        endpoints: endpoints(&found),
        steps,
    }
}

fn frontend(question: &Question, service: &Service) -> Option<FrontendRef> {
    let flag = |flag| service.flags.contains(flag);
    Some(FrontendRef {
        address: question.to.ip(),
        port: question.to.port(),
        protocol: question.protocol.to_string(),
        kind: kind_name(service.frontend_kind()?),
        policy: if flag(ServiceFlags::LOCAL_ONLY) { "Local" } else { "Cluster" },
        algorithm: algorithm_name(service.algorithm),
        affinity_seconds: flag(ServiceFlags::AFFINITY).then(|| Seconds::get(service.affinity)),
    })
}

fn endpoints<A: FamilyOf>(found: &Findings<A>) -> Vec<Candidate> {
    let candidate = |reached: &run::Reached<A>| Candidate {
        address: words::end(reached.end.0, reached.end.1),
        local: reached.local,
        masquerade: reached.masquerade,
    };
    let mut endpoints: Vec<Candidate> = found.reached.iter().map(candidate).collect();
    endpoints.sort();
    endpoints.dedup();
    endpoints
}
