//! Maps that are pinned already: whether the object can go on with them, and if not, what is moved.
//!
//! What holds something is never thrown away here: a map of another size is found to be replaced by
//! [`crate::datapath::moving`], which calls this.

use std::{collections::BTreeMap, fs, io, path::Path};

use aya::EbpfError;
use proxy_common::layout::{MAPS, MapKind, MapSpec};

use super::{
    copy,
    links::remove,
    object::{OBJECT, ObjectError},
    pins::{next_map, old_map},
    raw_map::RawMap,
    sizes::{self, Rule},
    syscall::MapInfo,
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
    /// A shape.
    #[must_use]
    pub const fn new(kind: u32, key_size: u32, value_size: u32, max_entries: u32) -> Self {
        Self { kind, key_size, value_size, max_entries }
    }

    /// The shape of a map that the kernel has.
    pub(super) const fn of(info: &MapInfo) -> Self {
        Self::new(info.kind, info.key_size, info.value_size, info.max_entries)
    }

    /// This shape with room for `max_entries`.
    #[must_use]
    pub const fn with_room(self, max_entries: u32) -> Self {
        Self { max_entries, ..self }
    }

    /// How many elements there is room for.
    #[must_use]
    pub const fn room(self) -> u32 {
        self.max_entries
    }

    /// Whether an element of the one may be an element of the other.
    #[must_use]
    pub const fn has_elements_of(&self, other: &Self) -> bool {
        self.key_size == other.key_size && self.value_size == other.value_size
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
        let (key_size, value_size) = (map.key_size(), map.value_size());
        Some((name.clone(), Shape::new(map.map_type(), key_size, value_size, spec.max_entries)))
    };
    Ok(object.maps.iter().filter_map(shape).collect())
}

/// What is at a map's pin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing: an empty map will be made.
    Nothing,
    /// A map that will do.
    Kept,
    /// A map of another size than is wanted, which has to be replaced.
    Replaced,
    /// A map that will do, and beside it the one whose place it has taken: an earlier agent was
    /// interrupted before its programs had followed.
    Unfinished,
}

/// What is at the pin of a map, and how many elements the map is to have room for. An empty map of
/// another shape is thrown away.
pub(super) fn look(
    directory: &Path,
    spec: &MapSpec,
    wanted: Shape,
) -> Result<(Found, u32), ObjectError> {
    let (path, old) = (directory.join(spec.name), old_map(directory, spec.name));
    let failed = |source| ObjectError::Pin { map: spec.name, path: path.clone(), source };
    remove(&next_map(directory, spec.name)).map_err(failed)?;
    if !path.exists() && old.exists() {
        fs::rename(&old, &path).map_err(failed)?;
    }
    let (map, info) = match copy::open(&path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok((Found::Nothing, wanted.max_entries));
        }
        Err(error) => return Err(failed(error)),
    };
    let found = Shape::of(&info);
    let unfinished = old.exists();
    if found.with_room(wanted.max_entries) != wanted {
        if unfinished || !is_empty(spec, &map).map_err(failed)? {
            return Err(ObjectError::Mismatch { map: spec.name, path, found, wanted });
        }
        fs::remove_file(&path).map_err(failed)?;
        return Ok((Found::Nothing, wanted.max_entries));
    }
    let enough = match sizes::rule(spec.name) {
        Rule::AtLeast => found.max_entries >= wanted.max_entries,
        Rule::Exactly => found.max_entries == wanted.max_entries,
    };
    if unfinished {
        // One thing after the other: the next start finds it finished.
        Ok((Found::Unfinished, found.max_entries))
    } else if enough
        || (found.max_entries > wanted.max_entries
            && !shrinks(spec, &map, wanted).map_err(failed)?)
    {
        Ok((Found::Kept, found.max_entries))
    } else {
        Ok((Found::Replaced, wanted.max_entries))
    }
}

fn is_empty(spec: &MapSpec, map: &RawMap) -> io::Result<bool> {
    let can_be = matches!(spec.kind, MapKind::Hash | MapKind::LruHash | MapKind::LpmTrie);
    Ok(can_be && copy::count(map)? == 0)
}

/// Whether what the map holds has room in a smaller one.
fn shrinks(spec: &MapSpec, map: &RawMap, wanted: Shape) -> io::Result<bool> {
    let used = match spec.kind {
        MapKind::LruHash => return Ok(true),
        MapKind::Hash | MapKind::LpmTrie => copy::count(map)?,
        MapKind::Array | MapKind::PerCpuArray => usize::MAX,
    };
    let fits = used <= wanted.max_entries as usize;
    if !fits {
        tracing::warn!(
            map = spec.name,
            "the map holds {used} elements, so it keeps its room and doesn't shrink to {}; start the \
             agent again when it holds fewer",
            wanted.max_entries,
        );
    }
    Ok(fits)
}
