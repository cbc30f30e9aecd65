//! The one task that writes: events, devices and live flows come in, maps and links are what comes
//! out.
//!
//! Owned by [`crate::agent::run`].

use std::{collections::BTreeSet, net::IpAddr, os::fd::OwnedFd, time::Duration};

use proxy_common::Nanoseconds;
use tokio::{sync::mpsc, time::sleep};

use super::{AgentError, DEVICE_RETRY, introspect::State};
use crate::{
    datapath::{Datapath, program::SocketProgram},
    devices::{Snapshot, attach::Attacher},
    flows::sweeper::Sweeper,
    host::clock,
    reconcile::{LiveFlows, Reconciler},
    source::Event,
    store::bpf::BpfStore,
};

/// Where the writer's work comes from.
pub(super) struct Inputs {
    pub(super) events: mpsc::Receiver<Vec<Event>>,
    pub(super) snapshots: mpsc::Receiver<Snapshot>,
    pub(super) live: mpsc::Receiver<LiveFlows>,
}

/// What the writer has to know of the socket path.
pub(super) struct Sockets {
    /// The cgroup to attach to; `None` when the socket path is off.
    pub(super) cgroup: Option<OwnedFd>,
    /// Programs of an earlier agent are attached: the maps are full, theirs are to be replaced.
    pub(super) restart: bool,
}

/// The writer and all it writes to.
pub(super) struct Writer {
    reconciler: Reconciler,
    store: BpfStore,
    attacher: Attacher,
    datapath: Datapath,
    sockets: Sockets,
    sweeper: Sweeper,
    snapshot: Option<Snapshot>,
    /// Programs may be attached: the maps say what the cluster wants, or what it last wanted.
    armed: bool,
    pruned: bool,
    ready: bool,
    told: BTreeSet<String>,
    state: State,
}

impl Writer {
    pub(super) fn new(
        reconciler: Reconciler,
        store: BpfStore,
        attacher: Attacher,
        datapath: Datapath,
        sockets: Sockets,
        sweeper: Sweeper,
    ) -> Self {
        let state = State::default();
        state.update(|live| live.rejected = datapath.rejected().to_vec());
        Self {
            reconciler,
            store,
            attacher,
            datapath,
            sockets,
            sweeper,
            snapshot: None,
            armed: false,
            pruned: false,
            ready: false,
            told: BTreeSet::new(),
            state,
        }
    }

    /// What `sluice status` is told.
    pub(super) fn state(&self) -> State {
        self.state.clone()
    }

    /// Writes `CONFIG`; after a restart, puts the new programs of the socket path in the place of
    /// the old ones.
    pub(super) fn start(&mut self) -> Result<(), AgentError> {
        self.reconcile();
        if self.sockets.restart {
            tracing::info!("programs of an earlier agent are replaced in place");
            self.arm()?;
        }
        Ok(())
    }

    /// Follows `inputs` until something can't be put right.
    pub(super) async fn run(&mut self, inputs: &mut Inputs) -> AgentError {
        loop {
            let pause = self.pause();
            let result = tokio::select! {
                Some(events) = inputs.events.recv() => {
                    self.reconciler.apply(events);
                    // What came meanwhile is written in the same go.
                    while let Ok(events) = inputs.events.try_recv() {
                        self.reconciler.apply(events);
                    }
                    self.step()
                }
                Some(snapshot) = inputs.snapshots.recv() => {
                    self.devices(snapshot);
                    self.step()
                }
                Some(live) = inputs.live.recv() => {
                    self.reconciler.live_flows(&live);
                    self.step()
                }
                () = sleep(pause) => self.step(),
            };
            if let Err(error) = result {
                return error;
            }
        }
    }

    /// How long until there is something to do even if nothing comes.
    fn pause(&self) -> Duration {
        const LONG: Duration = Duration::from_secs(3600);
        let now = clock::now();
        // The clock ticks every few milliseconds: a moment later, it is surely due.
        const TICK: Duration = Duration::from_millis(5);
        let due = self.reconciler.needs_reconcile_at().map(|at| until(at, now) + TICK);
        let retry = (self.armed && !self.attacher.is_complete()).then_some(DEVICE_RETRY);
        due.into_iter().chain(retry).min().unwrap_or(LONG)
    }

