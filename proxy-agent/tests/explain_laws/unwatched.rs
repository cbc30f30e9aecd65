//! The datapath over the same maps, as its own tests run it: nobody watches, nobody steers.

use std::net::SocketAddr;

use proxy_agent::explain::{Entry, Question, Verdict};
use proxy_common::{Be16, DeviceRole, FlowFlags, Protocol, Tuple, V4, V6};
use proxy_ebpf::{
    socket::{Socket, SocketVerdict, connect},
    transport::Hook,
    user::{
        FamilyOf, Machine, Wire,
        build::{sctp, tcp_syn, udp},
    },
    verdict::Decision,
};

/// Verdict, the reason for a reject or a drop, and where it went and whether masqueraded.
pub(crate) type Ran = (Verdict, Option<&'static str>, Option<(SocketAddr, bool)>);

pub(crate) fn run(question: &Question, machine: &Machine, seed: u64) -> Ran {
    machine.seed(seed);
    if question.to.is_ipv4() {
        run_in::<V4>(question, machine)
    } else {
        run_in::<V6>(question, machine)
    }
}

fn run_in<A: FamilyOf + Wire>(question: &Question, machine: &Machine) -> Ran {
    let ran = match question.entry {
        Entry::Node => call::<A>(question, machine),
        Entry::Pod | Entry::Outside => packet::<A>(question, machine),
    };
    // The next question is about a new connection again.
    let maps = A::of(machine);
    for table in [&maps.dst, &maps.src, &maps.new_dst, &maps.new_src] {
        table.borrow_mut().clear();
    }
    maps.affinity.borrow_mut().clear();
    maps.sockets.borrow_mut().clear();
    ran
}

fn part<A: FamilyOf>(end: SocketAddr) -> (A, u16) {
    (A::from_ip(end.ip()).unwrap(), end.port())
}

fn packet<A: FamilyOf + Wire>(question: &Question, machine: &Machine) -> Ran {
    machine.role.set(match question.entry {
        Entry::Outside => DeviceRole::Uplink,
        _ => DeviceRole::Workload,
    });
    let (source, to) = (part::<A>(question.source), part::<A>(question.to));
    let build = match question.protocol {
        Protocol::TCP => tcp_syn(source, to),
        Protocol::UDP => udp(source, to).data(b"anything"),
        _ => sctp(source, to),
    };
    let number = |(address, port): (A, u16)| (address, Be16::new(port));
    match machine.run::<A>(Hook::Ingress, &mut build.packet()) {
        Decision::Pass => (Verdict::Pass, None, None),
        Decision::Drop(reason) => (Verdict::Drop, Some(reason.name()), None),
        Decision::Reject(reason) | Decision::SendBack(reason) => {
            (Verdict::Reject, Some(reason.name()), None)
        }
        Decision::Translated => {
            let key = Tuple::new(number(source), number(to), question.protocol);
            let flow = A::of(machine).new_dst.borrow()[&key];
            let went = SocketAddr::new(flow.address.to_ip(), flow.port.get());
            let masquerade = flow.flags.contains(FlowFlags::MASQUERADED);
            (Verdict::Translate, None, Some((went, masquerade)))
        }
    }
}

struct Call<A> {
    peer: (A, Be16),
    translated: bool,
    protocol: Protocol,
    netns: u64,
}

impl<A: FamilyOf> Socket<A> for Call<A> {
    fn peer(&self) -> (A, Be16) {
        self.peer
    }

    fn set_peer(&mut self, address: A, port: Be16) {
        (self.peer, self.translated) = ((address, port), true);
    }

    fn protocol(&self) -> Protocol {
        self.protocol
    }

    fn cookie(&self) -> u64 {
        4711
    }

    fn netns_cookie(&self) -> u64 {
        self.netns
    }
}

fn call<A: FamilyOf>(question: &Question, machine: &Machine) -> Ran {
    let (address, port) = part::<A>(question.to);
    let mut call = Call {
        peer: (address, Be16::new(port)),
        translated: false,
        protocol: question.protocol,
        netns: machine.config.host_netns_cookie,
    };
    match connect(&mut call, machine) {
        SocketVerdict::Refuse(reason) => (Verdict::Reject, Some(reason.name()), None),
        SocketVerdict::TimeOut(reason) => (Verdict::Drop, Some(reason.name()), None),
        SocketVerdict::Allow if call.translated => {
            let went = SocketAddr::new(call.peer.0.to_ip(), call.peer.1.get());
            (Verdict::Translate, None, Some((went, false)))
        }
        SocketVerdict::Allow | SocketVerdict::InUse => (Verdict::Pass, None, None),
    }
}
