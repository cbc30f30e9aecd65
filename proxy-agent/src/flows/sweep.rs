//! One walk through the flow tables of a family: removes what is over, notes what lives.
//!
//! Both halves of a flow go together. A half whose other half is missing is removed once it has
//! been idle for a while: it may be a flow that is just being moved. Called by
//! [`crate::flows::sweeper`].

use std::time::Duration;

use proxy_common::{Address, Flow, Nanoseconds, ServiceId, Tuple};

use super::{
    Timeouts,
    expiry::{self, expired, idle},
    pair::{Generation, Half, State, endpoint, in_order},
    serving::Serving,
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

/// Walks through all four tables of a family.
///
/// # Errors
/// When a table can't be read or written.
pub fn sweep<A: Family>(
    tables: &Flows<A>,
    rules: &Rules<'_>,
    live: &mut LiveFlows,
) -> Result<Swept, MapError> {
    let new = Pair { dst: &tables.new_dst, src: &tables.new_src, generation: Generation::New };
    let settled = Pair { dst: &tables.dst, src: &tables.src, generation: Generation::Settled };
    Ok(sweep_pair(&new, rules, live)?.plus(sweep_pair(&settled, rules, live)?))
}

/// Why a flow is removed.
enum End {
    Expired,
    Stale,
    Orphan,
}

/// The tables of one generation: halves at ingress and halves at egress.
struct Pair<'a, T> {
    dst: &'a T,
    src: &'a T,
    generation: Generation,
}

fn sweep_pair<A: Address, T: HalfTable<A>>(
    tables: &Pair<'_, T>,
    rules: &Rules<'_>,
    live: &mut LiveFlows,
) -> Result<Swept, MapError> {
    let Pair { dst, src, generation } = tables;
    let mut swept = Swept::default();
    let mut suspects = Vec::new();
    dst.for_each(|key, flow| {
        note(live, flow.service);
        live.destinations.insert(key.destination.to_ip());
        swept.live += 1;
        if is_stale(rules, &key, &flow) || is_suspect(rules, &key, &flow) {
            suspects.push(key);
        }
    })?;
    for key in suspects {
        let Some(end) = end(tables, &key, rules)? else { continue };
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
        if is_suspect(rules, &key, &flow) {
            lonely.push((key, flow));
        }
    })?;
    for (key, flow) in lonely {
        // Concurrency: a packet may use the half between these look-ups and its removal; then the
        // connection has lost a half all the same, and ends.
        let alone = dst.get(&flow.dst_key(&key))?.is_none();
        if alone && is_orphan(*generation, rules, &key, &flow) && src.get(&key)? == Some(flow) {
            src.delete(&key)?;
            swept.orphans += 1;
        }
    }
    Ok(swept)
}

/// Whether, and why, the flow whose half at ingress is under `key` is over. Then both halves are
/// gone.
fn end<A: Address, T: HalfTable<A>>(
    tables: &Pair<'_, T>,
    key: &Tuple<A>,
    rules: &Rules<'_>,
) -> Result<Option<End>, MapError> {
    let Pair { dst, src, generation } = tables;
    // It may have been used, or ended, since it was visited.
    let Some(flow) = dst.get(key)? else { return Ok(None) };
    let other_key = flow.src_key(key);
    let end = match src.get(&other_key)? {
        _ if is_stale(rules, key, &flow) => Some(End::Stale),
        Some(other) => {
            let (forward, reply) = in_order(Half::from(&flow), Half::from(&other));
            let state = State::of(key.protocol, *generation, &forward, &reply);
            let halves = (&forward, &reply);
            let over = expired(key.protocol, state, halves, rules.now, rules.timeouts);
            over.then_some(End::Expired)
        }
        None => is_orphan(*generation, rules, key, &flow).then_some(End::Orphan),
    };
    if end.is_some() {
        dst.delete(key)?;
        src.delete(&other_key)?;
    }
    Ok(end)
}

