//! What is measured.

use std::{rc::Rc, time::Duration};

use anyhow::{Result, ensure};
use lab::kernel_run::{KernelFamily, KernelMachine, KernelVerdict, Sizes};
use proxy_common::{
    Be16, FilterBits, Flow, FlowFlags, Frontend, FrontendKind, Protocol, Service, ServiceId, Tuple,
    V4, V6,
    layout::{FLOWS_MAX, NEW_FLOWS_MAX, SERVICES_MAX},
};
use proxy_ebpf::{
    env::FlowTable,
    transport::Hook,
    user::{
        Machine, UserPacket,
        build::{End, tcp, tcp_syn, udp},
    },
};

use crate::yardstick::{Baseline, Yardstick};

/// What one case does.
enum Work {
    Baseline(Baseline),
    /// Runs the same packet again and again.
    Repeated(Rc<KernelMachine>, Hook, KernelVerdict),
    /// Runs a packet once, another one each time: what a program does only once to each.
    Once(Rc<KernelMachine>, KernelVerdict, fn(u16) -> UserPacket),
    /// An empty program, run once.
    EmptyOnce,
}

/// Something to measure.
pub(crate) struct Case {
    /// Its name in tables and JSON.
    pub(crate) name: &'static str,
    /// How many Services are programmed; `None` where that is of no interest.
    pub(crate) services: Option<u32>,
    /// Whether the program runs once for each packet and is to be compared with such a run.
    pub(crate) once: bool,
    work: Work,
    packet: UserPacket,
    yardstick: Rc<Yardstick>,
}

/// The name of the baseline that others are compared with.
pub(crate) const EMPTY: &str = "empty program";
/// The name of the unit.
pub(crate) const LOOKUP: &str = "one hash look-up";
/// The baseline of what runs once.
pub(crate) const EMPTY_ONCE: &str = "empty program, once";

impl Case {
    /// Nanoseconds of one run.
    pub(crate) fn measure(&self, round: u32, repeat: u32) -> Result<f64> {
        let bytes = &self.packet.bytes;
        let (verdict, expected, duration) = match &self.work {
            Work::Baseline(baseline) => {
                return Ok(nanoseconds(self.yardstick.time(*baseline, bytes, repeat)?));
            }
            Work::EmptyOnce => {
                return Ok(nanoseconds(self.yardstick.time(Baseline::Empty, bytes, 1)?));
            }
            Work::Repeated(machine, hook, expected) => {
                let (verdict, duration) = machine.time(*hook, &self.packet, repeat)?;
                (verdict, expected, duration)
            }
            Work::Once(machine, expected, packet) => {
                let port = u16::try_from(round % 60_000)? + 1024;
                let (verdict, duration) = machine.time(Hook::Ingress, &packet(port), 1)?;
                (verdict, expected, duration)
            }
        };
        ensure!(verdict == *expected, "{}: {verdict:?} instead of {expected:?}", self.name);
        Ok(nanoseconds(duration))
    }
}

fn nanoseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e9
}

fn client<A: KernelFamily>() -> End<A> {
    (A::address(1, 1), 40_000)
}

fn frontend<A: KernelFamily>() -> End<A> {
    (A::address(96, 1), 80)
}

fn backend<A: KernelFamily>() -> End<A> {
    (A::address(1, 9), 8080)
}

/// The node's own address. An endpoint in its network is there too, as they are on most nodes.
fn node<A: KernelFamily>() -> A {
    A::address(60, 1)
}

fn dead_frontend<A: KernelFamily>() -> End<A> {
    (A::address(96, 3), 80)
}

const PAYLOAD: [u8; 64] = [0x5a; 64];

fn data<A: KernelFamily>(from: End<A>, to: End<A>) -> UserPacket {
    tcp(from, to).ack().data(&PAYLOAD).packet()
}

/// All cases: the baselines, and the datapath with one Service, with 10,000 and with `services`.
pub(crate) fn all(services: u32) -> Result<Vec<Case>> {
    let packet = data::<V4>(client(), frontend());
    let yardstick = Rc::new(Yardstick::load(packet.bytes.len())?);
    let case = |name, work| Case {
        name,
        services: None,
        once: matches!(work, Work::EmptyOnce),
        work,
        packet: packet.clone(),
        yardstick: Rc::clone(&yardstick),
    };
    let mut cases = vec![
        case(EMPTY, Work::Baseline(Baseline::Empty)),
        case(LOOKUP, Work::Baseline(Baseline::OneLookup)),
        case(EMPTY_ONCE, Work::EmptyOnce),
    ];
    for count in [1, 10_000, services] {
        let machine = Rc::new(datapath(count)?);
        add::<V4>(&mut cases, &machine, count, &yardstick, &NAMES_V4);
        add::<V6>(&mut cases, &machine, count, &yardstick, &NAMES_V6);
    }
    Ok(cases)
}

