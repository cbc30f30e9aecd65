//! Nothing leaves half translated, whatever is sent, evicted or full: an endpoint on another node sees
//! this node and never the client, and the client sees the frontend and never the endpoint.

use proptest::{
    collection::vec,
    prelude::{Just, Strategy, any, prop_oneof, proptest},
    sample::Index,
};
use proxy_common::{ServiceFlags, Tuple};
use proxy_ebpf::{
    env::FlowTable,
    transport::Hook::{Egress, Ingress},
    user::{
        UserPacket,
        build::{Build, End, tcp, tcp_syn, udp},
    },
    verdict::Decision,
};

use crate::{
    edge::{away, here, load_balancer, node_port, outside},
    stage::{Cast, Stage, for_both_families, node, ports},
};

for_both_families! {
    nothing_leaves_half_translated
}

/// What a packet is apart from its ends.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Syn,
    SynAck,
    Ack,
    Data,
    Fin,
    Rst,
    Datagram,
}

impl Kind {
    fn packet<A: Cast>(self, from: End<A>, to: End<A>) -> Build<A> {
        match self {
            Self::Syn => tcp_syn(from, to),
            Self::SynAck => tcp_syn(from, to).ack(),
            Self::Ack => tcp(from, to).ack(),
            Self::Data => tcp(from, to).ack().data(&[1; 200]),
            Self::Fin => tcp(from, to).fin().ack(),
            Self::Rst => tcp(from, to).rst(),
            Self::Datagram => udp(from, to).data(&[2; 100]),
        }
    }
}

/// What happens next.
#[derive(Clone, Debug)]
enum Event {
    /// A client (one of three) sends to a frontend (one of two).
    Asks(u8, bool, Kind),
    /// An endpoint answers to somebody that it has seen.
    Answers(Index, Kind),
    /// A flood evicts a new half.
    Evicted(bool, Index),
    /// The main tables hold as many flows.
    Room(usize),
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        3 => Just(Kind::Syn),
        2 => Just(Kind::SynAck),
        3 => Just(Kind::Ack),
        3 => Just(Kind::Data),
        1 => Just(Kind::Fin),
        1 => Just(Kind::Rst),
        4 => Just(Kind::Datagram),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        8 => (0..3_u8, any::<bool>(), kind()).prop_map(|(who, to, kind)| Event::Asks(who, to, kind)),
        6 => (any::<Index>(), kind()).prop_map(|(whom, kind)| Event::Answers(whom, kind)),
        2 => (any::<bool>(), any::<Index>()).prop_map(|(table, which)| Event::Evicted(table, which)),
        1 => prop_oneof![Just(0), Just(1), Just(2), Just(3), Just(usize::MAX)].prop_map(Event::Room),
    ]
}

/// A machine, and whom the endpoints have seen: (endpoint, seen).
struct Scene<A: Cast> {
    stage: Stage,
    seen: Vec<(End<A>, End<A>)>,
}

/// Both ends of a packet without extensions.
fn ends<A: Cast>(packet: &UserPacket) -> (End<A>, End<A>) {
    let size = size_of::<A>();
    let at = packet.link_header + if size == 4 { 12 } else { 8 };
    let address = |at: usize| bytemuck::pod_read_unaligned(&packet.bytes[at..at + size]);
    let (source, destination) = ports::<A>(packet);
    ((address(at), source), (address(at + size), destination))
}

impl<A: Cast> Scene<A> {
    /// A packet that was translated at ingress leaves, or is dropped: what leaves.
    fn leaves(&self, packet: &UserPacket) -> Option<(End<A>, End<A>)> {
        match self.stage.send::<A>(Egress, packet) {
            (Decision::Drop(_), _) => None,
            (_, out) => Some(ends(&out)),
        }
    }

    fn happens(&mut self, event: &Event) {
        match event {
            Event::Asks(who, to_node_port, kind) => {
                let client = (outside::<A>().0, 50_000 + u16::from(*who));
                let frontend = if *to_node_port { node_port() } else { load_balancer::<A>() };
                let packet = kind.packet(client, frontend).packet();
                let (decision, inside) = self.stage.send::<A>(Ingress, &packet);
                if decision != Decision::Translated {
                    assert!(!matches!(decision, Decision::Pass), "{kind:?} passes untranslated");
                    return;
                }
                let Some((source, endpoint)) = self.leaves(&inside) else { return };
                if endpoint.0 == away::<A>().0 {
                    assert_eq!(source.0, node(), "{kind:?} leaves with its client's address");
                }
                self.seen.push((endpoint, source));
            }
            Event::Answers(whom, kind) => {
                if self.seen.is_empty() {
                    return;
                }
                let (endpoint, seen) = *whom.get(&self.seen);
                let packet = kind.packet(endpoint, seen).packet();
                let (decision, inside) = self.stage.send::<A>(Ingress, &packet);
                if seen.0 == node() && decision == Decision::Translated {
                    let Some((source, client)) = self.leaves(&inside) else { return };
                    assert_eq!(client.0, outside::<A>().0);
                    let frontends = [node_port(), load_balancer()];
                    assert!(frontends.contains(&source), "{kind:?} shows {source:?}");
                }
            }
            Event::Evicted(at_ingress, which) => {
                let table = if *at_ingress { FlowTable::NewDst } else { FlowTable::NewSrc };
                let mut flows = A::of(&self.stage.machine).table(table).borrow_mut();
                let mut keys: Vec<Tuple<A>> = flows.keys().copied().collect();
                keys.sort_unstable();
                if !keys.is_empty() {
                    flows.remove(which.get(&keys));
                }
            }
            Event::Room(flows) => A::of_mut(&mut self.stage.machine).flows_max = *flows,
        }
    }
}

fn nothing_leaves_half_translated<A: Cast>() {
    proptest!(|(events in vec(event(), 0..60), remote in any::<bool>())| {
        let endpoints = if remote { vec![away::<A>()] } else { vec![away(), here()] };
        let stage = Stage::edge_with::<A>(ServiceFlags::empty(), &endpoints);
        stage.at_uplink();
        let mut scene = Scene::<A> { stage: stage.with_masquerade_ports(3), seen: Vec::new() };
        for event in &events {
            scene.happens(event);
        }
    });
}
