//! One walk through the flow tables of a family: removes what is over, notes what lives.
//!
//! All halves of a flow go together ([`super::ending`]). A half whose other half is missing is
//! removed once it has been idle for a while: it may be a flow that is just being moved. Called by
//! [`crate::flows::sweeper`].

use std::time::Duration;

use proxy_common::{Address, Flow, FlowFlags, FlowKind, Nanoseconds, ServiceId, Tuple};

use super::{
    Timeouts,
    ending::{Doomed, End, is_stale},
    expiry::{self, idle},
    fingerprints::Fingerprints,
    full::TableFill,
    open_flows::Tally,
    pair::{Generation, Half},
    serving::Serving,
    states::States,
    table::HalfTable,
};
use crate::{
    datapath::{
        map::MapError,
        tables::{Family, Flows},
    },
    reconcile::LiveFlows,
};

/// How long a half may be alone.
pub(super) const ORPHAN: Duration = Duration::from_secs(10);
/// Flows that are judged before those that are over are removed together.
const BATCH: usize = 256;

/// What a walk goes by.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    /// How long flows may be idle.
    pub timeouts: &'a Timeouts,
    /// Which UDP endpoints serve.
    pub serving: &'a Serving,
    /// When the walk began.
    pub now: Nanoseconds,
}

/// What a walk removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Flows that are left.
    pub live: usize,
    /// Flows that had been idle for too long.
    pub expired: usize,
    /// UDP flows whose endpoint stopped serving.
    pub stale: usize,
    /// Halves without another half.
    pub orphans: usize,
}

impl Swept {
    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            live: self.live + other.live,
            expired: self.expired + other.expired,
            stale: self.stale + other.stale,
            orphans: self.orphans + other.orphans,
        }
    }

    fn ended(&mut self, end: End) {
        self.live = self.live.saturating_sub(1);
        match end {
            End::Expired => self.expired += 1,
            End::Stale => self.stale += 1,
            End::Orphan => self.orphans += 1,
        }
    }
}

/// Walks through all four tables of a family: those of new flows first, so that a flow that moves
/// meanwhile is seen twice rather than not at all. Also tells how full the main tables were.
///
/// # Errors
/// When a table can't be read or written.
pub fn sweep<A: Family>(
    tables: &Flows<A>,
    rules: &Rules<'_>,
    notes: &mut Notes<'_, A>,
) -> Result<(Swept, [TableFill; 2]), MapError> {
    let new = Pair { dst: &tables.new_dst, src: &tables.new_src, generation: Generation::New };
    let settled = Pair { dst: &tables.dst, src: &tables.src, generation: Generation::Settled };
    let (new, _) = sweep_pair(&new, rules, notes)?;
    let (settled, used) = sweep_pair(&settled, rules, notes)?;
    let fills = [
        TableFill { table: tables.dst.name(), used: used[0], room: tables.dst.max_entries() },
        TableFill { table: tables.src.name(), used: used[1], room: tables.src.max_entries() },
    ];
    Ok((new.plus(settled), fills))
}

/// What is noted of what is met on the way.
#[derive(Debug)]
pub struct Notes<'a, A> {
    /// Addresses and Services that flows name.
    pub live: &'a mut LiveFlows,
    /// Open flows by endpoint.
    pub tally: Tally<'a, A>,
    /// How many there are of each state.
    pub states: &'a mut States,
}

/// The tables of one generation: halves at ingress and halves at egress.
pub(super) struct Pair<'a, T> {
    pub(super) dst: &'a T,
    pub(super) src: &'a T,
    pub(super) generation: Generation,
}

fn sweep_pair<A: Address, T: HalfTable<A>>(
    tables: &Pair<'_, T>,
    rules: &Rules<'_>,
    notes: &mut Notes<'_, A>,
) -> Result<(Swept, [usize; 2]), MapError> {
    let Pair { dst, src, generation } = tables;
    let mut egress = Fingerprints::default();
    // Keys at ingress of flows that may be over.
    let mut suspects = Vec::new();
    let mut used = [0; 2];
    src.for_each(|key, flow| {
        used[1] += 1;
        note_service(notes.live, flow.service);
        notes.live.sources.insert(key.source.to_ip());
        notes.live.source_ports.insert((key.protocol, key.source_port.get()));
        notes.tally.egress(&key, &flow);
        egress.note(&key, is_left_alone(rules, &flow));
        let pending = flow.flags.contains(FlowFlags::PENDING);
        if !pending && is_suspect(rules, *generation, &key, &flow) {
            suspects.push(flow.dst_key(&key));
        }
    })?;
    egress.seal();
    let mut swept = Swept::default();
    dst.for_each(|key, flow| {
        used[0] += 1;
        note_service(notes.live, flow.service);
        notes.live.destinations.insert(key.destination.to_ip());
        notes.live.destination_ports.insert((key.protocol, key.destination_port.get()));
        notes.tally.ingress(&key, &flow);
        if flow.kind != FlowKind::Masquerade as u8 {
            swept.live += 1;
            notes.states.note(*generation, key.protocol);
        }
        let alone = !egress.pair(&flow.src_key(&key)) && is_left_alone(rules, &flow);
        if alone || is_stale(rules, &key, &flow) || is_suspect(rules, *generation, &key, &flow) {
            suspects.push(key);
        }
    })?;
    suspects.sort_unstable();
    suspects.dedup();
    for keys in suspects.chunks(BATCH) {
        let mut doomed = Doomed::new();
        for key in keys {
            if let Some(end) = doomed.judge(tables, key, rules)? {
                swept.ended(end);
            }
        }
        doomed.remove(tables)?;
    }
    if egress.has_lonely() {
        swept.orphans += sweep_lonely(tables, rules, &egress)?;
    }
    Ok((swept, used))
}

/// Removes halves at egress whose other half was not seen.
fn sweep_lonely<A: Address, T: HalfTable<A>>(
    tables: &Pair<'_, T>,
    rules: &Rules<'_>,
    egress: &Fingerprints,
) -> Result<usize, MapError> {
    let mut lonely = Vec::new();
    tables.src.for_each(|key, flow| {
        if egress.is_lonely(&key) {
            lonely.push((key, flow));
        }
    })?;
    let mut orphans = 0;
    for halves in lonely.chunks(BATCH) {
        let mut doomed = Doomed::new();
        for (key, flow) in halves {
            orphans += usize::from(doomed.judge_lonely(tables, (key, flow), rules)?);
        }
        doomed.remove(tables)?;
    }
    Ok(orphans)
}

/// Whether the half has been idle long enough for its flow to be worth a look.
fn is_suspect<A: Address>(
    rules: &Rules<'_>,
    generation: Generation,
    key: &Tuple<A>,
    flow: &Flow<A>,
) -> bool {
    let earliest = expiry::earliest(key.protocol, generation, &Half::from(flow), rules.timeouts);
    idle(flow.last_seen, rules.now) > earliest
}

/// Whether the half has been idle for so long that its other half, if it has none, will not come.
fn is_left_alone<A: Address>(rules: &Rules<'_>, flow: &Flow<A>) -> bool {
    idle(flow.last_seen, rules.now) > ORPHAN
}

fn note_service(live: &mut LiveFlows, service: ServiceId) {
    if service != ServiceId::NONE {
        live.services.insert(service);
    }
}

#[cfg(test)]
#[path = "sweep_tests.rs"]
mod tests;
