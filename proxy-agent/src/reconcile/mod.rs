//! From events to ordered operations on the maps.
//!
//! [`Reconciler`] is pure: time is an argument, the maps are behind [`MapStore`]. One task of the
//! agent owns it; tests drive it directly. Work per change is proportional to the Services that
//! changed, never to the cluster.
//!
//! # How a change travels
//! `apply` notes it in what is known of the cluster ([`cluster`]) and marks Services dirty.
//! `reconcile` computes what each dirty Service should look like ([`crate::desired`]), settles who
//! has which frontend ([`services`], [`claims`]), finds places for it ([`plan`], [`tables`]), and
//! writes what differs ([`commit`]).
//!
//! # What holds at every moment
//! - A frontend's value refers to slots that are written, those to backends that are written, and
//!   the filter bits of all of them are set. Source ranges, affinity members and the turn that it
//!   needs are there.
//! - What a frontend refers to is never changed, and what it referred to is left alone for a grace
//!   period ([`sets`]).
//! - Before the first lists are complete nothing but `CONFIG` is written: what is installed goes on.

mod adopt;
mod backends;
mod belongings;
mod claims;
mod cluster;
mod commit;
mod config;
mod error;
mod family;
mod filter;
mod ids;
mod need;
mod ops;
mod plan;
mod retry;
mod services;
mod sets;
mod settings;
mod slots;
mod tables;

pub use error::{Failure, ReconcileError, Report, UdpServing};
pub use settings::Settings;

use std::{
    collections::{BTreeSet, HashSet},
    net::{IpAddr, SocketAddr},
};

use foldhash::HashMap;
use proxy_common::{Config, FrontendKind, Nanoseconds, Protocol, ServiceId};

use crate::{
    desired::{FrontendKey, select_node_addresses},
    model::{NamespacedName, Problem, Service, Slices},
    source::Event,
    store::{Capacity, Installed, MapStore},
};

use claims::Claims;
use cluster::Cluster;
use commit::Commit;
use config::ConfigElement;
use ids::PortKey;
use need::Need;
use retry::Retry;
use sets::grace_after;
use tables::Tables;

/// Which addresses and Services the flow tables still name, found by a sweep.
#[derive(Clone, Debug, Default)]
pub struct LiveFlows {
    /// When the sweep began.
    pub since: Nanoseconds,
    /// Destinations of the keys of `DST_FLOWS_*` and `NEW_DST_FLOWS_*`.
    pub destinations: HashSet<IpAddr>,
    /// Their ports.
    pub destination_ports: HashSet<(Protocol, u16)>,
    /// Sources of the keys of `SRC_FLOWS_*` and `NEW_SRC_FLOWS_*`.
    pub sources: HashSet<IpAddr>,
    /// Their ports.
    pub source_ports: HashSet<(Protocol, u16)>,
    /// Service ids in the values.
    pub services: HashSet<ServiceId>,
}

/// Brings the maps to what the cluster's objects ask for.
#[derive(Debug)]
pub struct Reconciler {
    settings: Settings,
    cluster: Cluster,
    synced: bool,
    node_addresses: Vec<IpAddr>,
    node_port_addresses: Vec<IpAddr>,
    masquerade_addresses: BTreeSet<IpAddr>,
    claims: Claims,
    tables: Tables,
    config: ConfigElement,
    /// The ports of each Service that have a placement.
    ports: HashMap<NamespacedName, Box<[PortKey]>>,
    /// The serving endpoints of UDP ports, as last reported.
    udp_serving: HashMap<PortKey, Vec<SocketAddr>>,
    /// Services to look at.
    dirty: BTreeSet<NamespacedName>,
    /// Services to look at again when it is time.
    failed: BTreeSet<NamespacedName>,
    /// Frontends to delete unless somebody asks for them.
    unowned: BTreeSet<FrontendKey>,
    retry: Retry,
    /// Whether adopted things were given their grace period.
    settled: bool,
    /// Whether something other than a Service waits to be written.
    pending: bool,
    cidrs_changed: bool,
    problems: Vec<Problem>,
    /// What is wrong with Services that are served all the same, as last told.
    told: HashMap<NamespacedName, Vec<Problem>>,
}

