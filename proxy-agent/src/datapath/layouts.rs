//! Layouts of maps: which versions are pinned, and how the content of an older one becomes this one's.
//!
//! Pure but for the look at the pin path. A map whose elements have the same sizes in both layouts is
//! copied as it is; one that changed needs a row in [`CONVERTERS`], or is dropped and said to be.
//! Called by [`crate::datapath`] and [`crate::datapath::moving`].

use std::{io, path::Path};

use proxy_common::layout::LAYOUT_VERSION;

use super::{inspect, pinned::Shape};

/// Turns an element of an older layout into one of this layout; `None` when it has no place there.
pub(super) type Convert = fn(&[u8], &[u8]) -> Option<(Vec<u8>, Vec<u8>)>;

/// How the elements of a map become this layout's.
#[derive(Clone, Copy, Debug)]
pub(super) struct Converter {
    /// The older layout.
    from: u32,
    /// The map.
    map: &'static str,
    convert: Convert,
}

/// Every map that changed, for every layout that is still migrated from. Whoever raises
/// [`LAYOUT_VERSION`] adds a row for each older layout and each map whose key or value is another one.
pub(super) const CONVERTERS: &[Converter] = &[];

/// What becomes of a map's content.
#[derive(Clone, Copy, Debug)]
pub(super) enum Conversion {
    AsIs,
    By(Convert),
    Dropped,
}

/// What becomes of the content of `map` of layout `from`, which has the shape `old` there.
pub(super) fn conversion(
    converters: &[Converter],
    (from, map): (u32, &str),
    (old, new): (Shape, Shape),
) -> Conversion {
    let of_map = |converter: &&Converter| converter.from == from && converter.map == map;
    match converters.iter().find(of_map) {
        Some(converter) => Conversion::By(converter.convert),
        None if old.has_elements_of(&new) => Conversion::AsIs,
        None => Conversion::Dropped,
    }
}

/// The layouts that are pinned beside this one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Others {
    /// Older ones, the newest first.
    pub(super) older: Vec<u32>,
    /// The newest of those that are newer.
    pub(super) newer: Option<u32>,
}

/// Looks at the pin path. A directory with nothing in it counts for nothing.
pub(super) fn others(root: &Path) -> io::Result<Others> {
    let mut versions = Vec::new();
    for version in inspect::names(root)?.iter().filter_map(|name| version(name)) {
        if !inspect::names(&root.join(directory(version)))?.is_empty() {
            versions.push(version);
        }
    }
    Ok(beside(LAYOUT_VERSION, versions))
}

fn beside(this: u32, mut versions: Vec<u32>) -> Others {
    versions.sort_unstable_by(|a, b| b.cmp(a));
    let newer = versions.first().copied().filter(|newest| *newest > this);
    versions.retain(|version| *version < this);
    Others { older: versions, newer }
}

/// The directory of a layout, below the pin path.
pub(super) fn directory(version: u32) -> String {
    format!("v{version}")
}

/// The inverse of [`directory`].
pub(super) fn version(directory: &str) -> Option<u32> {
    directory.strip_prefix('v')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{CONVERTERS, Conversion, Converter, Others, beside, conversion, version};
    use crate::datapath::pinned::Shape;

    const OLD: Shape = Shape::new(1, 8, 16, 100);

    fn widened(key: &[u8], value: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
        Some((key.to_vec(), [value, &[0; 8]].concat()))
    }

    #[test]
    fn equal_elements_are_copied_and_others_need_a_converter() {
        let converters = [Converter { from: 1, map: "SLOTS", convert: widened }];
        let of = |from, map, new| conversion(&converters, (from, map), (OLD, new));
        let wider = Shape::new(1, 8, 24, 100);
        assert!(matches!(of(1, "TURNS", OLD.with_room(7)), Conversion::AsIs));
        assert!(matches!(of(1, "TURNS", wider), Conversion::Dropped));
        assert!(matches!(of(2, "SLOTS", wider), Conversion::Dropped));
        let Conversion::By(convert) = of(1, "SLOTS", wider) else { panic!("it is in the table") };
        assert_eq!(convert(&[1], &[2]), Some((vec![1], vec![2, 0, 0, 0, 0, 0, 0, 0, 0])));
    }

    #[test]
    fn converters_lead_from_older_layouts_to_maps_that_there_are() {
        for converter in CONVERTERS {
            assert!(converter.from < proxy_common::layout::LAYOUT_VERSION);
            assert!(proxy_common::layout::MAPS.iter().any(|map| map.name == converter.map));
        }
    }

    #[test]
    fn layouts_are_told_apart_from_each_other_and_from_what_else_is_there() {
        assert_eq!(version("v12"), Some(12));
        assert_eq!(version("v"), None);
        assert_eq!(version("old"), None);
        let others = |older: &[u32], newer| Others { older: older.into(), newer };
        assert_eq!(beside(3, vec![1, 3, 2]), others(&[2, 1], None));
        assert_eq!(beside(3, vec![3, 4, 7]), others(&[], Some(7)));
    }
}
