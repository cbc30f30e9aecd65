//! A structure as a flat list of fields, each under the path that `bpftool map dump` shows it by.

use anyhow::Result;

use super::btf::{Shape, Types};

/// What network order is called in `proxy-common`: kept as bytes in that order.
const NETWORK_ORDER: [&str; 3] = ["Be16", "V4", "V6"];

/// A field that has no fields of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Field {
    /// Where it begins: bytes from the start of the structure. In an array, of the first element.
    pub(super) offset: u32,
    /// Bytes. In an array, of one element.
    pub(super) size: u32,
    /// The names that lead to it, with dots.
    pub(super) path: String,
    /// Its type.
    pub(super) kind: String,
    /// How its bytes are ordered.
    pub(super) order: Order,
    /// The structure that documents it, and its name there; several when they are nested.
    pub(super) documented: Vec<(String, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Network,
    Host,
    Bytes,
}

/// The fields of the type `id`.
pub(super) fn fields(types: &Types, id: u32) -> Result<Vec<Field>> {
    let mut all = Vec::new();
    let root = Field {
        offset: 0,
        size: 0,
        path: String::new(),
        kind: types.name(id)?,
        order: Order::Host,
        documented: Vec::new(),
    };
    collect(types, id, &root, &mut all)?;
    Ok(all)
}

fn collect(types: &Types, id: u32, at: &Field, all: &mut Vec<Field>) -> Result<()> {
    let name = types.name(id)?;
    let size = types.size(id)?;
    let leaf = |order| Field { size, order, ..at.clone() };
    match types.shape(id)? {
        // An empty array is there for alignment in the other family only.
        Shape::Array(_, 0) => {}
        Shape::Integer => all.push(leaf(if size == 1 { Order::Bytes } else { Order::Host })),
        Shape::Array(element, count) => match types.shape(element)? {
            Shape::Structure(_) => {
                let kind = types.name(element)?;
                let path = format!("{}[{count}]", at.path);
                collect(types, element, &Field { kind, path, ..at.clone() }, all)?;
            }
            _ => {
                let order = if types.size(element)? == 1 { Order::Bytes } else { Order::Host };
                all.push(leaf(order));
            }
        },
        Shape::Structure(members) => {
            // A type around one member is documented where it is used.
            let wraps = members.len() == 1;
            let first = all.len();
            for (member, id, offset) in members {
                let dot = if at.path.is_empty() { "" } else { "." };
                let mut field = Field {
                    offset: at.offset + offset,
                    path: format!("{}{dot}{member}", at.path),
                    kind: if wraps { name.clone() } else { types.name(id)? },
                    ..at.clone()
                };
                if !wraps {
                    field.documented.push((name.clone(), member));
                }
                collect(types, id, &field, all)?;
            }
            if NETWORK_ORDER.contains(&name.as_str()) {
                for field in &mut all[first..] {
                    field.order = Order::Network;
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Order, fields};
    use crate::maps_doc::btf::Types;

    const DUMP: &str = r#"{"types":[
        {"id":1,"kind":"INT","name":"u8","size":1},
        {"id":2,"kind":"INT","name":"u32","size":4},
        {"id":3,"kind":"ARRAY","name":"(anon)","type_id":1,"nr_elems":2},
        {"id":4,"kind":"STRUCT","name":"Be16","size":2,
         "members":[{"name":"bytes","type_id":3,"bits_offset":0}]},
        {"id":5,"kind":"STRUCT","name":"Range","size":8,
         "members":[{"name":"base","type_id":2,"bits_offset":0},
                    {"name":"count","type_id":2,"bits_offset":32}]},
        {"id":6,"kind":"ARRAY","name":"(anon)","type_id":1,"nr_elems":0},
        {"id":7,"kind":"STRUCT","name":"Value","size":12,
         "members":[{"name":"port","type_id":4,"bits_offset":0},
                    {"name":"pad","type_id":3,"bits_offset":16},
                    {"name":"range","type_id":5,"bits_offset":32},
                    {"name":"align","type_id":6,"bits_offset":96}]}]}"#;

    #[test]
    fn nested_structures_are_laid_flat_as_bpftool_shows_them() {
        let types = Types::parse(DUMP.as_bytes()).unwrap();
        let rows: Vec<_> = fields(&types, 7)
            .unwrap()
            .into_iter()
            .map(|field| (field.offset, field.size, field.path, field.kind, field.order))
            .collect();
        let row = |offset, size, path: &str, kind: &str, order| {
            (offset, size, path.to_owned(), kind.to_owned(), order)
        };
        assert_eq!(
            rows,
            [
                row(0, 2, "port.bytes", "Be16", Order::Network),
                row(2, 2, "pad", "[u8; 2]", Order::Bytes),
                row(4, 4, "range.base", "u32", Order::Host),
                row(8, 4, "range.count", "u32", Order::Host),
            ]
        );
    }
}