/// Whether the half has been idle long enough for its flow to be worth a look.
fn is_suspect<A: Address>(rules: &Rules<'_>, key: &Tuple<A>, flow: &Flow<A>) -> bool {
    let shortest = expiry::shortest(key.protocol, rules.timeouts);
    idle(flow.last_seen, rules.now) > shortest.min(ORPHAN)
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

fn is_stale<A: Address>(rules: &Rules<'_>, key: &Tuple<A>, flow: &Flow<A>) -> bool {
    flow.service != ServiceId::NONE
        && rules.serving.is_stale(key.protocol, flow.service, endpoint(key, flow))
}

fn note(live: &mut LiveFlows, service: ServiceId) {
    if service != ServiceId::NONE {
        live.services.insert(service);
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, collections::BTreeMap};

    use bytemuck::Zeroable;
    use proxy_common::{Be16, Flow, FlowFlags, Nanoseconds, Protocol, ServiceId, Tuple, V4};

    use super::{
        Generation, HalfTable, LiveFlows, MapError, Pair, Rules, Serving, Swept, Timeouts,
        sweep_pair,
    };

    #[derive(Default)]
    struct Memory {
        halves: RefCell<BTreeMap<Tuple<V4>, Flow<V4>>>,
    }

    impl HalfTable<V4> for Memory {
        fn for_each(&self, mut visit: impl FnMut(Tuple<V4>, Flow<V4>)) -> Result<(), MapError> {
            self.halves.borrow().iter().for_each(|(key, flow)| visit(*key, *flow));
            Ok(())
        }

        fn get(&self, key: &Tuple<V4>) -> Result<Option<Flow<V4>>, MapError> {
            Ok(self.halves.borrow().get(key).copied())
        }

        fn delete(&self, key: &Tuple<V4>) -> Result<(), MapError> {
            self.halves.borrow_mut().remove(key);
            Ok(())
        }
    }

    const DNS: ServiceId = ServiceId::new(7);

    fn end(text: &str) -> (V4, Be16) {
        let address: std::net::SocketAddrV4 = text.parse().unwrap();
        (V4::new(address.ip().octets()), Be16::new(address.port()))
    }

    struct Tables {
        dst: Memory,
        src: Memory,
        generation: Generation,
    }

    impl Tables {
        fn new(generation: Generation) -> Self {
            Self { dst: Memory::default(), src: Memory::default(), generation }
        }

        /// A flow of client 10.1.0.9 to 10.96.0.10:53, at `endpoint`, last seen at `second`.
        fn open(
            &self,
            protocol: Protocol,
            endpoint: &str,
            second: u64,
            flags: FlowFlags,
        ) -> Tuple<V4> {
            let (client, frontend) = (end("10.1.0.9:5000"), end("10.96.0.10:53"));
            let key = Tuple::new(client, frontend, protocol);
            let endpoint = end(endpoint);
            let last_seen = at(second);
            let half =
                Flow { created: last_seen, last_seen, service: DNS, flags, ..Flow::zeroed() };
            let forward =
                Flow { address: endpoint.0, port: endpoint.1, other_port: client.1, ..half };
            let reply = Flow {
                address: frontend.0,
                port: frontend.1,
                other_port: client.1,
                flags: flags.union(FlowFlags::REPLY),
                ..half
            };
            assert_eq!(reply.dst_key(&forward.src_key(&key)), key);
            self.src.halves.borrow_mut().insert(forward.src_key(&key), reply);
            self.dst.halves.borrow_mut().insert(key, forward);
            key
        }

        fn sweep(&self, second: u64, serving: &Serving) -> (Swept, LiveFlows) {
            let mut live = LiveFlows::default();
            let timeouts = Timeouts::default();
            let rules = Rules { timeouts: &timeouts, serving, now: at(second) };
            let pair = Pair { dst: &self.dst, src: &self.src, generation: self.generation };
            (sweep_pair(&pair, &rules, &mut live).unwrap(), live)
        }

        fn halves(&self) -> (usize, usize) {
            (self.dst.halves.borrow().len(), self.src.halves.borrow().len())
        }
    }

    fn at(second: u64) -> Nanoseconds {
        Nanoseconds::new(second * 1_000_000_000)
    }

    #[test]
    fn a_flow_that_is_over_loses_both_halves_and_no_other_changes() {
        let tables = Tables::new(Generation::Settled);
        tables.open(Protocol::UDP, "10.1.0.1:53", 0, FlowFlags::ANSWERED);
        tables.open(Protocol::TCP, "10.1.0.1:53", 0, FlowFlags::ANSWERED);
        let (swept, _) = tables.sweep(180, &Serving::default());
        assert_eq!((swept, tables.halves()), (Swept { live: 2, ..Swept::default() }, (2, 2)));
        let (swept, _) = tables.sweep(181, &Serving::default());
        assert_eq!(swept, Swept { live: 1, expired: 1, ..Swept::default() });
        assert_eq!(tables.halves(), (1, 1));
    }

    #[test]
    fn what_lives_is_noted_by_both_tuples() {
        let tables = Tables::new(Generation::Settled);
        tables.open(Protocol::TCP, "10.1.0.1:53", 0, FlowFlags::ANSWERED);
        let (_, live) = tables.sweep(1, &Serving::default());
        assert!(live.destinations.contains(&[10, 96, 0, 10].into()));
        assert!(live.sources.contains(&[10, 1, 0, 1].into()));
        assert!(live.services.contains(&DNS));
    }

    #[test]
    fn a_udp_flow_goes_with_its_endpoint_and_a_tcp_flow_stays() {
        let tables = Tables::new(Generation::Settled);
        tables.open(Protocol::UDP, "10.1.0.1:53", 0, FlowFlags::ANSWERED);
        tables.open(Protocol::TCP, "10.1.0.1:53", 0, FlowFlags::ANSWERED);
        let mut serving = Serving::default();
        serving.set(DNS, ["10.1.0.1:53".parse().unwrap()]);
        assert_eq!(tables.sweep(1, &serving).0.live, 2);
        serving.set(DNS, ["10.1.0.2:53".parse().unwrap()]);
        assert_eq!(tables.sweep(1, &serving).0, Swept { live: 1, stale: 1, ..Swept::default() });
        assert_eq!(tables.halves(), (1, 1));
    }

    #[test]
    fn a_half_alone_is_given_time_and_then_removed() {
        for at_ingress in [true, false] {
            let tables = Tables::new(Generation::Settled);
            let key = tables.open(Protocol::TCP, "10.1.0.1:53", 0, FlowFlags::ANSWERED);
            let left = if at_ingress { &tables.src } else { &tables.dst };
            left.halves.borrow_mut().clear();
            tables.sweep(10, &Serving::default());
            assert_ne!(tables.halves(), (0, 0), "{key:?} may be moving");
            assert_eq!(tables.sweep(11, &Serving::default()).0.orphans, 1);
            assert_eq!(tables.halves(), (0, 0));
        }
    }

    #[test]
    fn a_half_alone_that_waits_for_its_answer_waits_its_time() {
        let tables = Tables::new(Generation::New);
        tables.open(Protocol::TCP, "10.1.0.1:53", 0, FlowFlags::empty());
        tables.dst.halves.borrow_mut().clear();
        tables.sweep(60, &Serving::default());
        assert_eq!(tables.halves(), (0, 1));
        tables.sweep(61, &Serving::default());
        assert_eq!(tables.halves(), (0, 0));
    }
}
