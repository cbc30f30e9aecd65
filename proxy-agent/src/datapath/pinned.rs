//! Maps that are pinned already: whether the object can go on with them.
//!
//! What holds something is never thrown away here. Called by [`crate::datapath::object`].

use std::{collections::BTreeMap, fs, io, os::fd::AsFd, path::Path};

use aya::EbpfError;
use proxy_common::layout::{MAPS, MapKind, MapSpec};

use super::{
    object::{OBJECT, ObjectError},
    raw_map::RawMap,
    sizes,
    syscall::{self, MapInfo},
};

/// What must agree between a pinned map and the one that is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    kind: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
}

impl Shape {
    /// This shape with room for `max_entries`.
    #[must_use]
    pub const fn with_room(self, max_entries: u32) -> Self {
        Self { max_entries, ..self }
    }
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { kind, key_size, value_size, max_entries } = self;
        write!(f, "type {kind}, keys of {key_size} and values of {value_size} bytes, ")?;
        write!(f, "room for {max_entries}")
    }
}

/// The shapes that the object's maps have, by name.
pub(super) fn shapes() -> Result<BTreeMap<String, Shape>, ObjectError> {
    let object = aya_obj::Object::parse(OBJECT)
        .map_err(|error| ObjectError::Load(Box::new(EbpfError::ParseError(error))))?;
    let shape = |(name, map): (&String, &aya_obj::Map)| {
        let spec = MAPS.iter().find(|spec| spec.name == name)?;
        let shape = Shape {
            kind: map.map_type(),
            key_size: map.key_size(),
            value_size: map.value_size(),
            max_entries: spec.max_entries,
        };
        Some((name.clone(), shape))
    };
    Ok(object.maps.iter().filter_map(shape).collect())
}

/// Takes away a pinned map of another shape if nothing is lost by it. A flow table with flows in it
/// stays, and keeps its size. For how many elements the map is to have room.
pub(super) fn make_way(
    directory: &Path,
    spec: &MapSpec,
    wanted: Shape,
) -> Result<u32, ObjectError> {
    let path = directory.join(spec.name);
    let failed = |source| ObjectError::Pin { map: spec.name, path: path.clone(), source };
    let map = match syscall::open(&path) {
        Ok(map) => map,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(wanted.max_entries),
        Err(error) => return Err(failed(error)),
    };
    let info: MapInfo = syscall::info(map.as_fd()).map_err(failed)?;
    let found = Shape {
        kind: info.kind,
        key_size: info.key_size,
        value_size: info.value_size,
        max_entries: info.max_entries,
    };
    if found == wanted {
        return Ok(wanted.max_entries);
    }
    let can_be_empty = matches!(spec.kind, MapKind::Hash | MapKind::LruHash | MapKind::LpmTrie);
    let mut empty = can_be_empty && !info.is_per_cpu();
    if empty {
        RawMap::new(map, &info, 1).for_each_batch(|_, _| empty = false).map_err(failed)?;
    }
    if empty {
        fs::remove_file(&path).map_err(failed)?;
        Ok(wanted.max_entries)
    } else if sizes::is_flow_table(spec) && found.with_room(wanted.max_entries) == wanted {
        tracing::warn!(
            map = spec.name,
            "the map has flows in it and keeps its room for {}, not {}; `sluice cleanup` makes it go",
            found.max_entries,
            wanted.max_entries,
        );
        Ok(found.max_entries)
    } else {
        Err(ObjectError::Mismatch { map: spec.name, path, found, wanted })
    }
}