impl Reconciler {
    /// Starts from what the maps hold: ids, slots, backends and filter bits are adopted.
    #[must_use]
    pub fn new(settings: Settings, mut installed: Installed) -> Self {
        let config = ConfigElement::new(settings.config, installed.config.take());
        let mut tables = adopt::adopt(installed);
        let Config { masquerade_port_base: first, masquerade_port_count: count, .. } =
            settings.config;
        for port in (0..count).map(|offset| first.saturating_add(offset)) {
            tables.filter.hold(Need::of_masquerade_port(port));
        }
        let mut found: HashMap<NamespacedName, BTreeSet<PortKey>> = HashMap::default();
        for port in tables.placements.keys() {
            found.entry(port.name.service.clone()).or_default().insert(port.clone());
        }
        let ports: HashMap<_, _> =
            found.into_iter().map(|(name, ports)| (name, ports.into_iter().collect())).collect();
        Self {
            settings,
            cluster: Cluster::default(),
            synced: false,
            node_addresses: Vec::new(),
            node_port_addresses: Vec::new(),
            masquerade_addresses: BTreeSet::new(),
            claims: Claims::default(),
            dirty: ports.keys().cloned().collect(),
            unowned: tables.frontends.keys().copied().collect(),
            tables,
            config,
            ports,
            udp_serving: HashMap::default(),
            failed: BTreeSet::new(),
            retry: Retry::new(),
            settled: false,
            pending: true,
            cidrs_changed: false,
            problems: Vec::new(),
            told: HashMap::default(),
        }
    }

    /// Takes in what changed. Nothing is written.
    pub fn apply(&mut self, events: impl IntoIterator<Item = Event>) {
        for event in events {
            match event {
                Event::Service(change) => self.cluster.service(change, &mut self.dirty),
                Event::EndpointSlice(change) => self.cluster.slice(change, &mut self.dirty),
                Event::Node(change) => {
                    let change = self.cluster.node_changed(change, &self.settings.node_name);
                    if change.zone {
                        self.dirty.extend(self.cluster.names().cloned());
                    }
                    if change.addresses {
                        self.node_addresses_changed();
                    }
                }
                Event::ServiceCidr(change) => {
                    self.cluster.cidr(change);
                    self.cidrs_changed = true;
                }
                Event::Synced => {
                    self.synced = true;
                    self.cidrs_changed = true;
                    self.pending = true;
                }
                Event::Problem(problem) => self.problems.push(problem),
            }
        }
        self.pending |= self.cidrs_changed;
    }

    /// Writes what is needed, in an order that shows no packet a half-written Service.
    ///
    /// Before [`Event::Synced`] nothing but `CONFIG` is written: what is installed stays in force.
    pub fn reconcile(&mut self, store: &mut dyn MapStore, now: Nanoseconds) -> Report {
        let mut report = Report::default();
        self.settle(now);
        self.tables.expire(now);
        if self.retry.is_due(now) {
            self.dirty.append(&mut self.failed);
        }
        let plans = if self.synced { self.plan(now, &mut report) } else { Vec::new() };

        let claims = &self.claims;
        let mut commit = Commit { tables: &mut self.tables, store, now, report: &mut report };
        self.failed
            .extend(commit.plans(&plans, |frontend, service| claims.is_owner(frontend, service)));
        if self.synced {
            let mut unowned = std::mem::take(&mut self.unowned);
            unowned.retain(|frontend| !claims.is_owned(frontend));
            self.unowned = commit.deletes(unowned);
            commit.release();
            commit.trim();
            commit.filter();
        }
        // ServiceCIDRs come last: addresses inside that no Service owns are dropped from then on.
        if self.synced && std::mem::take(&mut self.cidrs_changed) {
            self.problems.extend(self.config.set_cidrs(self.cluster.cidrs()));
        }
        if let Some(op) = self.config.op()
            && commit.alone(op)
        {
            self.config.wrote();
        }
        self.tables.ids.settle(grace_after(now));
        report.short = std::mem::take(&mut self.tables.short);
        self.pending = false;
        if !report.failures.is_empty() {
            self.retry.failed(now);
        } else if self.failed.is_empty() {
            self.retry.settled();
        }
        report
    }

