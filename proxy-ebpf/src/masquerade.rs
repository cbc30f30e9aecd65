//! Masquerade: where a packet goes out, its source becomes an address of the device it leaves by, so
//! that the answer comes back to this node. Ingress left word (a pending half); egress decides,
//! because only there the device is known.

use proxy_common::{
    Be16, Config, DropReason, Flow, FlowFlags, FlowKind, Protocol, ServiceId, Tuple,
};

use crate::{
    env::{FlowTable, Insert, Kernel, Maps},
    flow::{end_if_closed, fresh},
    network::Network,
    rewrite::Rewrite,
    transport::Hook,
    verdict::Verdict,
};

/// How many ports are tried before a flow is given up.
const PORT_ATTEMPTS: u32 = 8;

/// Decides the source of the pending half under `key`, into `found`: reserves a port at the device's address by
/// inserting the reply half, then replaces the pending half.
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
    let (Some(address), Some(config)) = (env.masquerade_address(), env.config()) else {
        return Verdict::drop(DropReason::NoMasqueradeAddress);
    };
    if config.masquerade_port_count == 0 && key.protocol != Protocol::SCTP {
        return Verdict::drop(DropReason::PortsExhausted);
    }
    // The packets that were recorded on the pending half are the flow's.
    let (service, packets, bytes) = env
        .with_flow(FlowTable::NewSrc, key, |flow: &mut Flow<A>| {
            (flow.service, flow.packets, flow.bytes)
        })
        .unwrap_or((ServiceId::NONE, 1, 0));
    let mut half = fresh(service, FlowKind::Masquerade, env.now());
    let mut reply_key = Tuple::new(
        (key.destination, key.destination_port),
        (address, key.source_port),
        key.protocol,
    );
    half.write((key.source, key.source_port, key.destination_port), FlowFlags::REPLY);
    for _ in 0..PORT_ATTEMPTS {
        // SCTP's checksum covers its ports: the client's own port or none.
        if key.protocol != Protocol::SCTP {
            reply_key.destination_port = masquerade_port(config, env.random());
        }
        if end_if_closed(env, Hook::Ingress, &reply_key)
            && env.insert_flow(FlowTable::NewDst, &reply_key, &half, Insert::Keep)
        {
            let port = reply_key.destination_port;
            half.write((address, port, key.destination_port), FlowFlags::empty());
            half.packets = packets;
            half.bytes = bytes;
            if !env.insert_flow(FlowTable::NewSrc, key, &half, Insert::Replace) {
                return Verdict::drop(DropReason::FlowTableFull);
            }
            *found = Rewrite { address, port, other_port: key.destination_port };
            return Verdict::TRANSLATED;
        }
        if key.protocol == Protocol::SCTP {
            break;
        }
    }
    Verdict::drop(DropReason::PortsExhausted)
}

/// A port of the masquerade range.
#[inline(always)]
fn masquerade_port(config: &Config, random: u32) -> Be16 {
    let pick = (u64::from(random) * u64::from(config.masquerade_port_count)) >> 32;
    #[expect(clippy::cast_possible_truncation, reason = "less than the count")]
    Be16::new(config.masquerade_port_base.wrapping_add(pick as u16))
}
