//! The one task that writes the maps of Services: events, devices and live flows come in.
//!
//! It says when programs may be attached; [`crate::agent::installer`] attaches them. Owned by
//! [`crate::agent::run`].

use std::{
    collections::BTreeSet,
    net::IpAddr,
    time::{Duration, Instant},
};

use proxy_common::Nanoseconds;
use tokio::{sync::mpsc, time::sleep};

use super::{
    AgentError,
    installer::{Installer, Progress},
    introspect::State,
    telemetry::Telemetry,
};
use crate::{
    devices::Snapshot,
    flows::{sweeper::Sweeper, walk::Found},
    host::{clock, heap},
    reconcile::{Reconciler, Report},
    source::{Batch, Inlet},
    store::bpf::BpfStore,
};

/// A run with so many operations leaves enough behind in the heap to be worth giving back.
const MANY: usize = 10_000;

/// Where the writer's work comes from.
pub(super) struct Inputs {
    pub(super) events: Inlet,
    pub(super) snapshots: mpsc::Receiver<Snapshot>,
    pub(super) found: mpsc::Receiver<Found>,
    pub(super) progress: mpsc::UnboundedReceiver<Progress>,
}

/// The writer and all it writes to.
pub(super) struct Writer {
    reconciler: Reconciler,
    store: BpfStore,
    installer: Installer,
    sweeper: Sweeper,
    state: State,
    telemetry: Telemetry,
    /// Devices that the installer is to be told of, once the filter lets answers to the addresses
    /// pass that packets leaving by them are masqueraded to.
    snapshot: Option<Snapshot>,
    /// The installer was told that programs may be attached.
    armed: bool,
    /// How many devices have programs, once all that should have.
    attached: Option<usize>,
    ready: bool,
    /// Failures that were logged and last on.
    told: BTreeSet<String>,
}

impl Writer {
    pub(super) fn new(
        reconciler: Reconciler,
        store: BpfStore,
        installer: Installer,
        sweeper: Sweeper,
        state: State,
        telemetry: Telemetry,
    ) -> Self {
        Self {
            reconciler,
            store,
            installer,
            sweeper,
            state,
            telemetry,
            snapshot: None,
            armed: false,
            attached: None,
            ready: false,
            told: BTreeSet::new(),
        }
    }

    /// Writes `CONFIG`. After a restart the maps are full, and the new programs take the place of
    /// the old ones at once.
    pub(super) fn start(&mut self, restart: bool) {
        self.reconcile();
        if restart {
            tracing::info!("programs of an earlier agent are replaced in place");
            self.arm();
        }
    }

    /// Follows `inputs` until something can't be put right.
    pub(super) async fn run(&mut self, inputs: &mut Inputs) -> AgentError {
        loop {
            let pause = self.pause();
            tokio::select! {
                Some(batch) = inputs.events.recv() => {
                    self.take(batch);
                    // What came meanwhile is written in the same go.
                    while let Some(batch) = inputs.events.try_recv() {
                        self.take(batch);
                    }
                }
                Some(snapshot) = inputs.snapshots.recv() => self.devices(snapshot),
                Some(found) = inputs.found.recv() => self.found(found),
                Some(progress) = inputs.progress.recv() => match progress {
                    Progress::Complete(devices) => {
                        self.attached = Some(devices);
                        self.telemetry.attached(devices);
                    }
                    Progress::Failed(error) => return error,
                },
                () = sleep(pause) => {}
            }
            if self.reconciler.needs_reconcile_at().is_some_and(|at| at <= clock::now()) {
                self.reconcile();
            }
            if self.reconciler.needs_reconcile_at().is_none_or(|at| at > clock::now()) {
                let reconciler = &self.reconciler;
                self.telemetry.settled(reconciler.is_synced(), |name| reconciler.slices(name));
            }
            if let Some(snapshot) = self.snapshot.take() {
                self.installer.devices(snapshot);
            }
            self.tell_problems();
            if self.reconciler.is_synced() {
                self.arm();
            }
            self.announce();
            self.telemetry.look(&self.state);
        }
    }

    fn take(&mut self, batch: Batch) {
        self.telemetry.taken(&batch);
        self.reconciler.apply(batch.events);
    }

    /// How long until there is something to do even if nothing comes.
    fn pause(&self) -> Duration {
        const LONG: Duration = Duration::from_secs(3600);
        // The clock ticks every few milliseconds: a moment later, it is surely due.
        const TICK: Duration = Duration::from_millis(5);
        let now = clock::now();
        self.reconciler.needs_reconcile_at().map_or(LONG, |at| until(at, now) + TICK)
    }

