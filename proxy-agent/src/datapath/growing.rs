//! Maps of Services that get more room while everything runs.
//!
//! Room can't be added to a map. So a larger one is made beside it, with programs that use it; when
//! both are ready its writer waits, the content is copied, and the programs at every hook are replaced.
//! The slow half, [`Datapath::prepare`], keeps nobody waiting. Called by [`crate::agent::installer`],
//! by the wish of [`crate::agent::growth`].

use std::{collections::BTreeMap, fs};

use proxy_common::layout::MAPS;

use super::{
    Datapath, DatapathError, PROGRAMS_END, copy,
    links::remove,
    moving::MoveError,
    object::{self, ObjectError, Programs, Room},
    pins::{next_map, old_map},
    program::Selection,
};

/// Larger maps, empty, and programs that use them.
#[derive(Debug)]
pub struct Prepared {
    programs: Programs,
    /// Whether those for devices without Ethernet headers are among them.
    layer3: bool,
    rooms: BTreeMap<&'static str, u32>,
}

impl Datapath {
    /// Makes larger maps, and loads programs that use them. Changes nothing for those at work.
    ///
    /// # Errors
    /// When the kernel has no memory for the maps, or refuses a program that it took before.
    pub fn prepare(&self, rooms: &BTreeMap<&'static str, u32>) -> Result<Prepared, DatapathError> {
        let prepared = self.try_prepare(rooms);
        if prepared.is_err() {
            self.forget(rooms.keys());
        }
        prepared
    }

    fn try_prepare(&self, rooms: &BTreeMap<&'static str, u32>) -> Result<Prepared, DatapathError> {
        self.forget(rooms.keys());
        let selection = if self.layer3 { Selection::All } else { Selection::WithoutLayer3 };
        let programs = self.load_again(rooms, selection)?;
        Ok(Prepared { programs, layer3: self.layer3, rooms: rooms.clone() })
    }

    /// Loads programs that use the larger maps. What the kernel took before it has to take again.
    fn load_again(
        &self,
        larger: &BTreeMap<&'static str, u32>,
        selection: Selection,
    ) -> Result<Programs, DatapathError> {
        let programs = object::load(&self.rooms(larger)?, &self.facts, selection)?;
        let before = |program: &str| self.programs.get(program).is_some();
        if let Some(refused) = programs.rejected().iter().find(|it| before(&it.program)) {
            return Err(DatapathError::RefusedAgain(refused.clone()));
        }
        Ok(programs)
    }

    /// Every map: as it is pinned, or, if it is one of `larger`, as the one that is to replace it.
    pub(super) fn rooms(
        &self,
        larger: &BTreeMap<&'static str, u32>,
    ) -> Result<Vec<Room>, ObjectError> {
        let directory = self.pins.maps();
        let room = |map: &'static str| {
            if let Some(room) = larger.get(map) {
                return Ok(Room { map, room: *room, pin: next_map(&directory, map) });
            }
            let pin = directory.join(map);
            match copy::open(&pin) {
                Ok((_, info)) => Ok(Room { map, room: info.max_entries, pin }),
                Err(source) => Err(ObjectError::Pin { map, path: pin, source }),
            }
        };
        MAPS.iter().map(|spec| room(spec.name)).collect()
    }

    /// Has the larger maps take the place of the smaller ones, with what they hold, and the programs
    /// that use them that of those at work. Nobody may write the maps meanwhile.
    ///
    /// Concurrency: programs count in two of them, `TURNS` and `OPEN_FLOWS_*`. What they count between
    /// copy and replacement is lost: an endpoint has its turn twice, and the sweep counts anew. All
    /// others are the same in both generations, whichever a hook's program has.
    ///
    /// # Errors
    /// Before anything was replaced: when a map can't be copied. The maps stay as they were then.
    pub fn grow(&mut self, prepared: Prepared) -> Result<(), DatapathError> {
        let Prepared { mut programs, layer3, rooms } = prepared;
        let directory = self.pins.maps();
        let ready = self.fill_all(&rooms).and_then(|()| {
            // The first device that needs them may have come meanwhile.
            if self.layer3 && !layer3 {
                programs.extend(self.load_again(&rooms, Selection::Layer3)?);
            }
            Ok(())
        });
        if ready.is_err() {
            self.forget(rooms.keys());
            return ready;
        }
        for map in rooms.keys() {
            let (pin, next) = (directory.join(map), next_map(&directory, map));
            let failed = |source| ObjectError::Pin { map, path: next.clone(), source };
            fs::rename(&pin, old_map(&directory, map)).map_err(failed)?;
            fs::rename(&next, &pin).map_err(failed)?;
        }
        self.programs = programs;
        self.switch()?;
        std::thread::sleep(PROGRAMS_END);
        for map in rooms.keys() {
            let path = old_map(&directory, map);
            remove(&path).map_err(|source| DatapathError::Directory { path, source })?;
        }
        Ok(())
    }

    fn fill_all(&self, rooms: &BTreeMap<&'static str, u32>) -> Result<(), DatapathError> {
        Ok(rooms.keys().try_for_each(|map| self.fill_next(map))?)
    }

    fn fill_next(&self, map: &'static str) -> Result<(), MoveError> {
        let from = self.pins.maps().join(map);
        let failed = |call| {
            let from = from.clone();
            move |source| MoveError { map, call, from, source }
        };
        let (old, _) = copy::open(&from).map_err(failed("opening"))?;
        let next = next_map(&self.pins.maps(), map);
        let (new, _) = copy::open(&next).map_err(failed("opening what replaces"))?;
        let copied = copy::fill(&old, &new, None).map_err(failed("copying"))?;
        tracing::debug!(map, elements = copied.elements, "content moved to a larger map");
        Ok(())
    }

    fn forget<'a>(&self, maps: impl Iterator<Item = &'a &'static str>) {
        for map in maps {
            let path = next_map(&self.pins.maps(), map);
            if let Err(error) = remove(&path) {
                tracing::warn!(path = %path.display(), %error, "the pin is left");
            }
        }
    }
}
