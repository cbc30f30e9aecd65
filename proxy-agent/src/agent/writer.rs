//! The one task that writes the maps of Services: events, devices and live flows come in.
//!
//! It says when programs may be attached; [`crate::agent::installer`] attaches them. Owned by
//! [`crate::agent::run`].

use std::{
    collections::BTreeSet,
    net::IpAddr,
    path::PathBuf,
    time::{Duration, Instant},
};

use proxy_common::Nanoseconds;
use tokio::{sync::mpsc, time::sleep};

use super::{
    AgentError,
    growth::Growth,
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
    /// Maps that get more room.
    growth: Growth,
    /// The installer is replacing programs and maps: nothing is written.
    paused: bool,
    /// Everything of the first complete list that can be served is served.
    caught_up: bool,
    /// Where the maps are pinned.
    maps: PathBuf,
    /// Failures that were logged and last on.
    told: BTreeSet<String>,
}

impl Writer {
    pub(super) fn new(
        reconciler: Reconciler,
        (store, maps): (BpfStore, PathBuf),
        growth: Growth,
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
            growth,
            paused: false,
            caught_up: false,
            maps,
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
                        self.sweeper.attached();
                    }
                    Progress::Armed => self.paused = false,
                    Progress::Prepared(prepared) => self.prepared(prepared),
                    Progress::Grown(grown) => {
                        if let Err(error) = self.grown(grown) {
                            return error;
                        }
                    }
                    Progress::Failed(error) => return error,
                },
                () = sleep(pause) => {}
            }
            let due = |writer: &Self| {
                writer.reconciler.needs_reconcile_at().is_some_and(|at| at <= clock::now())
            };
            if !self.paused && due(self) {
                self.reconcile();
            }
            if !due(self) && !self.growth.is_under_way() {
                let reconciler = &self.reconciler;
                self.telemetry.settled(reconciler.is_synced(), |name| reconciler.slices(name));
                self.caught_up |= self.reconciler.is_synced();
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
        if self.paused {
            return LONG;
        }
        let now = clock::now();
        self.reconciler.needs_reconcile_at().map_or(LONG, |at| until(at, now) + TICK)
    }

    fn reconcile(&mut self) {
        self.telemetry.concerned(self.reconciler.dirty());
        let began = Instant::now();
        let mut report = self.reconciler.reconcile(&mut self.store, clock::now());
        self.begin_growth(&mut report);
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

    /// Has maps grow that are too small. What is for want of their room is no failure until that is
    /// seen to be in vain.
    fn begin_growth(&mut self, report: &mut Report) {
        if report.short.is_empty() {
            return;
        }
        let rooms = self.store.rooms();
        if let Some(rooms) = self.growth.begin(&report.short, &rooms, Instant::now()) {
            tracing::info!(?rooms, "maps are too small and grow");
            self.installer.prepare(rooms);
        }
        report.failures.retain(|failure| {
            let map = failure.error.map();
            !(failure.error.is_for_want_of_room() && self.growth.will_grow(map, &rooms))
        });
    }

    /// Larger maps are ready to be filled: from now on nothing may be written.
    fn prepared(&mut self, prepared: Result<(), String>) {
        match prepared {
            Ok(()) => {
                self.paused = true;
                self.installer.grow();
            }
            Err(why) => self.growth_failed(&why),
        }
    }

    fn grown(&mut self, grown: Result<(), String>) -> Result<(), AgentError> {
        self.paused = false;
        // Also when it failed half way.
        self.store = BpfStore::open(&self.maps)?;
        self.sweeper.maps_replaced();
        self.reconciler.grown(self.store.capacity());
        match grown {
            Ok(()) => tracing::info!(rooms = ?self.growth.done(), "maps have grown"),
            Err(why) => self.growth_failed(&why),
        }
        Ok(())
    }

    fn growth_failed(&mut self, why: &str) {
        let text = self.growth.failed(why, Instant::now());
        tracing::warn!("{text}; trying again in a while");
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
        if !report.failures.is_empty() {
            shown.extend(self.growth.trouble().map(str::to_owned));
        }
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
            self.paused = true;
            self.installer.arm();
        }
    }

    /// Says once that everything is in place. A Service that can't be served doesn't keep the others
    /// waiting: no other node would do better, and a rollout would stop. It is told as a failure.
    fn announce(&mut self) {
        let (false, true, Some(devices)) = (self.ready, self.caught_up, self.attached) else {
            return;
        };
        self.ready = true;
        self.telemetry.ready();
        let generation = self.state.update(|live| {
            live.ready = true;
            live.generation
        });
        let unserved = self.reconciler.unserved().count();
        tracing::info!(generation, devices, unserved, "ready");
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
