//! Stories of sweeps, over tables in memory.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, HashSet},
};

use bytemuck::Zeroable;
use proxy_common::{Be16, Flow, FlowFlags, FlowKind, Nanoseconds, Protocol, ServiceId, Tuple, V4};

use super::{
    Doomed, End, Generation, HalfTable, LiveFlows, MapError, Notes, Pair, Rules, Serving, States,
    Swept, Tally, Timeouts, sweep_pair,
};

#[derive(Default)]
struct Memory {
    halves: RefCell<BTreeMap<Tuple<V4>, Flow<V4>>>,
    /// How often a single half was asked for.
    looks: Cell<usize>,
}

impl HalfTable<V4> for Memory {
    fn for_each(&self, mut visit: impl FnMut(Tuple<V4>, Flow<V4>)) -> Result<(), MapError> {
        self.halves.borrow().iter().for_each(|(key, flow)| visit(*key, *flow));
        Ok(())
    }

    fn get(&self, key: &Tuple<V4>) -> Result<Option<Flow<V4>>, MapError> {
        self.looks.update(|looks| looks + 1);
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
    fn open(&self, protocol: Protocol, endpoint: &str, second: u64, flags: FlowFlags) -> Tuple<V4> {
        let (client, frontend) = (end("10.1.0.9:5000"), end("10.96.0.10:53"));
        let key = Tuple::new(client, frontend, protocol);
        let endpoint = end(endpoint);
        let last_seen = at(second);
        let half = Flow { created: last_seen, last_seen, service: DNS, flags, ..Flow::zeroed() };
        let forward = Flow { address: endpoint.0, port: endpoint.1, other_port: client.1, ..half };
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

    /// Masquerades the flow under `key` as 10.1.0.1:61000.
    fn masquerade(&self, key: &Tuple<V4>, second: u64) {
        let node = end("10.1.0.1:61000");
        let mut dst = self.dst.halves.borrow_mut();
        let forward = dst.get_mut(key).unwrap();
        forward.flags = forward.flags.union(FlowFlags::MASQUERADED);
        let last_seen = at(second);
        let stretch = Flow {
            last_seen,
            address: node.0,
            port: node.1,
            other_port: forward.port,
            kind: FlowKind::Masquerade as u8,
            flags: FlowFlags::ANSWERED,
            ..*forward
        };
        let leaves_as = forward.src_key(key).reversed();
        let reply = Flow {
            address: leaves_as.source,
            port: leaves_as.source_port,
            flags: FlowFlags::ANSWERED.union(FlowFlags::REPLY),
            ..stretch
        };
        assert_eq!(reply.src_key(&stretch.dst_key(&leaves_as)), leaves_as);
        dst.insert(stretch.dst_key(&leaves_as), reply);
        self.src.halves.borrow_mut().insert(leaves_as, stretch);
    }

    fn sweep(&self, second: u64, serving: &Serving) -> (Swept, LiveFlows) {
        let mut live = LiveFlows::default();
        let timeouts = Timeouts::default();
        let rules = Rules { timeouts: &timeouts, serving, now: at(second) };
        let pair = Pair { dst: &self.dst, src: &self.src, generation: self.generation };
        let counted = HashSet::new();
        let mut states = States::default();
        let mut notes = Notes { live: &mut live, tally: Tally::new(&counted), states: &mut states };
        let swept = sweep_pair(&pair, &rules, &mut notes).unwrap().0;
        (swept, live)
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
    assert!(live.destination_ports.contains(&(Protocol::TCP, 53)));
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

#[test]
fn a_masqueraded_flow_loses_all_four_halves_together() {
    for stretch_seen in [90, 100, 110] {
        let tables = Tables::new(Generation::Settled);
        let key = tables.open(Protocol::UDP, "10.1.0.2:53", 100, FlowFlags::ANSWERED);
        tables.masquerade(&key, stretch_seen);
        assert_eq!(tables.halves(), (2, 2));
        let (swept, _) = tables.sweep(280, &Serving::default());
        assert_eq!((swept.live, tables.halves()), (1, (2, 2)), "seen {stretch_seen}");
        let (swept, _) = tables.sweep(281, &Serving::default());
        assert_eq!(swept, Swept { expired: 1, ..Swept::default() });
        assert_eq!(tables.halves(), (0, 0));
    }
}

#[test]
fn a_masqueraded_udp_flow_goes_with_its_endpoint() {
    let tables = Tables::new(Generation::New);
    let key = tables.open(Protocol::UDP, "10.1.0.2:53", 0, FlowFlags::ANSWERED);
    tables.masquerade(&key, 0);
    let mut serving = Serving::default();
    serving.set(DNS, ["10.1.0.3:53".parse().unwrap()]);
    assert_eq!(tables.sweep(1, &serving).0, Swept { stale: 1, ..Swept::default() });
    assert_eq!(tables.halves(), (0, 0));
}

#[test]
fn a_stretch_whose_flow_is_gone_ends_by_itself() {
    let tables = Tables::new(Generation::Settled);
    let key = tables.open(Protocol::UDP, "10.1.0.2:53", 0, FlowFlags::ANSWERED);
    tables.masquerade(&key, 0);
    let forward = tables.dst.halves.borrow_mut().remove(&key).unwrap();
    tables.src.halves.borrow_mut().remove(&forward.src_key(&key)).unwrap();
    tables.sweep(180, &Serving::default());
    assert_eq!(tables.halves(), (1, 1));
    tables.sweep(181, &Serving::default());
    assert_eq!(tables.halves(), (0, 0));
}

#[test]
fn word_that_was_left_for_egress_goes_with_its_flow() {
    let tables = Tables::new(Generation::New);
    let key = tables.open(Protocol::UDP, "10.1.0.2:53", 0, FlowFlags::empty());
    tables.masquerade(&key, 0);
    // Somebody else has masqueraded the packets: our own stretch never came to be.
    tables.dst.halves.borrow_mut().retain(|_, half| half.kind != FlowKind::Masquerade as u8);
    for half in tables.src.halves.borrow_mut().values_mut() {
        if half.kind == FlowKind::Masquerade as u8 {
            half.kind = FlowKind::Service as u8;
            half.flags = FlowFlags::PENDING;
        }
    }
    assert_eq!(tables.halves(), (1, 2));
    tables.sweep(31, &Serving::default());
    assert_eq!(tables.halves(), (0, 0));
}

#[test]
fn an_idle_connection_is_not_looked_at_again_and_again() {
    let tables = Tables::new(Generation::Settled);
    tables.open(Protocol::TCP, "10.1.0.2:53", 0, FlowFlags::ANSWERED);
    tables.sweep(3_600, &Serving::default());
    assert_eq!((tables.dst.looks.get(), tables.src.looks.get()), (0, 0));
}

#[test]
fn many_flows_that_are_over_go_in_one_sweep() {
    let tables = Tables::new(Generation::Settled);
    let key = tables.open(Protocol::UDP, "10.1.0.2:53", 0, FlowFlags::ANSWERED);
    let (dst, src) = (&tables.dst.halves, &tables.src.halves);
    let forward = dst.borrow()[&key];
    let reply = src.borrow()[&forward.src_key(&key)];
    for port in 10_000..11_000 {
        let port = Be16::new(port);
        let key = Tuple { source_port: port, ..key };
        let forward = Flow { other_port: port, ..forward };
        dst.borrow_mut().insert(key, forward);
        src.borrow_mut().insert(forward.src_key(&key), Flow { other_port: port, ..reply });
    }
    let (swept, _) = tables.sweep(181, &Serving::default());
    assert_eq!(swept, Swept { expired: 1_001, ..Swept::default() });
    assert_eq!(tables.halves(), (0, 0));
}

#[test]
fn a_flow_that_took_the_place_of_one_that_was_over_stays() {
    let tables = Tables::new(Generation::Settled);
    let key = tables.open(Protocol::UDP, "10.1.0.1:53", 0, FlowFlags::ANSWERED);
    let pair = Pair { dst: &tables.dst, src: &tables.src, generation: tables.generation };
    let (timeouts, serving) = (Timeouts::default(), Serving::default());
    let rules = Rules { timeouts: &timeouts, serving: &serving, now: at(1000) };
    let mut doomed = Doomed::new();
    assert_eq!(doomed.judge(&pair, &key, &rules).unwrap(), Some(End::Expired));
    tables.open(Protocol::UDP, "10.1.0.1:53", 999, FlowFlags::ANSWERED);
    doomed.remove(&pair).unwrap();
    assert_eq!(tables.halves(), (1, 1));
}
