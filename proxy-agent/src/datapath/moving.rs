//! Content that moves: from a map of another size, or of an older layout, to the one that takes its
//! place.
//!
//! Nobody is interrupted, because the maps that are left go on being used by the programs that have
//! them until those are replaced. In order:
//!
//! 1. [`Moving::plan`]: what is pinned is looked at, links of older layouts become this one's.
//! 2. The object is loaded, with new maps (`<MAP>-next`) where something moves.
//! 3. [`Moving::fill`]: what an agent wrote is copied, and the new maps get their names. The agent goes
//!    on from there.
//! 4. When programs may be attached, `Datapath::take_over`: what programs write is copied
//!    ([`Moving::follow`]), the programs at every link are replaced, what happened meanwhile is told to
//!    the new maps ([`Moving::catch_up`]), the old ones go ([`Moving::finish`]).
//!
//! A crash at any point leaves maps that the next start goes on with. Called by
//! [`crate::datapath::Datapath`].

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use proxy_common::{
    Config, ConfigOptions, Nanoseconds,
    layout::{MAPS, MapSpec},
};

use super::{
    DatapathError, cleanup,
    copy::{self, Copied},
    inspect,
    layouts::{self, CONVERTERS, Conversion, Convert},
    links::remove,
    map::{Map, MapError},
    object::{ObjectError, Room},
    pinned::{self, Found, Shape},
    pins::{Pins, next_map, old_map},
    raw_map::RawMap,
    sizes::{self, Sizes},
    tables,
};
use crate::host::netns;

/// Content that moves to the map `spec`.
#[derive(Debug)]
struct Move {
    spec: &'static MapSpec,
    /// Where it is.
    from: PathBuf,
    convert: Option<Convert>,
    /// An earlier agent was at it, and was interrupted: what an agent writes was copied.
    resumed: bool,
}

/// Everything that moves.
#[derive(Debug, Default)]
pub(super) struct Moving {
    maps: PathBuf,
    moves: Vec<Move>,
    /// Directories of older layouts.
    layouts: Vec<PathBuf>,
    /// Maps of an older layout that find no place in this one.
    dropped: Vec<&'static str>,
}

/// A map whose content could not be moved.
#[derive(Debug, thiserror::Error)]
#[error("map {map}: {call} {}: {source}", from.display())]
pub struct MoveError {
    /// The map.
    pub map: &'static str,
    /// What was tried.
    pub call: &'static str,
    /// Where its content is.
    pub from: PathBuf,
    /// What the kernel said.
    pub source: io::Error,
}

impl Moving {
    /// Looks at what is pinned. Where each map is, or is to be made, and how much room it is to have.
    pub(super) fn plan(pins: &Pins, sizes: Sizes) -> Result<(Vec<Room>, Self), DatapathError> {
        let at_root = |source| DatapathError::Directory { path: pins.root().into(), source };
        let others = layouts::others(pins.root()).map_err(at_root)?;
        if let Some(version) = others.newer {
            let path = pins.layout(version);
            return Err(DatapathError::NewerLayout { path, version });
        }
        let shapes = pinned::shapes()?;
        let maps = pins.maps();
        let mut moving = Self { maps: maps.clone(), ..Self::default() };
        moving.layouts.extend(others.older.iter().map(|version| pins.layout(*version)));
        for older in &moving.layouts {
            adopt_links(older, &maps)?;
        }
        let mut older = BTreeMap::new();
        if let Some(version) = others.older.first() {
            older = moving.older(*version, &pins.layout(*version), &shapes)?;
        }
        let mut rooms = BTreeMap::new();
        let mut places = Vec::with_capacity(MAPS.len());
        for spec in MAPS {
            let mut wanted = sizes.of(spec);
            // What counts by backend id has room for every one.
            if let Some(family) = spec.name.strip_prefix("OPEN_FLOWS_") {
                let backends = rooms.get(format!("BACKENDS_{family}").as_str());
                wanted = backends.copied().unwrap_or(wanted).max(wanted);
            }
            if sizes::grows(spec.name) {
                wanted = older.get(spec.name).copied().unwrap_or(wanted).max(wanted);
            }
            let mut pin = maps.join(spec.name);
            if let Some(shape) = shapes.get(spec.name) {
                let (found, room) = pinned::look(&maps, spec, shape.with_room(wanted))?;
                wanted = room;
                let of_this_layout = |from, resumed| Move { spec, from, convert: None, resumed };
                match found {
                    Found::Nothing | Found::Kept => {}
                    Found::Replaced => {
                        moving.moves.push(of_this_layout(pin, false));
                        pin = next_map(&maps, spec.name);
                    }
                    Found::Unfinished => {
                        moving.moves.push(of_this_layout(old_map(&maps, spec.name), true));
                    }
                }
            }
            rooms.insert(spec.name, wanted);
            places.push(Room { map: spec.name, room: wanted, pin });
        }
        Ok((places, moving))
    }

