//! The stage of every story: a machine with addresses that have parts to play, packets sent through
//! its hooks, and counters that must say exactly what happened.

use std::collections::BTreeMap;

use proxy_common::{
    Address, Be16, COUNTERS, Counter, DropReason, Flow, Frontend, FrontendKind, Protocol,
    RejectReason, Service, ServiceId, SlotRange, Tuple, V4, V6,
};
use proxy_ebpf::{
    env::FlowTable,
    transport::Hook,
    user::{
        FamilyOf, Machine, UserPacket, Wire,
        build::{Build, End},
        check::check,
    },
    verdict::Decision,
};

/// A family whose addresses can be named by part and number.
pub(crate) trait Cast: Wire {
    /// An address of a net: the same two numbers, the same address.
    fn address(net: u8, host: u8) -> Self;
}

impl Cast for V4 {
    fn address(net: u8, host: u8) -> Self {
        Self::new([10, net, 0, host])
    }
}

impl Cast for V6 {
    fn address(net: u8, host: u8) -> Self {
        Self::new([0xfd, net, 0, 0, 0, 0, 0xab, 0xcd, 0, 0, 1, 2, 3, 4, 0, host])
    }
}

/// A pod's address.
pub(crate) fn pod<A: Cast>(host: u8) -> A {
    A::address(244, host)
}

/// A ClusterIP.
pub(crate) fn cluster_ip<A: Cast>(host: u8) -> A {
    A::address(96, host)
}

/// A pod that opens connections, and a port of it.
pub(crate) fn client<A: Cast>() -> End<A> {
    (pod(1), 40_000)
}

/// The frontend of most stories.
pub(crate) fn frontend<A: Cast>() -> End<A> {
    (cluster_ip(1), 80)
}

/// Its only backend.
pub(crate) fn backend<A: Cast>() -> End<A> {
    (pod(9), 8080)
}

/// The address of the node's device.
pub(crate) fn node<A: Cast>() -> A {
    A::address(1, 1)
}

/// A machine on which a story takes place.
pub(crate) struct Stage {
    pub(crate) machine: Machine,
    counted: Vec<u64>,
}

impl Stage {
    /// Nothing is programmed.
    pub(crate) fn empty() -> Self {
        Self { machine: Machine::default(), counted: vec![0; COUNTERS as usize] }
    }

    /// [`frontend`] leads to [`backend`], by TCP, UDP and SCTP.
    pub(crate) fn with_service<A: Cast>() -> Self {
        let mut stage = Self::empty();
        for protocol in [Protocol::TCP, Protocol::UDP, Protocol::SCTP] {
            stage.serve(frontend::<A>(), protocol, &[backend()]);
        }
        stage
    }

    /// `frontend` leads to `backends`.
    pub(crate) fn serve<A: Cast>(
        &mut self,
        (address, port): End<A>,
        protocol: Protocol,
        backends: &[End<A>],
    ) {
        let frontend = Frontend::new(address, Be16::new(port), protocol);
        self.machine.serve(frontend, service(), backends);
    }

    /// `frontend` leads to nobody, as `change` says.
    pub(crate) fn serve_nobody<A: Cast>(
        &mut self,
        (address, port): End<A>,
        change: impl Fn(Service) -> Service,
    ) {
        for protocol in [Protocol::TCP, Protocol::UDP, Protocol::SCTP] {
            let frontend = Frontend::new(address, Be16::new(port), protocol);
            self.machine.serve(frontend, service(), &[]);
            A::of_mut(&mut self.machine).services.insert(frontend, change(service()));
        }
    }

    /// The device's address, for masquerading.
    pub(crate) fn with_node_address<A: Cast>(mut self) -> Self {
        A::of_mut(&mut self.machine).masquerade = Some(node());
        self.machine.mark_node(node::<A>());
        self
    }

    /// Sends a packet through a hook, checks every checksum of what comes out.
    pub(crate) fn send<A: Cast>(&self, hook: Hook, packet: &UserPacket) -> (Decision, UserPacket) {
        let mut packet = packet.clone();
        let decision = self.machine.run::<A>(hook, &mut packet);
        if !matches!(decision, Decision::Drop(_)) {
            assert_eq!(check(&packet), Ok(()), "after {hook:?}: {packet:?}");
        }
        (decision, packet)
    }

    /// Sends a packet that must come out translated to exactly `expected`.
    #[track_caller]
    pub(crate) fn translates<A: Cast>(&self, hook: Hook, packet: &Build<A>, expected: &Build<A>) {
        let (decision, out) = self.send::<A>(hook, &packet.packet());
        assert_eq!(decision, Decision::Translated);
        assert_eq!(out, expected.packet());
    }

