//! Metrics: what the agent counts, and how Prometheus gets it.
//!
//! [`table`] says which there are. Whoever knows something tells [`Metrics`], cheaply and from any
//! thread; what the kernel knows is read when somebody asks ([`scrape`]). Nothing is decided by a
//! metric.

mod process;
mod registry;
pub mod scrape;
mod source;
pub mod table;

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use prometheus::{
    Counter, Gauge, Histogram, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry,
    TextEncoder, exponential_buckets,
};
use proxy_common::layout::LAYOUT_VERSION;

use crate::model::ObjectKind;

use registry::Maker;

/// All metrics. Clones count together.
#[derive(Clone, Debug)]
pub struct Metrics {
    all: Arc<All>,
}

#[derive(Debug)]
struct All {
    registry: Registry,
    sync_duration: Histogram,
    sync_last: Gauge,
    sync_last_queued: Gauge,
    network_programming: Histogram,
    endpoint_changes: IntCounter,
    endpoint_changes_pending: IntGauge,
    service_changes: IntCounter,
    service_changes_pending: IntGauge,
    no_local_endpoints: IntGaugeVec,
    healthz: IntCounterVec,
    livez: IntCounterVec,
    ready: IntGauge,
    synced: IntGauge,
    lag: Gauge,
    programming: Histogram,
    map_writes: IntCounter,
    services_unserved: IntGauge,
    failures: IntCounterVec,
    map_entries: IntGaugeVec,
    map_capacity: IntGaugeVec,
    flows: IntGaugeVec,
    flows_removed: IntCounterVec,
    datapath_events: IntCounterVec,
    rejected: IntCounterVec,
    dropped: IntCounterVec,
    devices: IntGauge,
    devices_failing: IntGauge,
    programs_rejected: IntGauge,
    problems: IntCounterVec,
    notices: IntCounterVec,
    watch_over: IntCounterVec,
    lists: IntCounterVec,
    api_server: IntGaugeVec,
    api_servers_selected: IntCounter,
    health_checks: IntGaugeVec,
    memory: IntGauge,
    cpu: Counter,
    files: IntGauge,
    started: Gauge,
    /// When somebody asks: what the kernel knows.
    scraper: scrape::Scraper,
}

/// What one run of the reconciler came to.
#[derive(Clone, Copy, Debug)]
pub struct Reconciled {
    /// How long it took.
    pub took: Duration,
    /// Operations that were applied.
    pub applied: usize,
    /// Services that are not as they should be.
    pub unserved: usize,
}

impl Metrics {
    /// Nothing was counted yet.
    #[must_use]
    pub fn new() -> Self {
        let maker = Maker::default();
        let of = |buckets: prometheus::Result<Vec<f64>>| buckets.unwrap_or_default();
        let build = maker.gauges(&table::BUILD);
        let version = env!("CARGO_PKG_VERSION");
        build.with_label_values(&[version, &format!("v{LAYOUT_VERSION}")]).set(1);
        let all = All {
            sync_duration: maker
                .histogram(&table::SYNC_DURATION, of(exponential_buckets(1e-3, 2.0, 15))),
            sync_last: maker.float(&table::SYNC_LAST),
            sync_last_queued: maker.float(&table::SYNC_LAST_QUEUED),
            network_programming: maker
                .histogram(&table::NETWORK_PROGRAMMING, network_programming_buckets()),
            endpoint_changes: maker.counter(&table::ENDPOINT_CHANGES),
            endpoint_changes_pending: maker.gauge(&table::ENDPOINT_CHANGES_PENDING),
            service_changes: maker.counter(&table::SERVICE_CHANGES),
            service_changes_pending: maker.gauge(&table::SERVICE_CHANGES_PENDING),
            no_local_endpoints: maker.gauges(&table::NO_LOCAL_ENDPOINTS),
            healthz: maker.counters(&table::HEALTHZ),
            livez: maker.counters(&table::LIVEZ),
            ready: maker.gauge(&table::READY),
            synced: maker.gauge(&table::SYNCED),
            lag: maker.float(&table::LAG),
            programming: maker
                .histogram(&table::PROGRAMMING, of(exponential_buckets(1e-4, 2.0, 18))),
            map_writes: maker.counter(&table::MAP_WRITES),
            services_unserved: maker.gauge(&table::SERVICES_UNSERVED),
            failures: maker.counters(&table::FAILURES),
            map_entries: maker.gauges(&table::MAP_ENTRIES),
            map_capacity: maker.gauges(&table::MAP_CAPACITY),
            flows: maker.gauges(&table::FLOWS),
            flows_removed: maker.counters(&table::FLOWS_REMOVED),
            datapath_events: maker.counters(&table::DATAPATH_EVENTS),
            rejected: maker.counters(&table::REJECTED),
            dropped: maker.counters(&table::DROPPED),
            devices: maker.gauge(&table::DEVICES),
            devices_failing: maker.gauge(&table::DEVICES_FAILING),
            programs_rejected: maker.gauge(&table::PROGRAMS_REJECTED),
            problems: maker.counters(&table::PROBLEMS),
            notices: maker.counters(&table::NOTICES),
            watch_over: maker.counters(&table::WATCH_OVER),
            lists: maker.counters(&table::LISTS),
            api_server: maker.gauges(&table::API_SERVER),
            api_servers_selected: maker.counter(&table::API_SERVERS_SELECTED),
            health_checks: maker.gauges(&table::HEALTH_CHECKS),
            memory: maker.gauge(&table::MEMORY),
            cpu: maker.seconds(&table::CPU),
            files: maker.gauge(&table::FILES),
            started: maker.float(&table::STARTED),
            registry: maker.registry,
            scraper: scrape::Scraper::default(),
        };
        for code in ["200", "503"] {
            // A series that is not there yet can't be told from one that is not there at all.
            all.healthz.with_label_values(&[code]);
            all.livez.with_label_values(&[code]);
        }
        all.started.set(since_1970(SystemTime::now()));
        Self { all: Arc::new(all) }
    }

