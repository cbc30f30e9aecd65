//! One walk: everything that the sweeper does every few seconds, over the pinned maps.
//!
//! Called by [`crate::flows::sweeper`].

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
};

use proxy_common::{
    Affinity, AffinityKey, CountedSocket, Counter, DropReason, Nanoseconds, ServiceId, SocketKey,
    SocketPeer, V4, V6,
};

use super::{
    affinity,
    full::{FullTables, TableFill},
    open_flows::{self, Counts, Tally},
    services::Known,
    serving::Serving,
    sockets::{self, Destroyed, Destroyer, Seen, SocketMaps},
    states::States,
    sweep::{Notes, Rules, Swept, sweep},
    sweeper::SweepOptions,
    timeouts::Timeouts,
};
use crate::{
    datapath::{
        map::{Map, MapError, PerCpuArray},
        tables::{self, Family, Flows, Services},
    },
    host::clock,
    reconcile::LiveFlows,
};

/// What a walk has found.
#[derive(Debug, Default)]
pub struct Found {
    /// Addresses and Services that flows name.
    pub live: LiveFlows,
    /// Flows of the packet path.
    pub flows: usize,
    /// The same by state, what was removed then included.
    pub states: States,
    /// What was removed.
    pub removed: Swept,
    /// Tables that are full, in words.
    pub full: Vec<String>,
    /// Sockets that are not destroyed because the kernel can't, in words.
    pub unsupported: Option<String>,
}

/// The maps of one family, and what is remembered of them.
#[derive(Debug)]
struct OfFamily<A: Family> {
    flows: Flows<A>,
    services: Services<A>,
    open_flows: Map<u32, u32>,
    affinity: Map<AffinityKey<A>, Affinity>,
    sockets: Map<SocketKey<A>, SocketPeer<A>>,
    seen: Seen<A>,
}

/// Walks, and remembers what was told.
#[derive(Debug)]
pub(super) struct Walker {
    maps: PathBuf,
    v4: OfFamily<V4>,
    v6: OfFamily<V6>,
    counted: Map<u64, CountedSocket>,
    counters: PerCpuArray<u64>,
    timeouts: Timeouts,
    /// `None` when it has to be read.
    known: Option<Known>,
    /// Whether open flows were counted in the walk before.
    counting: bool,
    full: FullTables,
    destroyer: Destroyer,
    unsupported: Option<String>,
}

/// What is the same for both families in a walk.
struct Common<'a> {
    known: &'a Known,
    serving: &'a Serving,
    timeouts: &'a Timeouts,
    now: Nanoseconds,
    /// Elements of `COUNTED_SOCKETS`; `None` when nothing is to be counted.
    counted: Option<&'a [(u64, CountedSocket)]>,
}

/// What is found in both families together.
#[derive(Default)]
struct Sum {
    live: LiveFlows,
    states: States,
    swept: Swept,
    fills: Vec<TableFill>,
    bound: Vec<sockets::Bound>,
    affinities: usize,
    corrected: usize,
}

impl Walker {
    pub(super) fn open(maps: &Path, options: &SweepOptions) -> Result<Self, MapError> {
        Ok(Self {
            maps: maps.into(),
            v4: OfFamily::open(maps)?,
            v6: OfFamily::open(maps)?,
            counted: tables::counted_sockets(maps)?,
            counters: tables::counters(maps)?,
            timeouts: options.timeouts,
            known: None,
            counting: true,
            full: FullTables::default(),
            destroyer: Destroyer::new(options.destroy_sockets),
            unsupported: None,
        })
    }

    /// Opens what is pinned now. What is known of sockets stays.
    pub(super) fn open_again(&mut self) -> Result<(), MapError> {
        self.v4 =
            OfFamily { seen: std::mem::take(&mut self.v4.seen), ..OfFamily::open(&self.maps)? };
        self.v6 =
            OfFamily { seen: std::mem::take(&mut self.v6.seen), ..OfFamily::open(&self.maps)? };
        self.known = None;
        Ok(())
    }

    /// Services are to be read again.
    pub(super) fn forget_services(&mut self) {
        self.known = None;
    }

