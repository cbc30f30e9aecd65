//! `sluice flows`: connections of the packet path, both halves together.
//!
//! JSON: a list of [`Row`].

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
};

use proxy_common::{Flow, FlowFlags, FlowKind, Nanoseconds, ServiceId, Tuple, V4, V6};
use serde::Serialize;

use super::{
    CliError, ReadArgs, installed_maps,
    output::{duration, lines, show, table},
    view::{End, Name, View, name_or_id, protocol},
};
use crate::{
    datapath::{
        map::Map,
        tables::{Family, Flows},
    },
    flows::pair::{Generation, Half, State, in_order},
    host::clock,
};

/// A flow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Row {
    /// `tcp`, `udp`, `sctp`, `icmp`, …
    protocol: String,
    /// `service`; `masquerade` for the stretch from this node to the endpoint; `direct` for a flow
    /// of no Service that has to be kept apart from one.
    kind: &'static str,
    /// The Service port; null when its name is not in the maps, or there is none.
    service: Option<Name>,
    /// The Service port's number; 0 when there is none.
    service_id: u32,
    /// Who opened the flow.
    client: End,
    /// Where the client sent to; null for a masqueraded stretch.
    frontend: Option<End>,
    /// Who answers.
    endpoint: End,
    /// What the endpoint sees as the source, where that isn't `client`.
    source: Option<End>,
    /// `unanswered`, `syn-received`, `established`, `close-wait`, `time-wait`, `reset`.
    state: State,
    /// Seconds since it was opened.
    age_seconds: u32,
    /// Seconds since its last packet.
    idle_seconds: u32,
    /// Packets each way, GSO packets counted once.
    packets: Ways,
    /// Bytes each way, from the network header on.
    bytes: Ways,
}

/// A number for each way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
struct Ways {
    /// From the client.
    forward: u64,
    /// To the client.
    reply: u64,
}

pub(super) fn run(args: &ReadArgs) -> Result<(), CliError> {
    let maps = installed_maps(&args.pins.pins()?)?;
    let names = View::open(&maps)?.names()?;
    let now = clock::now();
    let mut rows = Vec::new();
    collect::<V4>(&maps, &names, now, &mut rows)?;
    collect::<V6>(&maps, &names, now, &mut rows)?;
    rows.sort_by_key(|row| (row.client, row.frontend, row.endpoint, row.protocol.clone()));
    show(args.output, &rows, |rows| text(rows))
}

type Names = BTreeMap<ServiceId, Name>;
type Table<A> = Map<Tuple<A>, Flow<A>>;

fn collect<A: Family>(
    maps: &Path,
    names: &Names,
    now: Nanoseconds,
    rows: &mut Vec<Row>,
) -> Result<(), CliError> {
    let tables = Flows::<A>::open(maps)?;
    let look = |generation| Look { generation, names, now };
    collect_pair(&tables.dst, &tables.src, &look(Generation::Settled), rows)?;
    collect_pair(&tables.new_dst, &tables.new_src, &look(Generation::New), rows)
}

/// What a row needs beside the flow itself.
struct Look<'a> {
    generation: Generation,
    names: &'a Names,
    now: Nanoseconds,
}

fn collect_pair<A: Family>(
    dst: &Table<A>,
    src: &Table<A>,
    look: &Look<'_>,
    rows: &mut Vec<Row>,
) -> Result<(), CliError> {
    let replies: HashMap<Tuple<A>, Flow<A>> = src.entries()?.into_iter().collect();
    dst.for_each(|key, flow| {
        // A half alone is a flow that is just coming or going.
        if let Some(other) = replies.get(&flow.src_key(&key)) {
            rows.push(row(&key, &flow, other, look));
        }
    })?;
    Ok(())
}

fn row<A: Family>(key: &Tuple<A>, dst: &Flow<A>, src: &Flow<A>, look: &Look<'_>) -> Row {
    let reply = dst.flags.contains(FlowFlags::REPLY);
    let (forward_flow, reply_flow) = if reply { (src, dst) } else { (dst, src) };
    let (forward, back) = in_order(Half::from(dst), Half::from(src));
    let wire =
        (End::new(key.source, key.source_port), End::new(key.destination, key.destination_port));
    let written = End::new(dst.address, dst.port);
    let seen = End::new(key.source, dst.other_port);
    let masquerade = dst.kind == FlowKind::Masquerade as u8;
    let (client, frontend, endpoint, source) = if reply {
        (written, None, wire.0, Some(wire.1))
    } else {
        (wire.0, (!masquerade).then_some(wire.1), written, (seen != wire.0).then_some(seen))
    };
    Row {
        protocol: protocol(key.protocol),
        kind: kind(dst.kind),
        service: look.names.get(&dst.service).cloned(),
        service_id: dst.service.get(),
        client,
        frontend,
        endpoint,
        source,
        state: State::of(key.protocol, look.generation, &forward, &back),
        age_seconds: look.now.seconds_since(forward.created).get(),
        idle_seconds: look.now.seconds_since(forward.last_seen.max(back.last_seen)).get(),
        packets: Ways { forward: forward_flow.packets, reply: reply_flow.packets },
        bytes: Ways { forward: forward_flow.bytes, reply: reply_flow.bytes },
    }
}

fn kind(number: u8) -> &'static str {
    match number {
        n if n == FlowKind::Direct as u8 => "direct",
        n if n == FlowKind::Masquerade as u8 => "masquerade",
        _ => "service",
    }
}

fn text(rows: &[Row]) -> String {
    if rows.is_empty() {
        return "No flow is open on the packet path.".into();
    }
    let mut table = table([
        "PROTOCOL", "CLIENT", "FRONTEND", "ENDPOINT", "SOURCE", "STATE", "AGE", "IDLE", "PACKETS",
        "SERVICE",
    ]);
    let or_dash = |end: Option<End>| end.map_or_else(|| "-".to_owned(), |end| end.to_string());
    for row in rows {
        table.add_row([
            row.protocol.clone(),
            row.client.to_string(),
            or_dash(row.frontend),
            row.endpoint.to_string(),
            or_dash(row.source),
            row.state.name().to_owned(),
            duration(row.age_seconds.into()),
            duration(row.idle_seconds.into()),
            format!("{}/{}", row.packets.forward, row.packets.reply),
            match row.service_id {
                0 => format!("({})", row.kind),
                id => name_or_id(row.service.as_ref(), id),
            },
        ]);
    }
    lines(&table)
}
