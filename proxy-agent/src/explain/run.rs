//! One run of the datapath's code: the packet or the call goes in, the ruling and the record come
//! out.
//!
//! Called by [`super::candidates`].

use proxy_common::{
    BackendFlags, Be16, DeviceRole, DropReason, FlowFlags, Protocol, RejectReason, Tuple,
};
use proxy_ebpf::{
    env::{FlowTable, Kernel, Maps},
    ingress::ingress,
    reject,
    socket::{Socket, SocketVerdict, connect, sendmsg},
    user::{
        FamilyOf, UserPacket, Wire,
        build::{End, sctp, tcp_syn, udp},
    },
    verdict::Decision,
};

use super::{
    question::Entry,
    recorder::{Asked, Recorder},
    source::Source,
};

/// What the datapath decided, on either path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ruling {
    /// To an endpoint.
    Translate,
    /// Refused with an answer.
    Reject(RejectReason),
    /// Dropped.
    Drop(DropReason),
    /// Goes on as it came.
    Pass,
}

impl From<Decision> for Ruling {
    fn from(decision: Decision) -> Self {
        match decision {
            Decision::Pass => Self::Pass,
            Decision::Translated => Self::Translate,
            Decision::Drop(reason) => Self::Drop(reason),
            Decision::Reject(reason) | Decision::SendBack(reason) => Self::Reject(reason),
        }
    }
}

/// Where the packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reached<A> {
    /// The endpoint.
    pub end: (A, Be16),
    /// Whether it is on this node.
    pub local: bool,
    /// Whether it sees another source.
    pub masquerade: bool,
}

/// What came of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome<A: FamilyOf> {
    /// What was decided.
    pub ruling: Ruling,
    /// Where the packet goes, if it is translated.
    pub reached: Option<Reached<A>>,
    /// What was asked on the way.
    pub record: Vec<Asked<A>>,
}

/// A question, both addresses in the datapath's types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask<A> {
    /// Where it enters.
    pub entry: Entry,
    /// The packet's tuple.
    pub tuple: Tuple<A>,
}

/// Which code decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// The programs at a device.
    Packet,
    /// The programs at connect() and sendmsg(), for a process of the node.
    NodeSocket,
    /// The same, for a process of a pod.
    PodSocket,
}

impl Path {
    /// The one that decides about what enters at `entry`.
    pub const fn of(entry: Entry) -> Self {
        match entry {
            Entry::Pod | Entry::Outside => Self::Packet,
            Entry::Node => Self::NodeSocket,
        }
    }
}

/// The role of the device that what enters at `entry` comes in by.
pub const fn role(entry: Entry) -> DeviceRole {
    match entry {
        Entry::Pod | Entry::Node => DeviceRole::Workload,
        Entry::Outside => DeviceRole::Uplink,
    }
}

/// Runs `packet` through the programs at ingress, in `env`, as `kernel/tc.rs` does.
pub fn decide<A, E>(env: &E, packet: &mut UserPacket) -> Decision
where
    A: FamilyOf,
    E: Maps<A> + Kernel,
{
    let at = packet.link_header;
    match ingress::<A, _, _>(packet, env, at).decision() {
        Decision::Reject(reason) => reject::answer::<A, _, _>(packet, env, at, reason).decision(),
        decision => decision,
    }
}

/// Asks on `path`, in the surroundings `recorder`.
pub fn run<A, S>(ask: &Ask<A>, path: Path, recorder: Recorder<'_, A, S>) -> Outcome<A>
where
    A: FamilyOf + Wire,
    S: Source<A>,
{
    let (ruling, went_to) = match path {
        Path::Packet => {
            let ruling = decide(&recorder, &mut first_packet(ask)).into();
            (ruling, None)
        }
        Path::NodeSocket | Path::PodSocket => call(ask, path, &recorder),
    };
    let record = recorder.into_record();
    let reached = (ruling == Ruling::Translate).then(|| reached(ask, went_to, &record)).flatten();
    Outcome { ruling, reached, record }
}

/// The first packet of a new connection.
fn first_packet<A: Wire>(ask: &Ask<A>) -> UserPacket {
    let tuple = &ask.tuple;
    let source: End<A> = (tuple.source, tuple.source_port.get());
    let destination: End<A> = (tuple.destination, tuple.destination_port.get());
    match tuple.protocol {
        Protocol::TCP => tcp_syn(source, destination),
        Protocol::UDP => udp(source, destination).data(b"?"),
        _ => sctp(source, destination),
    }
    .packet()
}

/// What the flow that was opened leads to, or what the call was led to.
fn reached<A: FamilyOf>(
    ask: &Ask<A>,
    went_to: Option<(A, Be16)>,
    record: &[Asked<A>],
) -> Option<Reached<A>> {
    let opened = record.iter().rev().find_map(|asked| match asked {
        Asked::Opened(FlowTable::NewDst, key, flow) if *key == ask.tuple => Some(flow),
        _ => None,
    });
    let end = went_to.or_else(|| opened.map(|flow| (flow.address, flow.port)))?;
    let local = record.iter().any(|asked| match asked {
        Asked::Backend(_, Some(backend)) => {
            (backend.address, backend.port) == end && backend.flags.contains(BackendFlags::LOCAL)
        }
        _ => false,
    });
    let masquerade = opened.is_some_and(|flow| flow.flags.contains(FlowFlags::MASQUERADED));
    Some(Reached { end, local, masquerade })
}

/// The cookie that sockets of pods' network namespaces have here: any but the node's.
fn pods_netns(nodes: u64) -> u64 {
    nodes.wrapping_add(1)
}

/// A socket that connects or sends for the first time.
struct Call<A> {
    asked_for: (A, Be16),
    led_to: Option<(A, Be16)>,
    protocol: Protocol,
    netns: u64,
}

impl<A: FamilyOf> Socket<A> for Call<A> {
    fn peer(&self) -> (A, Be16) {
        self.led_to.unwrap_or(self.asked_for)
    }

    fn set_peer(&mut self, address: A, port: Be16) {
        self.led_to = Some((address, port));
    }

    fn protocol(&self) -> Protocol {
        self.protocol
    }

    // No socket has it: the kernel counts from 1.
    fn cookie(&self) -> u64 {
        0
    }

    fn netns_cookie(&self) -> u64 {
        self.netns
    }
}

fn call<A, S>(
    ask: &Ask<A>,
    path: Path,
    recorder: &Recorder<'_, A, S>,
) -> (Ruling, Option<(A, Be16)>)
where
    A: FamilyOf,
    S: Source<A>,
{
    let nodes = recorder.config().map_or(0, |config| config.host_netns_cookie);
    let mut socket = Call {
        asked_for: (ask.tuple.destination, ask.tuple.destination_port),
        led_to: None,
        protocol: ask.tuple.protocol,
        netns: if path == Path::PodSocket { pods_netns(nodes) } else { nodes },
    };
    let verdict = match ask.tuple.protocol {
        // The first datagram of a socket that isn't connected; connect() decides alike.
        Protocol::UDP => sendmsg(&mut socket, recorder),
        _ => connect(&mut socket, recorder),
    };
    match verdict {
        SocketVerdict::Refuse(reason) => (Ruling::Reject(reason), None),
        SocketVerdict::TimeOut(reason) => (Ruling::Drop(reason), None),
        // Only bind() is told that.
        SocketVerdict::InUse => (Ruling::Pass, None),
        SocketVerdict::Allow if socket.led_to.is_none() => (Ruling::Pass, None),
        SocketVerdict::Allow => (Ruling::Translate, socket.led_to),
    }
}