    /// Walks through everything.
    pub(super) fn walk(&mut self, serving: &Serving) -> Result<Found, MapError> {
        let known = match self.known.take() {
            Some(known) => known,
            None => self.read_services()?,
        };
        // Once more after the last such Service: then all counts become zero.
        let counts = !known.least_connections.is_empty();
        let counted = if counts || self.counting { Some(self.counted.entries()?) } else { None };
        let common = Common {
            known: &known,
            serving,
            timeouts: &self.timeouts,
            now: clock::now(),
            counted: counted.as_deref(),
        };
        let mut sum = Sum::default();
        sum.live.since = common.now;
        self.v4.walk(&common, &mut sum)?;
        self.v6.walk(&common, &mut sum)?;
        self.counting = counts;
        self.known = Some(known);
        report(&sum);
        self.destroy(&sum.bound);
        let dropped = self.counters.sum(Counter::Drop(DropReason::FlowTableFull).index())?;
        let full = self.full.look(&sum.fills, dropped);
        for (_, text) in full.iter().filter(|(new, _)| *new) {
            tracing::warn!("{text}");
        }
        Ok(Found {
            live: sum.live,
            flows: sum.swept.live,
            states: sum.states,
            removed: sum.swept,
            full: full.into_iter().map(|(_, text)| text).collect(),
            unsupported: self.unsupported.clone(),
        })
    }

    fn read_services(&self) -> Result<Known, MapError> {
        let mut known = Known::default();
        known.read(&self.v4.services.frontends)?;
        known.read(&self.v6.services.frontends)?;
        Ok(known)
    }

    fn destroy(&mut self, bound: &[sockets::Bound]) {
        match self.destroyer.destroy(bound) {
            Ok(Destroyed::Sockets(0)) => {}
            Ok(Destroyed::Sockets(sockets)) => {
                tracing::info!(sockets, "UDP sockets of the node lost their endpoint: destroyed");
            }
            Ok(Destroyed::Unsupported) => {
                let text = "this kernel can't destroy sockets (CONFIG_INET_DIAG_DESTROY): connected \
                            UDP sockets of the node stay with an endpoint that is gone until their \
                            owners close them; --socket-lb-udp off leaves them alone altogether";
                tracing::warn!("{text}");
                self.unsupported = Some(text.into());
            }
            Err(error) => {
                tracing::warn!(%error, "UDP sockets of the node could not be destroyed");
            }
        }
    }
}

impl<A: Family> OfFamily<A> {
    fn open(maps: &Path) -> Result<Self, MapError> {
        Ok(Self {
            flows: Flows::open(maps)?,
            services: Services::open(maps)?,
            open_flows: tables::open_flows::<A>(maps)?,
            affinity: tables::affinity(maps)?,
            sockets: tables::sockets(maps)?,
            seen: Seen::default(),
        })
    }

    fn walk(&mut self, common: &Common<'_>, sum: &mut Sum) -> Result<(), MapError> {
        let Common { known, serving, timeouts, now, .. } = *common;
        let nobody = HashSet::<ServiceId>::new();
        let counted = if common.counted.is_some() { &known.least_connections } else { &nobody };
        let mut notes =
            Notes { live: &mut sum.live, tally: Tally::new(counted), states: &mut sum.states };
        let rules = Rules { timeouts, serving, now };
        let (swept, fills) = sweep(&self.flows, &rules, &mut notes)?;
        sum.swept = sum.swept.plus(swept);
        sum.fills.extend(fills);
        if let Some(counted) = common.counted {
            let counts = Counts {
                open_flows: &self.open_flows,
                backends: &self.services.backends,
                sockets: &self.sockets,
                counted,
            };
            sum.corrected += open_flows::correct(&counts, notes.tally)?;
        }
        sum.affinities += affinity::expire(&self.affinity, &known.affinity, now)?;
        let maps = SocketMaps { sockets: &self.sockets, frontends: &self.services.frontends };
        sum.bound.extend(sockets::release(&maps, serving, &mut self.seen)?);
        Ok(())
    }
}

fn report(sum: &Sum) {
    let Swept { live, expired, stale, orphans } = sum.swept;
    let Sum { affinities, corrected, .. } = sum;
    if expired + stale + orphans + affinities + corrected > 0 {
        tracing::debug!(live, expired, stale, orphans, affinities, corrected, "flows swept");
    }
}