    /// Changes of Services and EndpointSlices were taken in.
    pub fn changes(&self, services: usize, endpoint_slices: usize) {
        self.all.service_changes.inc_by(services as u64);
        self.all.service_changes_pending.add(number(services));
        self.all.endpoint_changes.inc_by(endpoint_slices as u64);
        self.all.endpoint_changes_pending.add(number(endpoint_slices));
        self.all.sync_last_queued.set(since_1970(SystemTime::now()));
    }

    /// The maps were compared with the cluster.
    pub fn reconciled(&self, reconciled: &Reconciled) {
        self.all.sync_duration.observe(reconciled.took.as_secs_f64());
        self.all.map_writes.inc_by(reconciled.applied as u64);
        self.all.services_unserved.set(number(reconciled.unserved));
    }

    /// What was seen at `seen`, and happened at `triggers`, is in the maps.
    pub fn in_step(&self, seen: impl Iterator<Item = Instant>, triggers: &[SystemTime]) {
        let (now, clock) = (Instant::now(), SystemTime::now());
        for seen in seen {
            self.all.programming.observe(now.saturating_duration_since(seen).as_secs_f64());
        }
        for trigger in triggers {
            // Clocks differ; what has not happened yet took no time.
            let passed = clock.duration_since(*trigger).unwrap_or_default();
            self.all.network_programming.observe(passed.as_secs_f64());
        }
        self.all.service_changes_pending.set(0);
        self.all.endpoint_changes_pending.set(0);
        self.all.sync_last.set(since_1970(clock));
    }

    /// A map refused a write.
    pub fn failed(&self, map: &str) {
        self.all.failures.with_label_values(&[map]).inc();
    }

    /// Something is wrong with an object of `kind`, or with no object in particular.
    pub fn problem(&self, kind: Option<ObjectKind>) {
        let kind = kind.map_or("none", ObjectKind::name);
        self.all.problems.with_label_values(&[kind]).inc();
    }

    /// How many Services with policy Local have endpoints, and none here.
    pub fn no_local_endpoints(&self, internal: usize, external: usize) {
        self.all.no_local_endpoints.with_label_values(&["internal"]).set(number(internal));
        self.all.no_local_endpoints.with_label_values(&["external"]).set(number(external));
    }

    /// How far the agent is.
    pub fn progress(&self, synced: bool, ready: bool) {
        self.all.synced.set(synced.into());
        self.all.ready.set(ready.into());
    }

    /// What is attached.
    pub fn attached(&self, devices: usize) {
        self.all.devices.set(number(devices));
    }

    /// What can't be attached.
    pub fn not_attached(&self, devices: usize, programs: usize) {
        self.all.devices_failing.set(number(devices));
        self.all.programs_rejected.set(number(programs));
    }

    /// What a sweep found, by state and protocol.
    pub fn flows<'a>(&self, flows: impl IntoIterator<Item = (&'a str, &'a str, usize)>) {
        for (state, protocol, flows) in flows {
            self.all.flows.with_label_values(&[state, protocol]).set(number(flows));
        }
    }

    /// What a sweep removed, by reason.
    pub fn flows_removed<'a>(&self, removed: impl IntoIterator<Item = (&'a str, usize)>) {
        for (why, flows) in removed {
            self.all.flows_removed.with_label_values(&[why]).inc_by(flows as u64);
        }
    }

    /// An answer to `/healthz`.
    pub fn healthz(&self, code: u16) {
        self.all.healthz.with_label_values(&[&code.to_string()]).inc();
    }

    /// An answer to `/livez`.
    pub fn livez(&self, code: u16) {
        self.all.livez.with_label_values(&[&code.to_string()]).inc();
    }

    /// Servers of health checks.
    pub fn health_checks(&self, listening: usize, failing: usize) {
        self.all.health_checks.with_label_values(&["listening"]).set(number(listening));
        self.all.health_checks.with_label_values(&["failing"]).set(number(failing));
    }

    /// Everything as text, in the format of Prometheus.
    fn text(&self) -> prometheus::Result<String> {
        TextEncoder::new().encode_to_string(&self.all.registry.gather())
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// As kube-proxy has them: finer at first, up to five minutes.
fn network_programming_buckets() -> Vec<f64> {
    let minute = (1..60).map(f64::from);
    let two = (0..12).map(|i| 60.0 + 5.0 * f64::from(i));
    let five = (0..7).map(|i| 120.0 + 30.0 * f64::from(i));
    [0.25, 0.5].into_iter().chain(minute).chain(two).chain(five).collect()
}

fn since_1970(time: SystemTime) -> f64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
