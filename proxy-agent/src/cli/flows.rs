//! `sluice flows`: connections of the packet path, all halves of each together.
//!
//! JSON: a list of [`Row`]. What a row is made of is [`row`]'s business.

mod row;

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
};

use proxy_common::{Flow, FlowKind, Nanoseconds, ServiceId, Tuple, V4, V6};

use self::row::Halves;
pub(super) use self::row::Row;
#[cfg(test)]
pub(super) use self::row::Ways;
use super::{
    CliError, ReadArgs, installed_maps,
    output::{duration, lines, show, table},
    shown::{End, Name, name_or_id},
    view::View,
};
use crate::{
    agent::introspect,
    datapath::{
        map::Map,
        pins::Pins,
        tables::{Family, Flows},
    },
    flows::{Timeouts, pair::Generation},
    host::clock,
};

pub(super) fn run(args: &ReadArgs) -> Result<(), CliError> {
    let pins = args.pins.pins()?;
    let rows = rows(&pins, &installed_maps(&pins)?)?;
    show(args.output, &rows, |rows| text(rows))
}

/// Every flow that `maps` have, by its ends.
pub(super) fn rows(pins: &Pins, maps: &Path) -> Result<Vec<Row>, CliError> {
    let look = Look {
        names: View::open(maps)?.names()?,
        now: clock::now(),
        // Nobody else ends flows.
        timeouts: introspect::ask(pins.root()).ok().and_then(|live| live.timeouts),
    };
    let mut rows = Vec::new();
    collect::<V4>(maps, &look, &mut rows)?;
    collect::<V6>(maps, &look, &mut rows)?;
    rows.sort_by_key(|row| (row.client, row.frontend, row.endpoint, row.protocol.clone()));
    Ok(rows)
}

/// What a row needs beside the flow itself.
struct Look {
    names: BTreeMap<ServiceId, Name>,
    now: Nanoseconds,
    timeouts: Option<Timeouts>,
}

type Table<A> = Map<Tuple<A>, Flow<A>>;

fn collect<A: Family>(maps: &Path, look: &Look, rows: &mut Vec<Row>) -> Result<(), CliError> {
    let tables = Flows::<A>::open(maps)?;
    let settled = (&tables.dst, &tables.src);
    let new = (&tables.new_dst, &tables.new_src);
    collect_pair(settled, Generation::Settled, look, rows)?;
    collect_pair(new, Generation::New, look, rows)
}

fn collect_pair<A: Family>(
    (dst, src): (&Table<A>, &Table<A>),
    generation: Generation,
    look: &Look,
    rows: &mut Vec<Row>,
) -> Result<(), CliError> {
    let egress: HashMap<Tuple<A>, Flow<A>> = src.entries()?.into_iter().collect();
    dst.for_each(|key, flow| {
        let other_key = flow.src_key(&key);
        // A half alone is a flow that is just coming or going.
        let Some(other) = egress.get(&other_key) else { return };
        let turned = egress.get(&other_key.reversed());
        if flow.kind == FlowKind::Masquerade as u8 && turned.is_some() {
            // A stretch of a flow that has a row.
            return;
        }
        let halves = Halves { key: &key, dst: &flow, src: other, stretch: turned };
        rows.push(row::row(&halves, generation, look));
    })?;
    Ok(())
}

fn text(rows: &[Row]) -> String {
    if rows.is_empty() {
        return "No flow is open on the packet path.".into();
    }
    let mut table = table([
        "PROTOCOL", "CLIENT", "FRONTEND", "ENDPOINT", "SOURCE", "STATE", "AGE", "IDLE", "EXPIRES",
        "PACKETS", "BYTES", "SERVICE",
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
            row.expires_seconds.map_or_else(|| "-".to_owned(), duration),
            format!("{}/{}", row.packets.forward, row.packets.reply),
            format!("{}/{}", row.bytes.forward, row.bytes.reply),
            match row.service_id {
                0 => format!("({})", row.kind),
                id => name_or_id(row.service.as_ref(), id),
            },
        ]);
    }
    lines(&table)
}
