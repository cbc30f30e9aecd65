//! A flow as it is shown, made of its halves. Pure.

use proxy_common::{Flow, FlowFlags, FlowKind, Tuple};
use serde::Serialize;

use super::Look;
use crate::{
    cli::{
        shown::{End, Name},
        view::protocol,
    },
    datapath::tables::Family,
    flows::{
        expiry,
        pair::{Generation, Half, State, in_order},
    },
};

/// A flow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(in crate::cli) struct Row {
    /// `tcp`, `udp`, `sctp`, `icmp`, …
    pub(in crate::cli) protocol: String,
    /// `service`; `direct` for a flow of no Service that has to be kept apart from one;
    /// `masquerade` for the stretch from this node to the endpoint of a flow that is gone.
    pub(in crate::cli) kind: &'static str,
    /// The Service port; null when its name is not in the maps, or there is none.
    pub(in crate::cli) service: Option<Name>,
    /// The Service port's number; 0 when there is none.
    pub(in crate::cli) service_id: u32,
    /// Who opened the flow.
    pub(in crate::cli) client: End,
    /// Where the client sent to; null for a masqueraded stretch.
    pub(in crate::cli) frontend: Option<End>,
    /// Who answers.
    pub(in crate::cli) endpoint: End,
    /// What the endpoint sees as the source, where that isn't `client`.
    pub(in crate::cli) source: Option<End>,
    /// What the flow is masqueraded to; null when it isn't.
    pub(in crate::cli) masquerade: Option<End>,
    /// `unanswered`, `syn-received`, `established`, `close-wait`, `time-wait`, `reset`.
    pub(in crate::cli) state: State,
    /// Whether the flow is in the main tables, where nothing is evicted.
    pub(in crate::cli) settled: bool,
    /// Seconds since it was opened.
    pub(in crate::cli) age_seconds: u32,
    /// Seconds since its last packet.
    pub(in crate::cli) idle_seconds: u32,
    /// Seconds until it is over if no packet comes; null when no agent can be asked: nobody else
    /// ends flows.
    pub(in crate::cli) expires_seconds: Option<u64>,
    /// Packets each way, GSO packets counted once.
    pub(in crate::cli) packets: Ways,
    /// Bytes each way, from the network header on.
    pub(in crate::cli) bytes: Ways,
}

/// A number for each way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(in crate::cli) struct Ways {
    /// From the client.
    pub(in crate::cli) forward: u64,
    /// To the client.
    pub(in crate::cli) reply: u64,
}

/// The halves of a flow.
pub(super) struct Halves<'a, A: Family> {
    /// The key of the half at ingress.
    pub(super) key: &'a Tuple<A>,
    /// The half at ingress.
    pub(super) dst: &'a Flow<A>,
    /// The half at egress.
    pub(super) src: &'a Flow<A>,
    /// What lies at egress on the way to the endpoint: what masquerades the flow, if it is.
    pub(super) stretch: Option<&'a Flow<A>>,
}

pub(super) fn row<A: Family>(halves: &Halves<'_, A>, generation: Generation, look: &Look) -> Row {
    let Halves { key, dst, src, .. } = *halves;
    let is_reply = dst.flags.contains(FlowFlags::REPLY);
    let (forward_flow, reply_flow) = if is_reply { (src, dst) } else { (dst, src) };
    let (forward, back) = in_order(Half::from(dst), Half::from(src));
    let state = State::of(key.protocol, generation, &forward, &back);
    let idle = expiry::idle(forward.last_seen.max(back.last_seen), look.now);
    let expires = look.timeouts.map(|timeouts| {
        expiry::timeout(key.protocol, state, &timeouts).saturating_sub(idle).as_secs()
    });
    let ends = ends(halves, is_reply);
    Row {
        protocol: protocol(key.protocol),
        kind: kind(dst.kind),
        service: look.names.get(&dst.service).cloned(),
        service_id: dst.service.get(),
        client: ends.client,
        frontend: ends.frontend,
        endpoint: ends.endpoint,
        source: ends.source,
        masquerade: ends.masquerade,
        state,
        settled: generation == Generation::Settled,
        age_seconds: look.now.seconds_since(forward.created).get(),
        idle_seconds: u32::try_from(idle.as_secs()).unwrap_or(u32::MAX),
        expires_seconds: expires,
        packets: Ways { forward: forward_flow.packets, reply: reply_flow.packets },
        bytes: Ways { forward: forward_flow.bytes, reply: reply_flow.bytes },
    }
}

