//! Where everything is pinned: the one place that knows the names under a pin path.
//!
//! ```text
//! <pin path>/v1/<MAP>                      maps, see `proxy_common::layout`
//! <pin path>/v1/<MAP>-next                 a map that is to take the place of <MAP>
//! <pin path>/v1/<MAP>-old                  a map whose place <MAP> has taken, until no program uses it
//! <pin path>/v1/links/connect4 …           links of the socket path, one a program
//! <pin path>/v1/links/ingress-<ifindex>    TCX links, one a device and direction
//! <pin path>/v1/filters/ingress-<ifindex>  the program of a clsact filter, where there is no TCX
//! <pin path>/v1/qdiscs/<ifindex>           a directory: the device's clsact qdisc was made by us
//! ```
//! bpffs allows no dot in a name, and devices may have one: so it is the ifindex that names a link.

use std::path::{Path, PathBuf};

use proxy_common::layout::LAYOUT_VERSION;

use super::{layouts, program::Direction};

/// A pin path, and the names below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pins {
    root: PathBuf,
}

impl Pins {
    /// Pins under `root`.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Self { root: root.into() }
    }

    /// The pin path.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where the maps of this layout are.
    #[must_use]
    pub fn maps(&self) -> PathBuf {
        self.layout(LAYOUT_VERSION)
    }

    /// Where the maps of a layout are.
    pub(super) fn layout(&self, version: u32) -> PathBuf {
        self.root.join(layouts::directory(version))
    }

    /// Where the links are.
    #[must_use]
    pub fn links(&self) -> PathBuf {
        self.maps().join("links")
    }

    /// Where the programs of clsact filters are.
    #[must_use]
    pub fn filters(&self) -> PathBuf {
        self.maps().join("filters")
    }

    /// Where the notes of qdiscs are.
    #[must_use]
    pub fn qdiscs(&self) -> PathBuf {
        self.maps().join("qdiscs")
    }
}

/// The pin of a map that is to take the place of `map`.
pub(super) fn next_map(maps: &Path, map: &str) -> PathBuf {
    maps.join(format!("{map}-next"))
}

/// The pin of a map whose place `map` has taken.
pub(super) fn old_map(maps: &Path, map: &str) -> PathBuf {
    maps.join(format!("{map}-old"))
}

/// The name of a device's link or filter.
#[must_use]
pub fn device_pin(ifindex: u32, direction: Direction) -> String {
    format!("{}-{ifindex}", direction.name())
}

/// The inverse of [`device_pin`].
#[must_use]
pub fn parse_device_pin(name: &str) -> Option<(u32, Direction)> {
    let (direction, ifindex) = name.split_once('-')?;
    Some((ifindex.parse().ok()?, Direction::from_name(direction)?))
}

#[cfg(test)]
mod tests {
    use super::{device_pin, parse_device_pin};
    use crate::datapath::program::Direction;

    #[test]
    fn a_device_pin_is_read_back() {
        let name = device_pin(12, Direction::Egress);
        assert_eq!(name, "egress-12");
        assert_eq!(parse_device_pin(&name), Some((12, Direction::Egress)));
        assert_eq!(parse_device_pin("connect4"), None);
        assert_eq!(parse_device_pin("ingress-x"), None);
    }
}