/// Names of: no Service's at ingress and egress, to the node's own address as TCP and UDP, established ingress, reply egress, a new
/// connection, a refusal.
type Names = [&'static str; 8];

const NAMES_V4: Names = [
    "no Service's, ingress v4",
    "no Service's, egress v4",
    "to the node, TCP, ingress v4",
    "to the node, UDP, ingress v4",
    "established, ingress v4",
    "reply, egress v4",
    "new connection v4, once",
    "refusal v4, once",
];
const NAMES_V6: Names = [
    "no Service's, ingress v6",
    "no Service's, egress v6",
    "to the node, TCP, ingress v6",
    "to the node, UDP, ingress v6",
    "established, ingress v6",
    "reply, egress v6",
    "new connection v6, once",
    "refusal v6, once",
];

fn add<A: KernelFamily>(
    cases: &mut Vec<Case>,
    machine: &Rc<KernelMachine>,
    services: u32,
    yardstick: &Rc<Yardstick>,
    names: &Names,
) {
    let elsewhere = data((A::address(70, 1), 1), (A::address(70, 2), 2));
    let goes_on = KernelVerdict::GoesOn;
    let repeated = |hook| Work::Repeated(Rc::clone(machine), hook, goes_on);
    let new: fn(u16) -> UserPacket = |port| tcp_syn((client::<A>().0, port), frontend()).packet();
    let refused: fn(u16) -> UserPacket =
        |port| tcp_syn((client::<A>().0, port), dead_frontend()).packet();
    let works = [
        (repeated(Hook::Ingress), elsewhere.clone()),
        (repeated(Hook::Egress), elsewhere),
        (repeated(Hook::Ingress), data((A::address(70, 1), 1), (node::<A>(), 22))),
        (
            repeated(Hook::Ingress),
            udp((A::address(70, 1), 1), (node::<A>(), 4789)).data(&PAYLOAD).packet(),
        ),
        (repeated(Hook::Ingress), data::<A>(client(), frontend())),
        (repeated(Hook::Egress), data::<A>(backend(), client())),
        (Work::Once(Rc::clone(machine), goes_on, new), new(1)),
        (Work::Once(Rc::clone(machine), KernelVerdict::SentBack, refused), refused(1)),
    ];
    cases.extend(names.iter().zip(works).map(|(name, (work, packet))| Case {
        name,
        services: Some(services),
        once: matches!(work, Work::Once(..)),
        work,
        packet,
        yardstick: Rc::clone(yardstick),
    }));
}

/// The datapath with tables as they are shipped and this many Services of each family.
fn datapath(services: u32) -> Result<KernelMachine> {
    let sizes = Sizes { services: SERVICES_MAX, flows: FLOWS_MAX, others: NEW_FLOWS_MAX };
    let mut kernel = KernelMachine::load(sizes)?;
    let mut machine = Machine::default();
    serve::<V4>(&mut machine, services);
    serve::<V6>(&mut machine, services);
    kernel.program::<V4>(&machine)?;
    kernel.program::<V6>(&machine)?;
    put_flows::<V4>(&mut kernel)?;
    put_flows::<V6>(&mut kernel)?;
    Ok(kernel)
}

fn serve<A: KernelFamily>(machine: &mut Machine, services: u32) {
    let tcp_frontend =
        |(address, port): End<A>| Frontend::new(address, Be16::new(port), Protocol::TCP);
    let kind = FrontendKind::ClusterIp as u8;
    let service = |id| Service { id: ServiceId::new(id), kind, ..Service::default() };
    machine.serve(tcp_frontend(dead_frontend()), service(2), &[]);
    machine.serve(tcp_frontend(frontend()), service(1), &[backend()]);
    for id in 3..services {
        let [_, net, host, port] = id.to_be_bytes();
        let end = (A::address(97 + net, host), 1000 + u16::from(port));
        machine.serve(tcp_frontend(end), service(id), &[]);
    }
    machine.mark_node(node::<A>());
    let node_port = Service { kind: FrontendKind::NodePort as u8, ..service(services + 3) };
    machine.serve(tcp_frontend((node(), 30_080)), node_port, &[(node(), 9100)]);
    // For the flows that go both ways.
    machine.mark(backend::<A>().0, FilterBits::FRONTEND);
    machine.mark(frontend::<A>().0, FilterBits::BACKEND);
    machine.mark_port(Be16::new(frontend::<A>().1), Protocol::TCP, FilterBits::BACKEND);
}

/// A packet is not restored between runs, so two flows hand it to each other: what one makes of it
/// is the other one's. Each run is a translation like any other.
fn put_flows<A: KernelFamily>(kernel: &mut KernelMachine) -> Result<()> {
    for (there, back) in [(frontend::<A>(), backend()), (backend(), frontend())] {
        put(kernel, FlowTable::Dst, (client(), there), back)?;
        put(kernel, FlowTable::Src, (there, client()), back)?;
    }
    Ok(())
}

/// Puts half a settled flow under the key (source, destination), which writes `new`.
fn put<A: KernelFamily>(
    kernel: &mut KernelMachine,
    table: FlowTable,
    (source, destination): (End<A>, End<A>),
    new: End<A>,
) -> Result<()> {
    let end = |(address, port): End<A>| (address, Be16::new(port));
    let key = Tuple::new(end(source), end(destination), Protocol::TCP);
    let mut flow: Flow<A> = bytemuck::Zeroable::zeroed();
    let ((address, port), (_, other)) = (end(new), end(client()));
    flow.write((address, port, other), FlowFlags::ANSWERED);
    let mut flows = kernel.hash::<Tuple<A>, Flow<A>>(A::flows(table))?;
    flows.insert(lab::kernel_run::Raw(key), lab::kernel_run::Raw(flow), 0)?;
    Ok(())
}