    /// What moves from the layout `version`, which is pinned in `directory`. How much room its maps
    /// have.
    fn older(
        &mut self,
        version: u32,
        directory: &Path,
        shapes: &BTreeMap<String, Shape>,
    ) -> Result<BTreeMap<&'static str, u32>, DatapathError> {
        // The agent writes `CONFIG` as the last step of moving, and before anything else later.
        let resumed = tables::config(&self.maps).is_ok_and(|map| is_written(&map));
        let mut rooms = BTreeMap::new();
        // `CONFIG`, which comes first in the table, last: see above.
        for spec in MAPS.iter().rev() {
            let from = directory.join(spec.name);
            let failed = |source| ObjectError::Pin { map: spec.name, path: from.clone(), source };
            let old = match copy::open(&from) {
                Ok((_, info)) => Shape::of(&info),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    self.dropped.push(spec.name);
                    continue;
                }
                Err(error) => return Err(failed(error).into()),
            };
            rooms.insert(spec.name, old.room());
            let Some(new) = shapes.get(spec.name) else { continue };
            let convert = match layouts::conversion(CONVERTERS, (version, spec.name), (old, *new)) {
                Conversion::AsIs => None,
                Conversion::By(convert) => Some(convert),
                Conversion::Dropped => {
                    self.dropped.push(spec.name);
                    continue;
                }
            };
            self.moves.push(Move { spec, from, convert, resumed });
        }
        if resumed {
            self.dropped.clear();
        }
        tracing::info!(
            from = version,
            to = proxy_common::layout::LAYOUT_VERSION,
            dropped = self.dropped.join(", "),
            "maps of an older layout are migrated",
        );
        Ok(rooms)
    }

    /// Whether something moves.
    pub(super) fn is_needed(&self) -> bool {
        !self.moves.is_empty() || !self.layouts.is_empty()
    }

    /// Whether the new maps hold all that the programs need to go on as before.
    pub(super) fn is_complete(&self) -> bool {
        !self
            .dropped
            .iter()
            .any(|map| sizes::grows(map) || matches!(*map, "CONFIG" | "ADDRESS_FILTER" | "DEVICES"))
    }

    /// Copies what an agent wrote into the new maps, which nobody uses yet, and gives those their names.
    pub(super) fn fill(&mut self) -> Result<(), MoveError> {
        let agents = |item: &&Move| !item.resumed && !is_written_by_programs(item.spec);
        for item in self.moves.iter().filter(agents) {
            item.fill(&self.maps)?;
        }
        let maps = self.maps.clone();
        for item in &mut self.moves {
            let next = next_map(&maps, item.spec.name);
            if next.exists() {
                let failed = item.failed("renaming");
                let old = old_map(&maps, item.spec.name);
                fs::rename(&item.from, &old)
                    .and_then(|()| fs::rename(&next, maps.join(item.spec.name)))
                    .map_err(failed)?;
                item.from = old;
            }
        }
        Ok(())
    }

    /// What programs must not do while some of them have the old maps and some the new ones.
    fn hold(&self) -> ConfigOptions {
        let mut hold = ConfigOptions::empty();
        for item in &self.moves {
            if sizes::is_new_flow_table(item.spec) {
                hold = hold.union(ConfigOptions::HOLD_OPENING);
            } else if sizes::is_flow_table(item.spec) {
                hold = hold.union(ConfigOptions::HOLD_SETTLING);
            }
        }
        hold
    }

    /// Keeps flows from being opened or settled while their tables are moved; from now on, or, when
    /// not `on`, no longer. Whether there is anything to be kept from.
    ///
    /// Concurrency: the writer of `CONFIG` waits meanwhile.
    pub(super) fn set_hold(&self, on: bool) -> Result<bool, MapError> {
        let hold = self.hold();
        if hold == ConfigOptions::empty() {
            return Ok(false);
        }
        for directory in std::iter::once(&self.maps).chain(self.layouts.first()) {
            // One of a layout that has another `CONFIG` can't be told.
            let Ok(map) = tables::config(directory) else { continue };
            let Some(mut config) = map.get(&0)? else { continue };
            config.options =
                if on { config.options.union(hold) } else { config.options.without(hold) };
            map.put(&0, &config)?;
        }
        Ok(true)
    }

    /// Copies what programs wrote.
    ///
    /// Concurrency: flows are held (see [`Self::set_hold`]), so those that there are stay the same ones
    /// until the programs are replaced. What goes on in them is told by [`Self::catch_up`].
    pub(super) fn follow(&self) -> Result<(), MoveError> {
        for item in self.moves.iter().filter(|item| is_written_by_programs(item.spec)) {
            if item.resumed {
                // Some hooks may have the new map already. Of flows that only one has, nothing is lost.
                let copied =
                    item.with_both(&self.maps, |from, to| copy::join(from, to, item.convert))?;
                warn_of(item.spec, copied.left_out);
            } else {
                item.fill(&self.maps)?;
            }
        }
        Ok(())
    }

    /// Tells the new maps what programs wrote to the old ones from `since` on, until they were replaced.
    ///
    /// Concurrency: programs write to the new maps meanwhile. Flows get a flag that stays; where nothing
    /// is held, as at the socket, what is missing is inserted, and what is there stays
    /// (`BPF_NOEXIST`): it is newer. What a program has removed in that moment may come back, and is
    /// removed once more by the sweep.
    pub(super) fn catch_up(&self, since: Nanoseconds) -> Result<(), MoveError> {
        for item in self.moves.iter().filter(|item| is_written_by_programs(item.spec)) {
            item.with_both(&self.maps, |from, to| {
                if sizes::is_flow_table(item.spec) {
                    copy::agree_on_ends(from, to, since)
                } else {
                    copy::join(from, to, item.convert).map(drop)
                }
            })?;
        }
        Ok(())
    }

    /// Takes the old maps away. No program has them any more.
    pub(super) fn finish(&self) -> Result<(), DatapathError> {
        for item in &self.moves {
            if item.from.starts_with(&self.maps) {
                let directory =
                    |source| DatapathError::Directory { path: item.from.clone(), source };
                remove(&item.from).map_err(directory)?;
            }
        }
        for layout in &self.layouts {
            let mut removed = cleanup::Removed::default();
            cleanup::remove_layout(layout, &netns::device_name, &mut removed).map_err(
                |cleanup::CleanupError { path, source }| DatapathError::Directory { path, source },
            )?;
            tracing::info!(layout = %layout.display(), "the older layout is gone");
        }
        Ok(())
    }

    /// Takes new maps away that are not needed, since the programs can't be had.
    pub(super) fn undo(&self) {
        for item in &self.moves {
            let next = next_map(&self.maps, item.spec.name);
            if let Err(error) = remove(&next) {
                tracing::warn!(path = %next.display(), %error, "the pin is left");
            }
        }
    }
}