    /// The maps have this much room from now on, which is no less than before. What failed is tried
    /// again at once.
    pub fn grown(&mut self, capacity: Capacity) {
        self.tables.grown(capacity);
        self.dirty.append(&mut self.failed);
        self.pending = true;
    }

    /// When [`Self::reconcile`] has to run again even if no event comes: something waits for its
    /// grace period, or is to be tried again.
    #[must_use]
    pub fn needs_reconcile_at(&self) -> Option<Nanoseconds> {
        let at_once = self.pending || (self.synced && !self.dirty.is_empty());
        let at_once = at_once.then_some(Nanoseconds::new(0));
        at_once.into_iter().chain(self.retry.at()).chain(self.tables.sets.next_expiry()).min()
    }

    /// The addresses of the node, for NodePorts.
    pub fn node_addresses(&mut self, addresses: Vec<IpAddr>) {
        if addresses != self.node_addresses {
            self.node_addresses = addresses;
            self.node_addresses_changed();
        }
    }

    /// Addresses that packets are masqueraded to: answers to them are looked up.
    pub fn masquerade_addresses(
        &mut self,
        addresses: impl IntoIterator<Item = IpAddr>,
        now: Nanoseconds,
    ) {
        let addresses: BTreeSet<IpAddr> = addresses.into_iter().collect();
        for address in addresses.difference(&self.masquerade_addresses) {
            self.tables.filter.hold(Need::of_masquerade_address(*address));
        }
        for address in self.masquerade_addresses.difference(&addresses) {
            let need = Need::of_masquerade_address(*address);
            self.tables.filter.release(need, grace_after(now));
        }
        self.masquerade_addresses = addresses;
        self.pending |= self.tables.filter.is_dirty();
    }

    /// What the flow tables still name: filter bits, names and service ids of these are kept, those
    /// of others that are no longer needed are let go.
    pub fn live_flows(&mut self, live: &LiveFlows) {
        if !self.synced {
            return;
        }
        self.tables.filter.swept(live.since, need::live(live));
        self.tables.ids.swept(live.since, &live.services);
        self.pending |= self.tables.filter.is_dirty() || self.tables.ids.is_dirty();
    }

    /// Problems found since the last call, those of sources included.
    pub fn take_problems(&mut self) -> Vec<Problem> {
        std::mem::take(&mut self.problems)
    }

    /// Services that are looked at in the next run: something that concerns them changed.
    pub fn dirty(&self) -> impl Iterator<Item = &NamespacedName> {
        self.dirty.iter()
    }

    /// What is known of the endpoints of `service`.
    #[must_use]
    pub fn slices(&self, service: &NamespacedName) -> Option<&Slices> {
        self.cluster.get(service).map(|known| &known.slices)
    }

    /// Services that are not as they should be, because a map refused or has no room.
    pub fn unserved(&self) -> impl Iterator<Item = &NamespacedName> {
        self.failed.iter()
    }

    /// Whether every first list has been seen.
    #[must_use]
    pub const fn is_synced(&self) -> bool {
        self.synced
    }

    fn settle(&mut self, now: Nanoseconds) {
        if !self.settled {
            self.settled = true;
            self.tables.filter.settle(grace_after(now));
            self.tables.sets.settle(now);
            self.tables.ids.settle(grace_after(now));
        }
    }

    fn node_addresses_changed(&mut self) {
        // Whether a source range admits the node.
        let checks_sources = |service: &Service| service.source_ranges.is_some();
        self.dirty.extend(self.cluster.those(checks_sources).cloned());
        let selected = select_node_addresses(
            &self.settings.node_port_addresses,
            &self.node_addresses,
            self.cluster.node(),
        );
        if selected != self.node_port_addresses {
            self.node_port_addresses = selected;
            if self.settings.frontend_kinds.contains(FrontendKind::NodePort) {
                let has_node_port =
                    |service: &Service| service.ports.iter().any(|port| port.node_port.is_some());
                self.dirty.extend(self.cluster.those(has_node_port).cloned());
            }
        }
    }
}