struct Ends {
    client: End,
    frontend: Option<End>,
    endpoint: End,
    source: Option<End>,
    masquerade: Option<End>,
}

fn ends<A: Family>(halves: &Halves<'_, A>, is_reply: bool) -> Ends {
    let Halves { key, dst, stretch, .. } = *halves;
    let from = End::new(key.source, key.source_port);
    let to = End::new(key.destination, key.destination_port);
    let written = End::new(dst.address, dst.port);
    if is_reply {
        // Of a masqueraded stretch, the way of the answers is the one at ingress.
        let (client, endpoint) = (written, from);
        return Ends { client, frontend: None, endpoint, source: Some(to), masquerade: Some(to) };
    }
    let masquerade = stretch
        .filter(|stretch| {
            stretch.kind == FlowKind::Masquerade as u8
                && !stretch.flags.contains(FlowFlags::PENDING)
                && dst.flags.contains(FlowFlags::MASQUERADED)
        })
        .map(|stretch| End::new(stretch.address, stretch.port));
    let seen = End::new(key.source, dst.other_port);
    Ends {
        client: from,
        frontend: Some(to),
        endpoint: written,
        source: masquerade.or((seen != from).then_some(seen)),
        masquerade,
    }
}

fn kind(number: u8) -> &'static str {
    match number {
        n if n == FlowKind::Direct as u8 => "direct",
        n if n == FlowKind::Masquerade as u8 => "masquerade",
        _ => "service",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bytemuck::Zeroable;
    use proxy_common::{Be16, Flow, FlowFlags, FlowKind, Nanoseconds, Protocol, Tuple, V4};

    use super::{Halves, Look, Row, row};
    use crate::flows::{Timeouts, pair::Generation};

    fn end(text: &str) -> (V4, Be16) {
        let address: std::net::SocketAddrV4 = text.parse().unwrap();
        (V4::new(address.ip().octets()), Be16::new(address.port()))
    }

    fn writes(text: &str, other_port: u16, flags: FlowFlags) -> Flow<V4> {
        let (address, port) = end(text);
        let mut flow = Flow { last_seen: Nanoseconds::new(1_000_000_000), ..Flow::zeroed() };
        flow.write((address, port, Be16::new(other_port)), flags);
        flow
    }

    /// A UDP flow of 192.0.2.9:5000 to 192.0.2.1:30053, answered and seen at second 1.
    fn shown(flags: FlowFlags, stretch: Option<Flow<V4>>, timeouts: Option<Timeouts>) -> Row {
        let key = Tuple::new(end("192.0.2.9:5000"), end("192.0.2.1:30053"), Protocol::UDP);
        let answered = flags.union(FlowFlags::ANSWERED);
        let dst = writes("10.1.0.1:53", 5000, answered);
        let src = writes("192.0.2.1:30053", 5000, FlowFlags::REPLY.union(FlowFlags::ANSWERED));
        let look = Look { names: BTreeMap::new(), now: Nanoseconds::new(11_000_000_000), timeouts };
        let halves = Halves { key: &key, dst: &dst, src: &src, stretch: stretch.as_ref() };
        row(&halves, Generation::Settled, &look)
    }

    #[test]
    fn a_flow_shows_both_of_its_addresses_and_when_it_is_over() {
        let row = shown(FlowFlags::empty(), None, Some(Timeouts::default()));
        assert_eq!(row.client.to_string(), "192.0.2.9:5000");
        assert_eq!(row.frontend.unwrap().to_string(), "192.0.2.1:30053");
        assert_eq!(row.endpoint.to_string(), "10.1.0.1:53");
        assert_eq!((row.source, row.masquerade), (None, None));
        assert_eq!((row.idle_seconds, row.expires_seconds), (10, Some(170)));
    }

    #[test]
    fn without_an_agent_no_flow_expires() {
        assert_eq!(shown(FlowFlags::empty(), None, None).expires_seconds, None);
    }

    #[test]
    fn a_masqueraded_flow_shows_what_the_endpoint_sees() {
        let stretch = Flow {
            kind: FlowKind::Masquerade as u8,
            ..writes("192.0.2.1:61000", 53, FlowFlags::ANSWERED)
        };
        let row = shown(FlowFlags::MASQUERADED, Some(stretch), None);
        assert_eq!(row.masquerade.unwrap().to_string(), "192.0.2.1:61000");
        assert_eq!(row.source, row.masquerade);
        let pending = Flow { flags: FlowFlags::PENDING, ..stretch };
        assert_eq!(shown(FlowFlags::MASQUERADED, Some(pending), None).masquerade, None);
    }
}
