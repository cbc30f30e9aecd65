//! Operations gathered by map, so that the kernel is asked once for many.
//!
//! Kinds of map without batch commands (some kernels' LPM tries) are written element by element,
//! which [`crate::datapath::map`] sees to. Called by the store.

use bytemuck::{Pod, Zeroable};
use proxy_common::{Backend, Frontend, Service, SourceRangeKey};

use crate::{
    datapath::{
        map::Map,
        tables::{Family, Services},
    },
    store::{Failed, FamilyOp, StoreError},
};

/// What stands in an element of `SOURCE_RANGES_*`: that it is there is all that counts.
const ADMITTED: u32 = 1;

/// Operations on one map, and where each came from.
pub(super) struct Batch<K, V> {
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
    pub(super) fn push(&mut self, op: usize, key: K, value: V) {
        self.ops.push(op);
        self.keys.push(key);
        self.values.push(value);
    }
}

impl<K: Pod, V: Pod> Batch<K, V> {
    /// Writes all of them. One that fails doesn't keep those behind it from being written; with
    /// nothing else to go by, the kernel is asked for each.
    pub(super) fn put(&self, map: &Map<K, V>, failed: &mut Failures) {
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
    pub(super) fn delete<V: Pod>(&self, map: &Map<K, V>, failed: &mut Failures) {
        if self.keys.is_empty() || map.delete_all(&self.keys).is_ok() {
            return;
        }
        for (op, key) in self.ops.iter().zip(&self.keys) {
            failed.note(*op, map.delete(key).map(drop).map_err(StoreError::from));
        }
    }
}

/// Operations on the maps of one family.
pub(super) struct FamilyBatch<A: Family> {
    backends: Batch<u32, Backend<A>>,
    frontends: Batch<Frontend<A>, Service>,
    old_frontends: Batch<Frontend<A>, ()>,
    ranges: Batch<SourceRangeKey<A>, u32>,
    old_ranges: Batch<SourceRangeKey<A>, ()>,
}

impl<A: Family> Default for FamilyBatch<A> {
    fn default() -> Self {
        Self {
            backends: Batch::default(),
            frontends: Batch::default(),
            old_frontends: Batch::default(),
            ranges: Batch::default(),
            old_ranges: Batch::default(),
        }
    }
}

impl<A: Family> FamilyBatch<A> {
    pub(super) fn push(&mut self, index: usize, op: &FamilyOp<A>) {
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
            FamilyOp::PutRange { range } => self.ranges.push(index, *range, ADMITTED),
            FamilyOp::DeleteRange { range } => self.old_ranges.push(index, *range, ()),
        }
    }

    pub(super) fn apply(&self, maps: &Services<A>, failed: &mut Failures) {
        self.backends.put(&maps.backends, failed);
        self.frontends.put(&maps.frontends, failed);
        self.old_frontends.delete(&maps.frontends, failed);
        self.ranges.put(&maps.ranges, failed);
        self.old_ranges.delete(&maps.ranges, failed);
    }
}

/// Operations that failed, each once.
#[derive(Default)]
pub(super) struct Failures {
    list: Vec<Failed>,
}

impl Failures {
    pub(super) fn note(&mut self, op: usize, result: Result<(), StoreError>) {
        // A run of slots is one operation of many elements.
        if let Err(error) = result
            && self.list.last().is_none_or(|last| last.op != op)
        {
            self.list.push(Failed { op, error });
        }
    }

    pub(super) fn into_vec(mut self) -> Vec<Failed> {
        self.list.sort_by_key(|failed| failed.op);
        self.list
    }
}
