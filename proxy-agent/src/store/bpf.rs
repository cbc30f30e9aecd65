//! The store that matters: the pinned maps in the kernel.
//!
//! Carries out what [`crate::reconcile`] asks for and decides nothing. Operations of one kind go to
//! the kernel in one call. Called by [`crate::agent`], which is the only writer.

use std::path::Path;

use bytemuck::{Pod, Zeroable};
use proxy_common::{
    Backend, BackendId, Config, FILTER_WORDS, Frontend, Service, ServiceId, V4, V6,
};

use super::{Capacity, Failed, FamilyOp, Installed, InstalledFamily, MapStore, Op, StoreError};
use crate::datapath::{
    map::{Map, MapError},
    tables::{self, Family, Services, Shared},
};

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
}

impl MapStore for BpfStore {
    fn apply(&mut self, ops: &[Op]) -> Vec<Failed> {
        let mut failed = Failures::default();
        let mut words = Batch::default();
        let mut slots = Batch::default();
        let mut names = Batch::default();
        let mut old_names = Batch::default();
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
                Op::V4(op) => v4.push(index, op),
                Op::V6(op) => v6.push(index, op),
            }
        }
        words.put(&self.shared.filter, &mut failed);
        slots.put(&self.shared.slots, &mut failed);
        names.put(&self.shared.names, &mut failed);
        old_names.delete(&self.shared.names, &mut failed);
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
        Ok(Installed {
            capacity: Capacity {
                frontends: self.v4.frontends.max_entries().min(self.v6.frontends.max_entries()),
                slots: self.shared.slots.max_entries(),
                backends: self.v4.backends.max_entries().min(self.v6.backends.max_entries()),
            },
            config: config.map(Box::new),
            filter,
            slots,
            names: names.into_iter().map(|(id, name)| (ServiceId::new(id), name)).collect(),
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
    Ok(installed)
}

/// Operations on one map, and where each came from.
struct Batch<K, V> {
    ops: Vec<usize>,
    keys: Vec<K>,
    values: Vec<V>,
}

impl<K, V> Default for Batch<K, V> {
    fn default() -> Self {
        Self { ops: Vec::new(), keys: Vec::new(), values: Vec::new() }
    }
}

impl<K, V> Batch<K, V> {
    fn push(&mut self, op: usize, key: K, value: V) {
        self.ops.push(op);
        self.keys.push(key);
        self.values.push(value);
    }
}

impl<K: Pod, V: Pod> Batch<K, V> {
    /// Writes all of them. One that fails doesn't keep those behind it from being written; with
    /// nothing else to go by, the kernel is asked for each.
    fn put(&self, map: &Map<K, V>, failed: &mut Failures) {
        let mut from = 0;
        while from < self.keys.len() {
            match map.put_all(&self.keys[from..], &self.values[from..]) {
                Ok(()) => return,
                Err((done, error)) => {
                    from += done;
                    if let Some(op) = self.ops.get(from) {
                        failed.note(*op, Err(error.into()));
                    }
                    from += 1;
                }
            }
        }
    }
}

impl<K: Pod> Batch<K, ()> {
    fn delete<V: Pod>(&self, map: &Map<K, V>, failed: &mut Failures) {
        if self.keys.is_empty() || map.delete_all(&self.keys).is_ok() {
            return;
        }
        for (op, key) in self.ops.iter().zip(&self.keys) {
            failed.note(*op, map.delete(key).map(drop).map_err(StoreError::from));
        }
    }
}

/// Operations on the maps of one family.
struct FamilyBatch<A: Family> {
    backends: Batch<u32, Backend<A>>,
    frontends: Batch<Frontend<A>, Service>,
    old_frontends: Batch<Frontend<A>, ()>,
}

impl<A: Family> Default for FamilyBatch<A> {
    fn default() -> Self {
        Self {
            backends: Batch::default(),
            frontends: Batch::default(),
            old_frontends: Batch::default(),
        }
    }
}

impl<A: Family> FamilyBatch<A> {
    fn push(&mut self, index: usize, op: &FamilyOp<A>) {
        match op {
            FamilyOp::PutBackend { id, backend } => {
                self.backends.push(index, id.get(), *backend);
            }
            FamilyOp::ClearBackend { id } => {
                self.backends.push(index, id.get(), Zeroable::zeroed());
            }
            FamilyOp::PutFrontend { frontend, service } => {
                self.frontends.push(index, *frontend, *service);
            }
            FamilyOp::DeleteFrontend { frontend } => self.old_frontends.push(index, *frontend, ()),
        }
    }

    fn apply(&self, maps: &Services<A>, failed: &mut Failures) {
        self.backends.put(&maps.backends, failed);
        self.frontends.put(&maps.frontends, failed);
        self.old_frontends.delete(&maps.frontends, failed);
    }
}

/// Operations that failed, each once.
#[derive(Default)]
struct Failures {
    list: Vec<Failed>,
}

impl Failures {
    fn note(&mut self, op: usize, result: Result<(), StoreError>) {
        // A run of slots is one operation of many elements.
        if let Err(error) = result
            && self.list.last().is_none_or(|last| last.op != op)
        {
            self.list.push(Failed { op, error });
        }
    }

    fn into_vec(mut self) -> Vec<Failed> {
        self.list.sort_by_key(|failed| failed.op);
        self.list
    }
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
