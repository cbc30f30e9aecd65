//! Masquerade: where a packet goes out, its source becomes an address of the device it leaves by, so
//! that the answer comes back to this node. Ingress decides whether ([`is_needed`]) and leaves word (a
//! pending half); egress decides as what ([`resolve`]), because only there the device is known.

use proxy_common::{
    BackendFlags, Be16, Config, ConfigOptions, DeviceRole, DropReason, Flow, FlowFlags, FlowKind,
    Frontend, Nanoseconds, Protocol, Service, ServiceFlags, ServiceId, Tuple,
};

use crate::{
    env::{FlowTable, Insert, Kernel, Maps},
    flow::{end_if_closed, fresh},
    lookup,
    network::Network,
    rewrite::Rewrite,
    select,
    transport::Hook,
    verdict::Verdict,
};

/// How many ports are tried before one is taken from a new flow, or the packet is given up: the client's
/// own ([`usual_port`]), then any. Of a range that is nine tenths full, one flow in three finds none so,
/// and its opener tries again.
pub const PORT_ATTEMPTS: u32 = 10;

/// How many of them are passed over for a flow that has ended. To the endpoint its connection may be in
/// TIME-WAIT for a minute (RFC 9293 §3.6.1), and a SYN of another client at the same port look like an
/// old duplicate of it.
const UNUSED_ATTEMPTS: u32 = 5;

/// Whether the packets of a new flow need another source where they go out. Nobody else decides this.
///
/// - A client that is its own endpoint would refuse a packet from itself.
/// - A ClusterIP's clients are masqueraded where the operator wants all of them to be.
/// - What came in from outside and leaves for another node has to come back through this one, which
///   alone can undo the translation. A policy of `Local` promises the client's address; its
///   endpoints are here.
#[inline(always)]
#[must_use]
pub fn is_needed(
    service: &Service,
    role: DeviceRole,
    backend: BackendFlags,
    is_client: bool,
    options: ConfigOptions,
) -> bool {
    if is_client {
        return true;
    }
    let at_cluster_ip = lookup::at_cluster_ip(service);
    if at_cluster_ip && options.contains(ConfigOptions::MASQUERADE_ALL) {
        return true;
    }
    let keeps_client = service.flags.contains(ServiceFlags::LOCAL_ONLY) && !at_cluster_ip;
    role as u8 == DeviceRole::Uplink as u8
        && !backend.contains(BackendFlags::LOCAL)
        && !keeps_client
}

/// Decides the source of the pending half under `key`, into `found`: reserves a port at the device's address by
/// inserting the reply half, then replaces the pending half. Where every port that is tried has a flow,
/// the longest unseen one among the new flows makes room.
///
/// Concurrency: two CPUs may decide for two packets of one flow at the same time. Each reserves a
/// port of its own, the later one's half stays, and answers to both ports find the client; the half
/// nobody refers to expires.
#[inline(never)]
pub fn resolve<A, E>(env: &E, key: &Tuple<A>, found: &mut Rewrite<A>) -> Verdict
where
    A: Network,
    E: Maps<A> + Kernel,
{
    // verifier: one question at a time. The payload of an absent address would be copied around.
    let Some(config) = env.config() else {
        return Verdict::drop(DropReason::NoMasqueradeAddress);
    };
    if config.options.contains(ConfigOptions::HOLD_OPENING) {
        return Verdict::drop(DropReason::FlowTableMoving);
    }
    let Some(address) = env.masquerade_address() else {
        return Verdict::drop(DropReason::NoMasqueradeAddress);
    };
    // SCTP's checksum covers its ports: the client's own port or none.
    let keeps_port = key.protocol == Protocol::SCTP;
    if config.masquerade_port_count == 0 && !keeps_port {
        return Verdict::drop(DropReason::MasqueradePortsExhausted);
    }
    // verifier: what is known goes where it belongs before anything is called, for less stack than to
    // keep it meanwhile.
    let mut reply_key = Tuple::new(
        (key.destination, key.destination_port),
        (address, key.source_port),
        key.protocol,
    );
    let mut half = fresh(ServiceId::NONE, FlowKind::Masquerade, env.now());
    env.with_flow(FlowTable::NewSrc, key, |flow: &mut Flow<A>| {
        half.service = flow.service;
        half.backend = flow.backend;
    });
    half.write((key.source, key.source_port, key.destination_port), FlowFlags::REPLY);
    let mut oldest = Nanoseconds::new(u64::MAX);
    let mut oldests_port = Be16::ZERO;
    let mut reserved = false;
    if !keeps_port {
        reply_key.destination_port = usual_port(config, &key.source, key.source_port);
    }
    for attempt in 0..PORT_ATTEMPTS {
        let unused = attempt < UNUSED_ATTEMPTS && !keeps_port;
        if is_free(env, &reply_key) && is_flowless(env, &reply_key, unused) {
            if env.insert_flow(FlowTable::NewDst, &reply_key, &half, Insert::Keep) {
                reserved = true;
                break;
            }
            let last_seen = env.with_flow(FlowTable::NewDst, &reply_key, |flow| flow.last_seen);
            if let Some(last_seen) = last_seen
                && last_seen < oldest
            {
                oldest = last_seen;
                oldests_port = reply_key.destination_port;
            }
        }
        if keeps_port {
            break;
        }
        reply_key.destination_port = any_port(config, env.random());
    }
    if !reserved {
        if keeps_port || oldests_port == Be16::ZERO {
            return Verdict::drop(DropReason::MasqueradePortsExhausted);
        }
        reply_key.destination_port = oldests_port;
        evict(env, &reply_key);
        if !env.insert_flow(FlowTable::NewDst, &reply_key, &half, Insert::Replace) {
            return Verdict::drop(DropReason::FlowTableFull);
        }
    }
    half.write(
        (reply_key.destination, reply_key.destination_port, key.destination_port),
        FlowFlags::empty(),
    );
    // The packets that were recorded on the pending half are the flow's.
    // verifier: read only now, for less stack than to keep them.
    env.with_flow(FlowTable::NewSrc, key, |flow: &mut Flow<A>| {
        half.packets = flow.packets;
        half.bytes = flow.bytes;
    });
    if !env.insert_flow(FlowTable::NewSrc, key, &half, Insert::Replace) {
        env.remove_flow(FlowTable::NewDst, &reply_key);
        return Verdict::drop(DropReason::FlowTableFull);
    }
    *found = Rewrite::of(&half);
    Verdict::TRANSLATED
}