impl Move {
    fn fill(&self, maps: &Path) -> Result<(), MoveError> {
        let copied = self.with_both(maps, |from, to| copy::fill(from, to, self.convert))?;
        let Copied { elements, left_out } = copied;
        tracing::info!(map = self.spec.name, elements, "content moved to a new map");
        warn_of(self.spec, left_out);
        Ok(())
    }

    fn with_both<R>(
        &self,
        maps: &Path,
        copy: impl FnOnce(&RawMap, &RawMap) -> io::Result<R>,
    ) -> Result<R, MoveError> {
        let next = next_map(maps, self.spec.name);
        let to = if next.exists() { next } else { maps.join(self.spec.name) };
        let (from, _) = copy::open(&self.from).map_err(self.failed("opening"))?;
        let (to, _) = copy::open(&to).map_err(self.failed("opening what replaces"))?;
        copy(&from, &to).map_err(self.failed("copying"))
    }

    fn failed(&self, call: &'static str) -> impl Fn(io::Error) -> MoveError {
        let (map, from) = (self.spec.name, self.from.clone());
        move |source| MoveError { map, call, from: from.clone(), source }
    }
}

/// Maps of which the agent is not the only writer, and whose elements come and go.
fn is_written_by_programs(spec: &MapSpec) -> bool {
    sizes::is_flow_table(spec)
        || ["SOCKETS_", "AFFINITY_V", "COUNTED_SOCKETS", "FRAGMENTS_"]
            .into_iter()
            .any(|start| spec.name.starts_with(start))
}

fn is_written(config: &Map<u32, Config>) -> bool {
    let zero: Config = bytemuck::Zeroable::zeroed();
    config.get(&0).is_ok_and(|config| config.is_some_and(|config| config != zero))
}

fn warn_of(spec: &MapSpec, left_out: usize) {
    if left_out > 0 {
        tracing::warn!(
            map = spec.name,
            left_out,
            "elements of the old map found no room in the new one: give the map more, or expect \
             what they stood for to begin anew",
        );
    }
}

/// Links, filters' programs and notes of qdiscs that an older layout has pinned become this one's.
/// What is attached stays attached.
fn adopt_links(older: &Path, maps: &Path) -> Result<(), DatapathError> {
    for kind in ["links", "filters", "qdiscs"] {
        let (from, to) = (older.join(kind), maps.join(kind));
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| DatapathError::Directory { path, source }
        };
        for name in inspect::names(&from).map_err(failed(&from))? {
            let (from, to) = (from.join(&name), to.join(&name));
            if !to.exists() {
                fs::create_dir_all(maps.join(kind)).map_err(failed(&to))?;
                fs::rename(&from, &to).map_err(failed(&from))?;
            } else if kind == "filters" {
                // A device has one filter of ours, whoever pinned its program.
                remove(&from).map_err(failed(&from))?;
            }
        }
    }
    Ok(())
}
