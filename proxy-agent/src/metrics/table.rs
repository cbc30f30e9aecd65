//! Every metric of the agent: name, kind, labels, meaning. The documentation is made of this table.
//!
//! Names that begin with `kubeproxy_` mean what they mean in kube-proxy 1.36, so that its dashboards
//! and alerts go on working. Called by [`super`], which fills them.

use std::fmt::Write;

/// What kind of metric it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
    /// How values are spread.
    Histogram,
}

impl Kind {
    /// Its name in the exposition format.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its name.
    pub name: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// What tells its series apart.
    pub labels: &'static [&'static str],
    /// What it says.
    pub help: &'static str,
}

/// Declares the metrics, each as a constant, and all of them as a table.
macro_rules! metrics {
    ($($constant:ident: $kind:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(#[doc = $help] pub(super) const $constant: Row = Row {
            name: $name,
            kind: Kind::$kind,
            labels: &[$($label),*],
            help: $help,
        };)*

        /// All metrics, in the order in which they are documented.
        pub const ALL: &[Row] = &[$($constant),*];
    };
}

metrics! {
    SYNC_DURATION: Histogram "kubeproxy_sync_proxy_rules_duration_seconds" []
        "How long it took to bring the maps in step, once.";
    SYNC_LAST: Gauge "kubeproxy_sync_proxy_rules_last_timestamp_seconds" []
        "When the maps were last in step, in seconds since 1970.";
    SYNC_LAST_QUEUED: Gauge "kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds" []
        "When a change last came that asked for it, in seconds since 1970.";
    NETWORK_PROGRAMMING: Histogram "kubeproxy_network_programming_duration_seconds" []
        "From the change of a pod or Service, as EndpointSlices say when it was, to the maps.";
    ENDPOINT_CHANGES: Counter "kubeproxy_sync_proxy_rules_endpoint_changes_total" []
        "Changes of EndpointSlices that were seen.";
    ENDPOINT_CHANGES_PENDING: Gauge "kubeproxy_sync_proxy_rules_endpoint_changes_pending" []
        "Changes of EndpointSlices that were seen and are not in the maps yet.";
    SERVICE_CHANGES: Counter "kubeproxy_sync_proxy_rules_service_changes_total" []
        "Changes of Services that were seen.";
    SERVICE_CHANGES_PENDING: Gauge "kubeproxy_sync_proxy_rules_service_changes_pending" []
        "Changes of Services that were seen and are not in the maps yet.";
    NO_LOCAL_ENDPOINTS: Gauge "kubeproxy_sync_proxy_rules_no_local_endpoints_total" ["traffic_policy"]
        "Services with policy Local (`internal`, `external`) whose endpoints are all elsewhere.";
    HEALTHZ: Counter "kubeproxy_proxy_healthz_total" ["code"]
        "Answers to /healthz, by status.";
    LIVEZ: Counter "kubeproxy_proxy_livez_total" ["code"]
        "Answers to /livez, by status.";
    BUILD: Gauge "sluice_build_info" ["version", "layout"]
        "Always 1; which version runs, and the version of the maps' layout.";
    READY: Gauge "sluice_ready" []
        "1 once everything has been in place.";
    SYNCED: Gauge "sluice_synced" []
        "1 once every first list of the source was complete.";
    LAG: Gauge "sluice_lag_seconds" []
        "How long the oldest change that is not in the maps has been waiting; 0 when there is none.";
    PROGRAMMING: Histogram "sluice_programming_duration_seconds" []
        "From a change being seen by the agent to the maps.";
    MAP_WRITES: Counter "sluice_map_writes_total" []
        "Elements of maps that were written or deleted for Services.";
    SERVICES_UNSERVED: Gauge "sluice_services_unserved" []
        "Services that are not in the maps as they should be.";
    FAILURES: Counter "sluice_map_failures_total" ["map"]
        "Writes that a map refused or had no room for; they are tried again.";
    MAP_ENTRIES: Gauge "sluice_map_entries" ["map"]
        "Elements of a map that are in use. Looked at once a minute at most.";
    MAP_CAPACITY: Gauge "sluice_map_capacity" ["map"]
        "Elements that a map has room for.";
    FLOWS: Gauge "sluice_flows" ["state", "protocol"]
        "Flows at the last sweep: `new` ones, which may be evicted, and `settled` ones.";
    FLOWS_REMOVED: Counter "sluice_flows_removed_total" ["why"]
        "Flows that the sweeper removed: `expired`, `stale` (their endpoint stopped serving), `orphan`.";
    DATAPATH_EVENTS: Counter "sluice_datapath_events_total" ["event"]
        "What the datapath did.";
    REJECTED: Counter "sluice_rejected_total" ["reason"]
        "Packets and connections that were refused with an answer.";
    DROPPED: Counter "sluice_dropped_total" ["reason"]
        "Packets that were dropped.";
    DEVICES: Gauge "sluice_devices_attached" []
        "Devices that have programs.";
    DEVICES_FAILING: Gauge "sluice_devices_failing" []
        "Devices that a program can't be attached to.";
    PROGRAMS_REJECTED: Gauge "sluice_programs_rejected" []
        "Programs that the kernel refused.";
    PROBLEMS: Counter "sluice_problems_total" ["kind"]
        "What was found wrong with objects, by their kind.";
    NOTICES: Counter "sluice_notices_total" ["outcome"]
        "Kubernetes Events to owners of Services: `published`, `failed`, `dropped`.";
    WATCH_OVER: Counter "sluice_watch_restarts_total" ["kind", "reason"]
        "Watches and lists that ended and were taken up again. `ended` and `silent` are ordinary.";
    LISTS: Counter "sluice_lists_total" ["kind", "way"]
        "Lists that were completed, streamed or in pages.";
    API_SERVER: Gauge "sluice_api_server_info" ["server"]
        "Always 1; which API server is asked.";
    API_SERVERS_SELECTED: Counter "sluice_api_server_selections_total" []
        "How often an API server was looked for and found.";
    HEALTH_CHECKS: Gauge "sluice_health_check_servers" ["state"]
        "Servers of `healthCheckNodePort`s: `listening`, `failing`.";
    MEMORY: Gauge "process_resident_memory_bytes" []
        "Memory of the agent, without the maps.";
    CPU: Counter "process_cpu_seconds_total" []
        "CPU time of the agent.";
    FILES: Gauge "process_open_fds" []
        "Open file descriptors of the agent.";
    STARTED: Gauge "process_start_time_seconds" []
        "When the agent was started, in seconds since 1970.";
}