/// Takes its port from the new flow whose reply half is under `reply_key`: there are fewer ports than
/// new flows that a flood opens, and it is not to keep others out. A flow that is settled keeps its own.
/// Where the other flow is more than a flood's, its next packet finds another port.
#[inline(never)]
fn evict<A, E>(env: &E, reply_key: &Tuple<A>)
where
    A: Network,
    E: Maps<A>,
{
    let key = env.with_flow(FlowTable::NewDst, reply_key, |flow| flow.src_key(reply_key));
    if let Some(key) = key {
        env.remove_flow(FlowTable::NewSrc, &key);
    }
}

/// Whether neither a Service nor a process of the node waits for packets with `reply_key` as their
/// tuple. Flows aren't asked about.
///
/// An SCTP client keeps its port, so there is no choice to make; its packets are told apart by the
/// other end alone.
#[inline(never)]
fn is_free<A, E>(env: &E, reply_key: &Tuple<A>) -> bool
where
    A: Network,
    E: Maps<A>,
{
    let Tuple { destination_port: port, protocol, .. } = *reply_key;
    protocol == Protocol::SCTP
        || (env.service(&Frontend::node_port_marker(port, protocol)).is_none()
            && !env.has_socket(reply_key))
}

/// Whether no settled flow has the port of `reply_key`: none at all (`unused`), or one that has ended and
/// goes now.
#[inline(always)]
fn is_flowless<A, E>(env: &E, reply_key: &Tuple<A>, unused: bool) -> bool
where
    A: Network,
    E: Maps<A>,
{
    if unused {
        env.with_flow(FlowTable::Dst, reply_key, |_| ()).is_none()
    } else {
        end_if_closed(env, Hook::Ingress, reply_key)
    }
}

/// The port of the masquerade range that is tried first for this client: the same whenever it comes by
/// the same port. So an endpoint that still has the last connection of these two ports (TIME-WAIT) meets
/// the sequence numbers and timestamps of the very client that had it, later than those it knows, and
/// takes the new one (RFC 6191), as it does without a masquerade.
///
/// Two ports of a client share one only where they must. Linux hands out the even ones of its range to
/// connect() before any odd one: so the lowest bit goes last, and those 14,116 are neighbours.
///
/// Who wants to guess the port has to know the client's, which is as random as the client made it
/// (RFC 6056).
#[inline(never)]
#[must_use]
pub fn usual_port<A: Network>(config: &Config, client: &A, port: Be16) -> Be16 {
    let place = u32::from(port.get().rotate_right(1));
    let start = select::hash_of_client(*client, Be16::ZERO, Protocol::TCP) >> 8;
    let count = u32::from(config.masquerade_port_count);
    // A range without ports has been asked about before.
    let pick = (start + place).checked_rem(count).unwrap_or(0);
    at_place(config, pick)
}

/// A port of the masquerade range.
#[inline(always)]
fn any_port(config: &Config, random: u32) -> Be16 {
    let pick = (u64::from(random) * u64::from(config.masquerade_port_count)) >> 32;
    at_place(config, pick as u32)
}

/// The port at a place of the masquerade range.
#[inline(always)]
fn at_place(config: &Config, place: u32) -> Be16 {
    #[expect(clippy::cast_possible_truncation, reason = "less than the count")]
    Be16::new(config.masquerade_port_base.wrapping_add(place as u16))
}
