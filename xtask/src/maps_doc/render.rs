//! The document: what an operator needs beside `bpftool map dump`.

use std::fmt::Write as _;

use anyhow::Result;
use proxy_common::{Counter, DropReason, RejectReason, layout::LAYOUT_VERSION};

use super::{
    btf::{Shape, Types},
    comments::Comments,
    fields::{Field, Order, fields},
    maps::{Map, kernel_kind},
};

/// The whole of docs/maps.md.
pub(super) fn document(types: &Types, maps: &[Map], comments: &Comments) -> Result<String> {
    let mut text = preamble();
    overview(&mut text, types, maps)?;
    structures(&mut text, types, maps, comments)?;
    numbers(&mut text, comments);
    counters(&mut text);
    Ok(text)
}

fn preamble() -> String {
    format!(
        "<!-- Written by `cargo xtask maps-doc`. Change the code, not this file. -->\n\
         # Maps\n\n\
         Everything that the programs know is in these maps. They are pinned under \
         `/sys/fs/bpf/sluice/v{LAYOUT_VERSION}/` (the agent's `--pin-path`), each under its name, \
         and they carry their types, so that this prints named fields, with the agent or without \
         it:\n\n\
         ```console\n\
         # bpftool map dump pinned /sys/fs/bpf/sluice/v{LAYOUT_VERSION}/SERVICES_V4\n\
         ```\n\n\
         This page is version {LAYOUT_VERSION} of the layout. What stands in **network** order is \
         kept as bytes in the order in which they are on the wire: the port 8080 shows as \
         `[31,144]`, which is 0x1f90. \
         What stands in **host** order is an integer of the machine (little-endian). Fields named \
         `pad…` and `align` are zero. Of arrays of structures, the offsets of the first element are \
         shown.\n\n"
    )
}

fn overview(text: &mut String, types: &Types, maps: &[Map]) -> Result<()> {
    text.push_str("## The maps, in the order in which a packet meets them\n\n");
    text.push_str("| map | kind | entries | key | value | bytes | purpose |\n");
    text.push_str("|---|---|---:|---|---|---:|---|\n");
    for Map { spec, key, value } in maps {
        let (kind, _) = kernel_kind(spec.kind);
        let bytes = types.size(*key)? + types.size(*value)?;
        let _ = writeln!(
            text,
            "| `{}` | {kind} | {} | {} | {} | {bytes} | {} |",
            spec.name,
            spec.max_entries,
            linked(types, *key)?,
            linked(types, *value)?,
            spec.purpose
        );
    }
    text.push_str(
        "\n*entries* is the room that a map has unless flags say otherwise; *bytes* are those of \
         one key and value.\n\n",
    );
    Ok(())
}

/// The type's name, with a link where it has a section.
fn linked(types: &Types, id: u32) -> Result<String> {
    let name = types.name(id)?;
    Ok(match types.shape(id)? {
        Shape::Structure(_) => format!("[`{name}`](#{})", anchor(&name)),
        _ => format!("`{name}`"),
    })
}

/// The anchor of a heading, as renderers of Markdown make it.
fn anchor(heading: &str) -> String {
    heading
        .chars()
        .filter(|c| c.is_alphanumeric() || *c == '_' || *c == '-')
        .collect::<String>()
        .to_lowercase()
}

fn structures(text: &mut String, types: &Types, maps: &[Map], comments: &Comments) -> Result<()> {
    text.push_str("## Keys and values\n");
    let mut seen = Vec::new();
    for id in maps.iter().flat_map(|map| [map.key, map.value]) {
        let name = types.name(id)?;
        if seen.contains(&name) || !matches!(types.shape(id)?, Shape::Structure(_)) {
            continue;
        }
        let users: Vec<_> = maps
            .iter()
            .filter(|map| map.spec.key == name || map.spec.value == name)
            .map(|map| format!("`{}`", map.spec.name))
            .collect();
        let _ = write!(
            text,
            "\n### `{name}`\n\n{} {} bytes; in {}.\n\n",
            comments.of_type(&name),
            types.size(id)?,
            users.join(", ")
        );
        text.push_str("| offset | size | field | type | order | meaning |\n");
        text.push_str("|---:|---:|---|---|---|---|\n");
        for field in fields(types, id)? {
            row(text, &field, comments);
        }
        seen.push(name);
    }
    Ok(())
}

fn row(text: &mut String, field: &Field, comments: &Comments) {
    let order = match field.order {
        Order::Network => "network",
        Order::Host => "host",
        Order::Bytes => "",
    };
    let meaning: Vec<_> = field
        .documented
        .iter()
        .map(|(structure, name)| comments.of_field(structure, name))
        .filter(|meaning| !meaning.is_empty())
        .collect();
    let _ = writeln!(
        text,
        "| {} | {} | `{}` | `{}` | {order} | {} |",
        field.offset,
        field.size,
        field.path,
        field.kind,
        meaning.join(" ")
    );
}

fn numbers(text: &mut String, comments: &Comments) {
    text.push_str("\n## Numbers and bits\n");
    for (name, numbers) in comments.numbers() {
        let _ = write!(text, "\n### `{name}`\n\n{}\n\n", comments.of_type(name));
        text.push_str("| number | name | meaning |\n|---:|---|---|\n");
        for number in numbers {
            let _ =
                writeln!(text, "| {} | `{}` | {} |", number.number, number.name, number.meaning);
        }
    }
}

fn counters(text: &mut String) {
    text.push_str(
        "\n## Elements of `COUNTERS`\n\nPackets (connections, on the socket path) since the maps \
         were made, for each CPU.\n\n| element | counts |\n|---:|---|\n",
    );
    let events = Counter::EVENTS.iter().copied();
    let rejects = RejectReason::ALL.iter().copied().map(Counter::Reject);
    let drops = DropReason::ALL.iter().copied().map(Counter::Drop);
    for counter in events.chain(rejects).chain(drops) {
        let kind = match counter {
            Counter::Reject(_) => "refused: ",
            Counter::Drop(_) => "dropped: ",
            _ => "",
        };
        let _ = writeln!(text, "| {} | {kind}{} |", counter.index(), counter.name());
    }
}
