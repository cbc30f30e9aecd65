//! What the writer does, as others see it: health, metrics, notices, and the health checks of
//! Services.
//!
//! Only looks: nothing that is done here changes what is written. Owned by
//! [`crate::agent::writer`].

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use tokio::sync::watch;

use crate::{
    desired::{NodePortAddresses, select_node_addresses},
    devices::Snapshot,
    events::Notifier,
    flows::{states::States, sweep::Swept},
    health::{
        Census, Health,
        service_servers::{Addresses, Wanted},
    },
    metrics::{Metrics, Reconciled},
    model::{NamespacedName, Node, Problem, Slices},
    reconcile::Report,
    source::{Batch, Change, Event},
};

use super::introspect::State;

/// Batches that are remembered until they are written; of more, only the oldest matters.
const BATCHES: usize = 4096;

/// Where what is seen goes to.
pub(super) struct Outlets {
    pub(super) metrics: Metrics,
    pub(super) health: Health,
    pub(super) notifier: Notifier,
    pub(super) checks: watch::Sender<Wanted>,
}

pub(super) struct Telemetry {
    outlets: Outlets,
    node_name: Arc<str>,
    /// Which addresses serve NodePorts, and with them health checks.
    selection: NodePortAddresses,
    addresses: Vec<IpAddr>,
    node: Option<Node>,
    /// Objects come from a cluster, which knows the node.
    expects_node: bool,
    census: Census,
    started: Instant,
    synced: bool,
    /// When each batch was seen that is not written yet.
    seen: Vec<Instant>,
    /// Likewise, when what led to it happened.
    triggers: Vec<SystemTime>,
    /// The kernel refuses something: what was taken is not in the maps.
    refused: bool,
    /// What is served changed since it was told.
    changed: bool,
}

impl Telemetry {
    pub(super) fn new(
        outlets: Outlets,
        node_name: Arc<str>,
        selection: NodePortAddresses,
        expects_node: bool,
    ) -> Self {
        Self {
            outlets,
            census: Census::new(node_name.clone()),
            node_name,
            selection,
            addresses: Vec::new(),
            node: None,
            expects_node,
            started: Instant::now(),
            synced: false,
            seen: Vec::new(),
            triggers: Vec::new(),
            refused: false,
            changed: true,
        }
    }

    /// The writer has taken `batch`.
    pub(super) fn taken(&mut self, batch: &Batch) {
        self.outlets.health.taken(batch.seen);
        if self.seen.len() < BATCHES {
            self.seen.push(batch.seen);
            // What happened before the agent was there is none of its doing. When it started is told
            // by the wall clock of now, which may have been set since.
            let started = SystemTime::now().checked_sub(self.started.elapsed());
            let since = |trigger: &&SystemTime| started.is_none_or(|started| **trigger >= started);
            self.triggers.extend(batch.triggers.iter().filter(since));
        }
        let (mut services, mut slices) = (0, 0);
        for event in &batch.events {
            self.census.see(event);
            match event {
                Event::Service(_) => services += 1,
                Event::EndpointSlice(_) => slices += 1,
                Event::Node(change) => self.node_changed(change),
                Event::ServiceCidr(_) | Event::Synced | Event::Problem(_) => {}
            }
        }
        if services + slices > 0 {
            self.outlets.metrics.changes(services, slices);
        }
    }

    /// What is known of these Services changed.
    pub(super) fn concerned<'a>(&mut self, services: impl IntoIterator<Item = &'a NamespacedName>) {
        self.census.concerns(services);
    }

    /// The reconciler has run.
    pub(super) fn reconciled(&mut self, report: &Report, took: Duration, unserved: usize) {
        let applied = report.applied;
        self.outlets.metrics.reconciled(&Reconciled { took, applied, unserved });
        let now = Instant::now();
        self.refused = false;
        for failure in &report.failures {
            // A full map is full on every node, and to take this one out of service helps nobody.
            self.refused |= !failure.error.is_for_want_of_room();
            self.outlets.metrics.failed(failure.error.map());
            self.outlets.notifier.failure(failure, now);
        }
    }

    /// Nothing is left that could be written now; `slices` are those of a Service.
    pub(super) fn settled<'a>(
        &mut self,
        synced: bool,
        slices: impl Fn(&NamespacedName) -> Option<&'a Slices>,
    ) {
        if synced && !std::mem::replace(&mut self.synced, true) {
            self.outlets.metrics.progress(true, false);
            self.changed = true;
            if self.expects_node && self.node.is_none() {
                tracing::warn!(
                    "--node-name {}: the API server knows no such Node: endpoints of this node are \
                     taken for remote ones, and its zone is not known",
                    self.node_name,
                );
            }
        }
        if self.census.update(slices) {
            self.changed = true;
        }
        if self.synced && std::mem::take(&mut self.changed) {
            self.tell_checks();
        }
        if self.refused || self.seen.is_empty() {
            return;
        }
        self.outlets.health.in_step(synced, SystemTime::now());
        if synced {
            self.outlets.metrics.in_step(self.seen.drain(..), &self.triggers);
            self.triggers.clear();
            let (internal, external) = self.census.no_local();
            self.outlets.metrics.no_local_endpoints(internal, external);
        }
    }

    /// Something is wrong with objects.
    pub(super) fn problems(&mut self, problems: &[Problem]) {
        let now = Instant::now();
        for problem in problems {
            let kind = problem.object.as_ref().map(|object| object.kind);
            self.outlets.metrics.problem(kind);
            self.outlets.notifier.problem(problem, now);
        }
    }

    /// These are the devices now.
    pub(super) fn devices(&mut self, snapshot: &Snapshot) {
        self.addresses.clone_from(&snapshot.addresses);
        self.changed = true;
    }

    /// What a sweep has found and removed.
    pub(super) fn flows(&self, states: &States, removed: &Swept) {
        self.outlets.metrics.flows(states.iter());
        let Swept { expired, stale, orphans, .. } = *removed;
        let removed = [("expired", expired), ("stale", stale), ("orphan", orphans)];
        self.outlets.metrics.flows_removed(removed);
    }

    /// So many devices have programs.
    pub(super) fn attached(&self, devices: usize) {
        self.outlets.metrics.attached(devices);
    }

    /// Everything is in place.
    pub(super) fn ready(&self) {
        self.outlets.health.ready();
        self.outlets.metrics.progress(true, true);
    }

    /// What else `state` knows.
    pub(super) fn look(&self, state: &State) {
        let (devices, programs) = state.read(|live| (live.devices.len(), live.rejected.len()));
        self.outlets.metrics.not_attached(devices, programs);
    }

    fn node_changed(&mut self, change: &Change<Node>) {
        let node = match change {
            Change::Applied(node) if node.name == self.node_name => Some(node.clone()),
            Change::Deleted(name) if *name == self.node_name => None,
            Change::Applied(_) | Change::Deleted(_) => return,
        };
        // One that is gone has left.
        self.outlets.health.leaving(node.as_ref().is_none_or(|node| node.leaving));
        self.node = node;
        self.changed = true;
    }

    fn tell_checks(&self) {
        let addresses = match &self.selection {
            NodePortAddresses::All => Addresses::All,
            selection => Addresses::These(select_node_addresses(
                selection,
                &self.addresses,
                self.node.as_ref(),
            )),
        };
        let wanted = Wanted { checks: self.census.checks(), addresses };
        self.outlets.checks.send_if_modified(|told| {
            let news = *told != wanted;
            *told = wanted;
            news
        });
    }
}
