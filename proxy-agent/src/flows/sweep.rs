//! One walk through the flow tables of a family: removes what is over, notes what lives.
//!
//! Both halves of a flow go together. A half whose other half is missing is removed once it has
//! been idle for a while: it may be a flow that is just being moved. Called by
//! [`crate::flows::sweeper`].

use std::time::Duration;

use proxy_common::{Flow, Nanoseconds, ServiceId, Tuple};

use super::{
    Timeouts,
    expiry::{self, expired, idle},
    pair::{Half, endpoint, in_order},
    serving::Serving,
};
use crate::{
    datapath::{
        map::{Map, MapError},
        tables::{Family, Flows},
    },
    reconcile::LiveFlows,
};

/// How long a half may be alone.
const ORPHAN: Duration = Duration::from_secs(10);

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
}

type Table<A> = Map<Tuple<A>, Flow<A>>;

/// Walks through all four tables of a family.
///
/// # Errors
/// When a table can't be read or written.
pub fn sweep<A: Family>(
    tables: &Flows<A>,
    rules: &Rules<'_>,
    live: &mut LiveFlows,
) -> Result<Swept, MapError> {
    let new = sweep_pair(&tables.new_dst, &tables.new_src, rules, live)?;
    Ok(new.plus(sweep_pair(&tables.dst, &tables.src, rules, live)?))
}

/// Why a flow is removed.
enum End {
    Expired,
    Stale,
    Orphan,
}

fn sweep_pair<A: Family>(
    dst: &Table<A>,
    src: &Table<A>,
    rules: &Rules<'_>,
    live: &mut LiveFlows,
) -> Result<Swept, MapError> {
    let mut swept = Swept::default();
    let mut suspects = Vec::new();
    dst.for_each(|key, flow| {
        note(live, flow.service);
        live.destinations.insert(key.destination.to_ip());
        swept.live += 1;
        let stale = is_stale(rules, &key, &flow);
        let idle = idle(flow.last_seen, rules.now);
        if stale || idle > expiry::shortest(key.protocol, rules.timeouts).min(ORPHAN) {
            suspects.push(key);
        }
    })?;
    for key in suspects {
        let Some(end) = judge_dst(dst, src, &key, rules)? else { continue };
        swept.live -= 1;
        match end {
            End::Expired => swept.expired += 1,
            End::Stale => swept.stale += 1,
            End::Orphan => swept.orphans += 1,
        }
    }
    let mut lonely = Vec::new();
    src.for_each(|key, flow| {
        note(live, flow.service);
        live.sources.insert(key.source.to_ip());
        if idle(flow.last_seen, rules.now) > ORPHAN {
            lonely.push((key, flow));
        }
    })?;
    for (key, flow) in lonely {
        // Concurrency: a packet may use the half between these look-ups and its removal; then the
        // connection has lost a half all the same, and ends.
        if dst.get(&flow.dst_key(&key))?.is_none() && src.get(&key)? == Some(flow) {
            let protocol = key.protocol;
            let half = Half::from(&flow);
            if expired(protocol, &half, &half, rules.now, rules.timeouts)
                || flow.flags.contains(proxy_common::FlowFlags::ANSWERED)
            {
                src.delete(&key)?;
                swept.orphans += 1;
            }
        }
    }
    Ok(swept)
}

/// Looks at both halves of the flow whose half at ingress is under `key`, and removes both if it is
/// over.
fn judge_dst<A: Family>(
    dst: &Table<A>,
    src: &Table<A>,
    key: &Tuple<A>,
    rules: &Rules<'_>,
) -> Result<Option<End>, MapError> {
    let Some(flow) = dst.get(key)? else { return Ok(None) };
    let other_key = flow.src_key(key);
    let end = match src.get(&other_key)? {
        Some(other) => {
            let (forward, reply) = in_order(Half::from(&flow), Half::from(&other));
            if is_stale(rules, key, &flow) {
                Some(End::Stale)
            } else {
                expired(key.protocol, &forward, &reply, rules.now, rules.timeouts)
                    .then_some(End::Expired)
            }
        }
        None => {
            let half = Half::from(&flow);
            let over = expired(key.protocol, &half, &half, rules.now, rules.timeouts)
                || is_stale(rules, key, &flow)
                || flow.flags.contains(proxy_common::FlowFlags::ANSWERED);
            (over && idle(flow.last_seen, rules.now) > ORPHAN).then_some(End::Orphan)
        }
    };
    if end.is_some() {
        dst.delete(key)?;
        src.delete(&other_key)?;
    }
    Ok(end)
}

fn is_stale<A: Family>(rules: &Rules<'_>, key: &Tuple<A>, flow: &Flow<A>) -> bool {
    flow.service != ServiceId::NONE
        && rules.serving.is_stale(key.protocol, flow.service, endpoint(key, flow))
}

fn note(live: &mut LiveFlows, service: ServiceId) {
    if service != ServiceId::NONE {
        live.services.insert(service);
    }
}