    /// Brings the maps up to date, then the programs.
    fn step(&mut self) -> Result<(), AgentError> {
        if self.reconciler.needs_reconcile_at().is_some_and(|at| at <= clock::now()) {
            self.reconcile();
        }
        if !self.armed && self.reconciler.is_synced() {
            self.arm()?;
        }
        self.attach_devices()?;
        self.announce();
        Ok(())
    }

    fn reconcile(&mut self) {
        let report = self.reconciler.reconcile(&mut self.store, clock::now());
        let problems: Vec<String> =
            self.reconciler.take_problems().iter().map(ToString::to_string).collect();
        for problem in &problems {
            tracing::warn!("{problem}");
        }
        let mut failures = BTreeSet::new();
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
            failures.insert(text);
        }
        self.told.clone_from(&failures);
        let unserved = self.reconciler.unserved().map(ToString::to_string).collect();
        let generation = self.state.update(|live| {
            live.generation += u64::from(report.applied > 0);
            live.reconciled_at = clock::now().get();
            live.synced = self.reconciler.is_synced();
            live.failures = failures.into_iter().collect();
            live.unserved = unserved;
            live.remember(problems);
            live.generation
        });
        if report.applied > 0 {
            let (ops, services) = (report.applied, report.services);
            tracing::debug!(generation, ops, services, "reconciled");
        }
    }

    fn devices(&mut self, snapshot: Snapshot) {
        let masquerade = snapshot.devices.iter().flat_map(|device| {
            let v4 = device.masquerade_v4.map(IpAddr::V4);
            v4.into_iter().chain(device.masquerade_v6.map(IpAddr::V6))
        });
        self.reconciler.masquerade_addresses(masquerade, clock::now());
        self.reconciler.node_addresses(snapshot.addresses.clone());
        self.snapshot = Some(snapshot);
    }

    /// From now on, programs are attached; those of the socket path at once.
    fn arm(&mut self) -> Result<(), AgentError> {
        self.armed = true;
        for program in SocketProgram::ALL {
            let Some(cgroup) = &self.sockets.cgroup else {
                self.datapath.detach_socket(program)?;
                continue;
            };
            match self.datapath.attach_socket(program, cgroup) {
                Ok(how) => tracing::debug!(hook = program.name(), ?how, "attached"),
                // It was told when it was loaded.
                Err(crate::datapath::DatapathError::Refused(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn attach_devices(&mut self) -> Result<(), AgentError> {
        let (true, Some(snapshot)) = (self.armed, &self.snapshot) else { return Ok(()) };
        if !std::mem::replace(&mut self.pruned, true) {
            self.attacher.prune(snapshot, &self.datapath)?;
        }
        let mut texts = Vec::new();
        for trouble in self.attacher.apply(snapshot, &mut self.datapath) {
            let hook = trouble.hook.map(crate::datapath::program::Direction::name);
            let text = format!("{}: {}", trouble.device, trouble.error);
            if !self.state.read(|live| live.devices.contains(&text)) {
                tracing::warn!(device = trouble.device, hook, "{}; trying again", trouble.error);
            }
            texts.push(text);
        }
        self.state.update(|live| live.devices = texts);
        Ok(())
    }

    /// Says once that everything is in place.
    fn announce(&mut self) {
        if self.ready
            || !self.armed
            || !self.reconciler.is_synced()
            || self.snapshot.is_none()
            || !self.attacher.is_complete()
            || self.reconciler.unserved().next().is_some()
        {
            return;
        }
        self.ready = true;
        let generation = self.state.update(|live| {
            live.ready = true;
            live.generation
        });
        tracing::info!(
            generation,
            devices = self.attacher.attached(),
            socket_path = self.sockets.cgroup.is_some(),
            "ready"
        );
    }
}

fn until(at: Nanoseconds, now: Nanoseconds) -> Duration {
    Duration::from_nanos(at.get().saturating_sub(now.get()))
}
