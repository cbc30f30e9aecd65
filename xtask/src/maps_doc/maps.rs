//! The maps in the object are the maps in the table: same names, kinds, sizes and types.

use anyhow::{Context as _, Result, ensure};
use proxy_common::layout::{MAPS, MapKind, MapSpec};

use super::btf::Types;

/// A map of the table, and the types that the object gives its key and value.
pub(super) struct Map {
    pub(super) spec: &'static MapSpec,
    pub(super) key: u32,
    pub(super) value: u32,
}

/// What the kernel calls the kind, and its number (`enum bpf_map_type` of `linux/bpf.h`).
pub(super) const fn kernel_kind(kind: MapKind) -> (&'static str, u32) {
    match kind {
        MapKind::Hash => ("hash", 1),
        MapKind::Array => ("array", 2),
        MapKind::PerCpuArray => ("percpu_array", 6),
        MapKind::LruHash => ("lru_hash", 9),
        MapKind::LpmTrie => ("lpm_trie", 11),
    }
}

/// Every map of the table, compared with the object.
pub(super) fn check(types: &Types) -> Result<Vec<Map>> {
    MAPS.iter()
        .map(|spec| map(types, spec).with_context(|| format!("the map {}", spec.name)))
        .collect()
}

fn map(types: &Types, spec: &'static MapSpec) -> Result<Map> {
    let definition = types.map(spec.name)?;
    let (key, value) = (types.pointee(definition, "key")?, types.pointee(definition, "value")?);
    agree("key", spec.key, &types.name(key)?)?;
    agree("value", spec.value, &types.name(value)?)?;
    agree("kind", &kernel_kind(spec.kind).1, &types.number(definition, "type")?)?;
    agree("max_entries", &spec.max_entries, &types.number(definition, "max_entries")?)?;
    Ok(Map { spec, key, value })
}

fn agree<T: PartialEq + std::fmt::Display + ?Sized>(
    what: &str,
    table: &T,
    object: &T,
) -> Result<()> {
    ensure!(
        table == object,
        "{what} is {table} in proxy_common::layout::MAPS and {object} in the object; \
         correct the one that is wrong"
    );
    Ok(())
}
