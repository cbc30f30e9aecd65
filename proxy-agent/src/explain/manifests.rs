//! Maps made of a directory of manifests: its objects go through the very reconciler, into maps in
//! memory.

use std::{
    io,
    net::IpAddr,
    path::{Path, PathBuf},
};

use proxy_common::Nanoseconds;
use proxy_ebpf::user::{FamilyOf, Machine};

use super::World;
use crate::{
    model::Problem,
    reconcile::{Reconciler, Settings},
    source::{Change, Event, manifests},
    store::{Installed, InstalledFamily, memory::MemoryStore},
};

/// When it is: long after the epoch of every timestamp.
const NOW: Nanoseconds = Nanoseconds::new(1_000_000_000_000);

/// The directory can't be read.
#[derive(Debug, thiserror::Error)]
#[error("--manifests {}: {source}: give a directory of manifests that can be read", path.display())]
pub struct ReadError {
    path: PathBuf,
    source: io::Error,
}

/// Maps, and what is wrong with the manifests that they were made of.
#[derive(Debug)]
pub struct Computed {
    /// The maps.
    pub world: World<Machine>,
    /// What can't be served as it stands.
    pub problems: Vec<Problem>,
}

/// Reads `directory` and computes the maps of the node that `settings` name. Its addresses are
/// `addresses`, or else what its Node object says.
///
/// # Errors
/// When the directory can't be read.
pub fn read(
    directory: &Path,
    settings: Settings,
    addresses: Option<Vec<IpAddr>>,
) -> Result<Computed, ReadError> {
    let events = manifests::read(directory)
        .map_err(|source| ReadError { path: directory.into(), source })?;
    Ok(compute(events, settings, addresses))
}

/// As [`read`], from what was read already.
pub fn compute(events: Vec<Event>, settings: Settings, addresses: Option<Vec<IpAddr>>) -> Computed {
    let node = events.iter().find_map(|event| match event {
        Event::Node(Change::Applied(node)) if node.name == settings.node_name => Some(node.clone()),
        _ => None,
    });
    let slices = events.iter().filter_map(|event| match event {
        Event::EndpointSlice(Change::Applied(slice)) => Some(slice.clone()),
        _ => None,
    });
    let slices = slices.collect();
    let mut notes = Vec::new();
    if node.is_none() {
        notes.push(format!(
            "Warning: no Node object is named {:?}: it has no zone{}.",
            settings.node_name,
            if addresses.is_none() {
                ", so hints for zones don't count, and no address, so it has no NodePorts (give \
                 --node-addresses)"
            } else {
                ", so hints for zones don't count"
            }
        ));
    }
    let addresses = addresses.or(node.map(|node| node.internal_ips)).unwrap_or_default();
    let mut reconciler = Reconciler::new(settings, Installed::default());
    let mut store = MemoryStore::default();
    reconciler.node_addresses(addresses);
    reconciler.apply(events);
    let report = reconciler.reconcile(&mut store, NOW);
    notes.extend(report.failures.iter().map(|failure| {
        let services = failure.services.iter().map(ToString::to_string).collect::<Vec<_>>();
        format!("Warning: the maps lack something of {}: {}.", services.join(", "), failure.error)
    }));
    let problems = reconciler.take_problems();
    let content = store.content();
    let names = content.names.clone();
    Computed { world: World { source: machine(content), names, slices, notes }, problems }
}

/// The maps as the datapath reads them in user space.
#[must_use]
pub fn machine(content: &Installed) -> Machine {
    let mut machine = Machine::default();
    machine.filter.clone_from(&content.filter);
    machine.slots.extend((0..).zip(content.slots.iter().copied()));
    machine.members.extend(content.members.iter().map(|(member, sets)| (*member, *sets)));
    machine.turns.get_mut().extend(content.turns.iter().map(|id| (*id, 0)));
    machine.now.set(NOW);
    if let Some(config) = &content.config {
        machine.config = **config;
    }
    family(&mut machine, &content.v4);
    family(&mut machine, &content.v6);
    machine
}

fn family<A: FamilyOf>(machine: &mut Machine, content: &InstalledFamily<A>) {
    let maps = A::of_mut(machine);
    maps.services.extend(content.frontends.iter().map(|(frontend, it)| (*frontend, *it)));
    maps.backends.extend(content.backends.iter().map(|(id, it)| (*id, *it)));
    maps.source_ranges.extend(content.ranges.iter().copied());
}
