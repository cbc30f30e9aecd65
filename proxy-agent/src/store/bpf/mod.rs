//! The store that matters: the pinned maps in the kernel.
//!
//! Carries out what [`crate::reconcile`] asks for and decides nothing. Operations of one kind go to
//! the kernel in one call. Called by [`crate::agent`], which is the only writer.

mod batch;

use std::{collections::BTreeMap, path::Path};

use bytemuck::Zeroable;
use proxy_common::{BackendId, Config, FILTER_WORDS, ServiceId, V4, V6};

use super::{Capacity, Failed, Installed, InstalledFamily, MapStore, Op, StoreError};
use crate::datapath::{
    map::{Map, MapError},
    tables::{self, Family, Services, Shared},
};

use batch::{Batch, Failures, FamilyBatch};

/// The maps of Services, pinned.
#[derive(Debug)]
pub struct BpfStore {
    config: Map<u32, Config>,
    shared: Shared,
    v4: Services<V4>,
    v6: Services<V6>,
}

impl BpfStore {
    /// Opens the maps that are pinned in `maps`.
    ///
    /// # Errors
    /// When one is missing or has another shape.
    pub fn open(maps: &Path) -> Result<Self, MapError> {
        Ok(Self {
            config: tables::config(maps)?,
            shared: Shared::open(maps)?,
            v4: Services::open(maps)?,
            v6: Services::open(maps)?,
        })
    }

    /// How much the maps have room for.
    #[must_use]
    pub fn capacity(&self) -> Capacity {
        Capacity {
            frontends: self.v4.frontends.max_entries().min(self.v6.frontends.max_entries()),
            slots: self.shared.slots.max_entries(),
            backends_v4: self.v4.backends.max_entries(),
            backends_v6: self.v6.backends.max_entries(),
            members: self.shared.members.max_entries(),
            ranges: self.v4.ranges.max_entries().min(self.v6.ranges.max_entries()),
        }
    }

    /// How much each map of Services has room for, by its name.
    #[must_use]
    pub fn rooms(&self) -> BTreeMap<&'static str, u32> {
        let Self { shared, v4, v6, .. } = self;
        BTreeMap::from([
            (shared.slots.name(), shared.slots.max_entries()),
            (shared.names.name(), shared.names.max_entries()),
            (shared.members.name(), shared.members.max_entries()),
            (shared.turns.name(), shared.turns.max_entries()),
            (v4.frontends.name(), v4.frontends.max_entries()),
            (v6.frontends.name(), v6.frontends.max_entries()),
            (v4.backends.name(), v4.backends.max_entries()),
            (v6.backends.name(), v6.backends.max_entries()),
            (v4.ranges.name(), v4.ranges.max_entries()),
            (v6.ranges.name(), v6.ranges.max_entries()),
        ])
    }
}

impl MapStore for BpfStore {
    fn apply(&mut self, ops: &[Op]) -> Vec<Failed> {
        let mut failed = Failures::default();
        let mut words = Batch::default();
        let mut slots = Batch::default();
        let mut names = Batch::default();
        let mut old_names = Batch::default();
        let mut members = Batch::default();
        let mut old_members = Batch::default();
        let mut turns = Batch::default();
        let mut old_turns = Batch::default();
        let mut v4 = FamilyBatch::default();
        let mut v6 = FamilyBatch::default();
        for (index, op) in ops.iter().enumerate() {
            match op {
                Op::PutConfig(config) => {
                    failed.note(index, self.config.put(&0, config).map_err(StoreError::from));
                }
                Op::PutFilter { word, value } => words.push(index, *word, *value),
                Op::PutSlots { base, backends } => {
                    for (slot, backend) in (*base..).zip(backends) {
                        slots.push(index, slot, *backend);
                    }
                }
                Op::PutName { id, name } => names.push(index, id.get(), **name),
                Op::DeleteName { id } => old_names.push(index, id.get(), ()),
                Op::PutMember { member, sets } => members.push(index, *member, *sets),
                Op::DeleteMember { member } => old_members.push(index, *member, ()),
                Op::PutTurn { id } => turns.push(index, id.get(), 0),
                Op::DeleteTurn { id } => old_turns.push(index, id.get(), ()),
                Op::V4(op) => v4.push(index, op),
                Op::V6(op) => v6.push(index, op),
            }
        }
        words.put(&self.shared.filter, &mut failed);
        slots.put(&self.shared.slots, &mut failed);
        names.put(&self.shared.names, &mut failed);
        old_names.delete(&self.shared.names, &mut failed);
        members.put(&self.shared.members, &mut failed);
        old_members.delete(&self.shared.members, &mut failed);
        turns.put(&self.shared.turns, &mut failed);
        old_turns.delete(&self.shared.turns, &mut failed);
        v4.apply(&self.v4, &mut failed);
        v6.apply(&self.v6, &mut failed);
        failed.into_vec()
    }

    fn read(&self) -> Result<Installed, StoreError> {
        let config = self.config.get(&0)?.filter(|config| *config != Zeroable::zeroed());
        let mut filter = vec![0; FILTER_WORDS as usize];
        self.shared.filter.for_each(|word, value| {
            if let Some(element) = filter.get_mut(word as usize) {
                *element = value;
            }
        })?;
        let mut slots = vec![BackendId::default(); self.shared.slots.max_entries() as usize];
        self.shared.slots.for_each(|slot, backend| {
            if let Some(element) = slots.get_mut(slot as usize) {
                *element = backend;
            }
        })?;
        let used = slots.iter().rposition(|id| id.get() != 0).map_or(0, |last| last + 1);
        slots.truncate(used);
        slots.shrink_to_fit();
        let names = self.shared.names.entries()?;
        let turns = self.shared.turns.entries()?;
        Ok(Installed {
            capacity: self.capacity(),
            config: config.map(Box::new),
            filter,
            slots,
            names: names.into_iter().map(|(id, name)| (ServiceId::new(id), name)).collect(),
            members: self.shared.members.entries()?.into_iter().collect(),
            turns: turns.into_iter().map(|(id, _)| ServiceId::new(id)).collect(),
            v4: read_family(&self.v4)?,
            v6: read_family(&self.v6)?,
        })
    }
}

fn read_family<A: Family>(maps: &Services<A>) -> Result<InstalledFamily<A>, StoreError> {
    let mut installed = InstalledFamily::default();
    maps.backends.for_each(|id, backend| {
        if backend != Zeroable::zeroed() {
            installed.backends.insert(BackendId::new(id), backend);
        }
    })?;
    maps.frontends.for_each(|frontend, service| {
        installed.frontends.insert(frontend, service);
    })?;
    maps.ranges.for_each(|range, _| {
        installed.ranges.insert(range);
    })?;
    Ok(installed)
}

impl From<MapError> for StoreError {
    fn from(error: MapError) -> Self {
        if error.is_full() {
            Self::Full { map: error.map }
        } else {
            Self::Kernel { call: error.call, map: error.map, source: error.source }
        }
    }
}