    fn reconcile(&mut self) {
        self.telemetry.concerned(self.reconciler.dirty());
        let began = Instant::now();
        let mut report = self.reconciler.reconcile(&mut self.store, clock::now());
        let unserved = self.reconciler.unserved().count();
        self.telemetry.reconciled(&report, began.elapsed(), unserved);
        if report.applied >= MANY {
            heap::trim();
        }
        let udp_serving = std::mem::take(&mut report.udp_serving);
        if !udp_serving.is_empty() {
            self.sweeper.udp_serving(udp_serving);
        }
        if report.applied > 0 {
            self.sweeper.services_changed();
        }
        let failures = self.tell_failures(&report);
        let unserved = self.reconciler.unserved().map(ToString::to_string).collect();
        let generation = self.state.update(|live| {
            live.generation += u64::from(report.applied > 0);
            live.reconciled_at = clock::now().get();
            live.synced = self.reconciler.is_synced();
            live.failures = failures;
            live.unserved = unserved;
            live.generation
        });
        if report.applied > 0 {
            let (ops, services) = (report.applied, report.services);
            tracing::debug!(generation, ops, services, "reconciled");
        }
    }

    /// Logs what is wrong with objects and files. A document that can't be read asks for no write,
    /// so this doesn't wait for one.
    fn tell_problems(&mut self) {
        let problems = self.reconciler.take_problems();
        self.telemetry.problems(&problems);
        let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
        if problems.is_empty() {
            return;
        }
        for problem in &problems {
            tracing::warn!("{problem}");
        }
        self.state.update(|live| live.remember(problems));
    }

    /// Logs what failed, once for as long as it lasts. What there is to show of it.
    fn tell_failures(&mut self, report: &Report) -> Vec<String> {
        let mut failures = BTreeSet::new();
        let mut shown = Vec::new();
        for failure in &report.failures {
            let text = failure.error.to_string();
            if !self.told.contains(&text) {
                tracing::warn!(
                    map = failure.error.map(),
                    errno = failure.error.errno(),
                    services = failure.services.len(),
                    service = failure.services.first().map(ToString::to_string),
                    "{text}; trying again",
                );
            }
            shown.push(shown_failure(&text, &failure.services));
            failures.insert(text);
        }
        self.told = failures;
        shown
    }

    fn devices(&mut self, snapshot: Snapshot) {
        let masquerade = snapshot.devices.iter().flat_map(|device| {
            let v4 = device.masquerade_v4.map(IpAddr::V4);
            v4.into_iter().chain(device.masquerade_v6.map(IpAddr::V6))
        });
        self.reconciler.masquerade_addresses(masquerade, clock::now());
        self.telemetry.devices(&snapshot);
        self.reconciler.node_addresses(snapshot.addresses.clone());
        self.snapshot = Some(snapshot);
    }

    /// Takes in what a sweep has found.
    fn found(&mut self, found: Found) {
        self.reconciler.live_flows(&found.live);
        self.telemetry.flows(&found.states, &found.removed);
        self.state.update(|live| {
            live.flows = found.flows;
            live.full = found.full;
            live.unsupported = found.unsupported.into_iter().collect();
        });
    }

    fn arm(&mut self) {
        if !std::mem::replace(&mut self.armed, true) {
            self.installer.arm();
        }
    }

    /// Says once that everything is in place.
    fn announce(&mut self) {
        let in_step = self.reconciler.is_synced() && self.reconciler.unserved().next().is_none();
        let (false, true, Some(devices)) = (self.ready, in_step, self.attached) else { return };
        self.ready = true;
        self.telemetry.ready();
        let generation = self.state.update(|live| {
            live.ready = true;
            live.generation
        });
        tracing::info!(generation, devices, "ready");
    }
}

fn until(at: Nanoseconds, now: Nanoseconds) -> Duration {
    Duration::from_nanos(at.get().saturating_sub(now.get()))
}

/// What failed, with the Services that it hurts: some by name, the rest by number.
fn shown_failure<S: ToString>(text: &str, services: &[S]) -> String {
    const NAMED: usize = 5;
    if services.is_empty() {
        return text.to_owned();
    }
    let names: Vec<String> = services.iter().take(NAMED).map(ToString::to_string).collect();
    let mut who = names.join(", ");
    if services.len() > NAMED {
        who.push_str(&format!(" and {} more", services.len() - NAMED));
    }
    format!("{who}: {text}")
}

#[cfg(test)]
mod tests {
    use super::shown_failure;

    #[test]
    fn a_failure_names_the_services_that_it_hurts() {
        let full = "map SLOTS is full";
        assert_eq!(shown_failure::<&str>(full, &[]), full);
        assert_eq!(
            shown_failure(full, &["default/a", "default/b"]),
            "default/a, default/b: map SLOTS is full"
        );
        let many: Vec<String> = (0..9).map(|i| format!("default/s{i}")).collect();
        assert!(shown_failure(full, &many).starts_with("default/s0, default/s1"));
        assert!(shown_failure(full, &many).ends_with("and 4 more: map SLOTS is full"));
    }
}
