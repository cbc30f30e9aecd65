//! Ending flows: whether one is over, and all its halves taken away together.
//!
//! A flow that is masqueraded has four: the pair of the Service's flow, and the pair of the stretch
//! from this node to the endpoint, which goes when the first one does and not before. Called by
//! [`crate::flows::sweep`].

use proxy_common::{Address, Flow, FlowFlags, FlowKind, Nanoseconds, ServiceId, Tuple};

use super::{
    expiry::{expired, idle},
    pair::{Generation, Half, State, endpoint, in_order},
    sweep::{ORPHAN, Pair, Rules},
    table::HalfTable,
};
use crate::datapath::map::MapError;

/// Why a flow is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It has been idle for too long.
    Expired,
    /// UDP, and its endpoint has stopped serving.
    Stale,
    /// A half without another half.
    Orphan,
}

/// Where a half is.
#[derive(Clone, Copy, Debug)]
enum Side {
    Dst,
    Src,
}

/// Halves that are to be removed, those of a flow together: where each is, its key, and when its flow was
/// opened.
#[derive(Debug)]
pub(super) struct Doomed<A>(Vec<(Side, Tuple<A>, Nanoseconds)>);

impl<A: Address> Doomed<A> {
    pub(super) fn new() -> Self {
        Self(Vec::new())
    }

    /// Dooms the flow whose half at ingress is under `key`, if it is over. Why it is.
    pub(super) fn judge<T: HalfTable<A>>(
        &mut self,
        tables: &Pair<'_, T>,
        key: &Tuple<A>,
        rules: &Rules<'_>,
    ) -> Result<Option<End>, MapError> {
        let Pair { dst, src, generation } = tables;
        // It may have been used, or ended, since it was visited.
        let Some(flow) = dst.get(key)? else { return Ok(None) };
        let other_key = flow.src_key(key);
        let turned = other_key.reversed();
        if flow.kind == FlowKind::Masquerade as u8 && src.get(&turned)?.is_some() {
            // The Service's flow is still there, and takes this stretch with it.
            return Ok(None);
        }
        let other = src.get(&other_key)?;
        let end = match &other {
            _ if is_stale(rules, key, &flow) => Some(End::Stale),
            Some(other) => {
                let (forward, reply) = in_order(Half::from(&flow), Half::from(other));
                let state = State::of(key.protocol, *generation, &forward, &reply);
                let halves = (&forward, &reply);
                let over = expired(key.protocol, state, halves, rules.now, rules.timeouts);
                over.then_some(End::Expired)
            }
            None => is_orphan(*generation, rules, key, &flow).then_some(End::Orphan),
        };
        if end.is_none() {
            return Ok(None);
        }
        // What opens a flow asks for this half first, and finds none of the others without it.
        self.0.push((Side::Dst, *key, flow.created));
        if flow.flags.contains(FlowFlags::MASQUERADED)
            && let Some(stretch) = src.get(&turned)?
        {
            let pending = stretch.flags.contains(FlowFlags::PENDING);
            if pending || stretch.kind == FlowKind::Masquerade as u8 {
                self.0.push((Side::Src, turned, stretch.created));
            }
            if !pending && stretch.kind == FlowKind::Masquerade as u8 {
                self.0.push((Side::Dst, stretch.dst_key(&turned), stretch.created));
            }
        }
        self.0.extend(other.map(|other| (Side::Src, other_key, other.created)));
        Ok(end)
    }

    /// Dooms the half at egress under `key`, which was `flow` and had no other half, if that is
    /// still so. Whether it was.
    ///
    /// Concurrency: a packet may use the half between these look-ups and its removal; then the
    /// connection has lost a half all the same, and ends.
    pub(super) fn judge_lonely<T: HalfTable<A>>(
        &mut self,
        tables: &Pair<'_, T>,
        (key, flow): (&Tuple<A>, &Flow<A>),
        rules: &Rules<'_>,
    ) -> Result<bool, MapError> {
        let Pair { dst, src, generation } = tables;
        let alone =
            flow.flags.contains(FlowFlags::PENDING) || dst.get(&flow.dst_key(key))?.is_none();
        let over =
            alone && is_orphan(*generation, rules, key, flow) && src.get(key)? == Some(*flow);
        if over {
            self.0.push((Side::Src, *key, flow.created));
        }
        Ok(over)
    }

    /// Removes what is doomed, and what another flow has taken the place of is not: a client may have used
    /// its port again since the flow was judged.
    ///
    /// Concurrency: between a look and the removal after it lie two system calls. Who opens a
    /// connection in that time, with the ports of one that has just been over for as long as its
    /// state allows, opens it once more.
    pub(super) fn remove<T: HalfTable<A>>(self, tables: &Pair<'_, T>) -> Result<(), MapError> {
        for (side, key, created) in self.0 {
            let table = match side {
                Side::Dst => tables.dst,
                Side::Src => tables.src,
            };
            if table.get(&key)?.is_some_and(|flow| flow.created == created) {
                table.delete(&key)?;
            }
        }
        Ok(())
    }
}

/// Whether the half at ingress under `key` leads to a UDP endpoint that has stopped serving.
pub(super) fn is_stale<A: Address>(rules: &Rules<'_>, key: &Tuple<A>, flow: &Flow<A>) -> bool {
    flow.service != ServiceId::NONE
        && rules.serving.is_stale(key.protocol, flow.service, endpoint(key, flow))
}

/// Whether a half that is alone is left over. A new flow may have lost its other half to a flood,
/// and the datapath makes that up; it expires like any other.
fn is_orphan<A: Address>(
    generation: Generation,
    rules: &Rules<'_>,
    key: &Tuple<A>,
    flow: &Flow<A>,
) -> bool {
    let half = Half::from(flow);
    let state = State::of(key.protocol, generation, &half, &half);
    match generation {
        Generation::Settled => idle(flow.last_seen, rules.now) > ORPHAN,
        Generation::New => expired(key.protocol, state, (&half, &half), rules.now, rules.timeouts),
    }
}