/// The table as Markdown.
#[must_use]
pub fn markdown() -> String {
    let mut text = String::from("| metric | kind | labels | what it says |\n|---|---|---|---|\n");
    for Row { name, kind, labels, help } in ALL {
        let labels: Vec<String> = labels.iter().map(|label| format!("`{label}`")).collect();
        let (kind, labels) = (kind.name(), labels.join(", "));
        // Writing to a text can't fail.
        let _ = writeln!(text, "| `{name}` | {kind} | {labels} | {help} |");
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{ALL, Kind, markdown};

    #[test]
    fn names_are_unique_and_end_as_prometheus_wants() {
        let names: BTreeSet<&str> = ALL.iter().map(|row| row.name).collect();
        assert_eq!(names.len(), ALL.len());
        for row in ALL {
            let total = row.name.ends_with("_total");
            // kube-proxy's own name for a gauge.
            let exempt = row.name == "kubeproxy_sync_proxy_rules_no_local_endpoints_total";
            assert_eq!(total, row.kind == Kind::Counter || exempt, "{}", row.name);
            assert!(row.help.ends_with('.'), "{}", row.name);
        }
    }

    #[test]
    fn the_documentation_has_a_line_for_each() {
        assert_eq!(markdown().lines().count(), ALL.len() + 2);
    }
}