    /// Sends a packet that must be translated, whatever to.
    #[track_caller]
    pub(crate) fn translated<A: Cast>(&self, hook: Hook, packet: &UserPacket) -> UserPacket {
        let (decision, out) = self.send::<A>(hook, packet);
        assert_eq!(decision, Decision::Translated);
        out
    }

    /// Sends a packet that must go on as it is.
    #[track_caller]
    pub(crate) fn passes<A: Cast>(&self, hook: Hook, packet: &UserPacket) {
        let (decision, out) = self.send::<A>(hook, packet);
        assert_eq!(decision, Decision::Pass);
        assert_eq!(&out, packet);
    }

    /// Sends a packet that must be dropped, and counted so.
    #[track_caller]
    pub(crate) fn drops<A: Cast>(&mut self, hook: Hook, packet: &UserPacket, reason: DropReason) {
        let (decision, _) = self.send::<A>(hook, packet);
        assert_eq!(decision, Decision::Drop(reason));
        self.counted(&[(Counter::Drop(reason), 1)]);
    }

    /// Sends a packet that must be answered in its place, and counted so. Returns the answer.
    #[track_caller]
    pub(crate) fn refuses<A: Cast>(
        &mut self,
        packet: &UserPacket,
        reason: RejectReason,
    ) -> UserPacket {
        let (decision, answer) = self.send::<A>(Hook::Ingress, packet);
        assert_eq!(decision, Decision::SendBack(reason));
        self.counted(&[(Counter::Reject(reason), 1)]);
        answer
    }

    /// Since this was last asked, exactly these counters moved.
    #[track_caller]
    pub(crate) fn counted(&mut self, expected: &[(Counter, u64)]) {
        let now = self.machine.counters.borrow().clone();
        let moved = now.iter().zip(&self.counted).zip(0_u32..);
        let moved: BTreeMap<u32, u64> = moved
            .filter(|((now, before), _)| now != before)
            .map(|((now, before), index)| (index, now - before))
            .collect();
        let expected = expected.iter().map(|(counter, by)| (counter.index(), *by)).collect();
        assert_eq!(moved, expected);
        self.counted = now;
    }

    /// How many halves each table has: main ones at ingress and egress, then new ones.
    pub(crate) fn halves<A: FamilyOf>(&self) -> [usize; 4] {
        [FlowTable::Dst, FlowTable::Src, FlowTable::NewDst, FlowTable::NewSrc]
            .map(|table| A::of(&self.machine).table(table).borrow().len())
    }

    /// The half under a key.
    #[track_caller]
    pub(crate) fn half<A: FamilyOf>(
        &self,
        table: FlowTable,
        source: End<A>,
        destination: End<A>,
        protocol: Protocol,
    ) -> Flow<A> {
        let key = tuple(source, destination, protocol);
        let flows = A::of(&self.machine).table(table).borrow();
        *flows.get(&key).unwrap_or_else(|| panic!("{key:?} isn't in {table:?}: {flows:?}"))
    }
}

/// The Service of every frontend.
pub(crate) fn service() -> Service {
    Service {
        id: ServiceId::new(7),
        kind: FrontendKind::ClusterIp as u8,
        cluster: SlotRange::default(),
        ..Service::default()
    }
}

pub(crate) fn tuple<A: Address>(
    (source, source_port): End<A>,
    (destination, destination_port): End<A>,
    protocol: Protocol,
) -> Tuple<A> {
    Tuple::new(
        (source, Be16::new(source_port)),
        (destination, Be16::new(destination_port)),
        protocol,
    )
}

/// Source and destination port of a packet without extensions.
pub(crate) fn ports<A: Cast>(packet: &UserPacket) -> (u16, u16) {
    let at = packet.link_header + if A::WORDS == 1 { 20 } else { 40 };
    let port = |at: usize| u16::from_be_bytes([packet.bytes[at], packet.bytes[at + 1]]);
    (port(at), port(at + 2))
}

/// Tells each story for both families.
macro_rules! for_both_families {
    ($($story:ident)*) => {
        mod v4 {
            $(#[test] fn $story() { super::$story::<proxy_common::V4>(); })*
        }
        mod v6 {
            $(#[test] fn $story() { super::$story::<proxy_common::V6>(); })*
        }
    };
}
pub(crate) use for_both_families;
