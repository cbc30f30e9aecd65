//! `BACKENDS_V4` or `BACKENDS_V6`: who has which id, and who still needs it.
//!
//! An element is written once and never changed while anything refers to it: a backend that becomes
//! local, or another port of the same address, is another backend with another id.

use std::collections::{BTreeMap, BTreeSet};

use foldhash::HashMap;
use proxy_common::BackendId;

use crate::endpoints::Backend;

#[derive(Debug)]
struct Entry {
    backend: Backend,
    /// Slots, in use or waiting for their grace period, that name it.
    holders: u32,
    written: bool,
}

#[derive(Debug)]
pub(super) struct BackendTable {
    entries: HashMap<BackendId, Entry>,
    ids: HashMap<Backend, BackendId>,
    free: BTreeSet<u32>,
    /// Ids from here on were never used.
    fresh: u32,
    capacity: u32,
    unwritten: BTreeSet<BackendId>,
    unneeded: BTreeSet<BackendId>,
}

impl BackendTable {
    /// Adopts what is written.
    pub(super) fn adopt(capacity: u32, installed: &BTreeMap<BackendId, Backend>) -> Self {
        let fresh = installed.keys().next_back().map_or(1, |last| last.get() + 1);
        let free = (1..fresh).filter(|id| !installed.contains_key(&BackendId::new(*id))).collect();
        let mut ids = HashMap::default();
        for (id, backend) in installed {
            ids.entry(*backend).or_insert(*id);
        }
        let entries = installed
            .iter()
            .map(|(id, backend)| (*id, Entry { backend: *backend, holders: 0, written: true }))
            .collect();
        let unneeded = installed.keys().copied().collect();
        Self { entries, ids, free, fresh, capacity, unwritten: BTreeSet::new(), unneeded }
    }

    /// There is room for this many, which are no fewer than before.
    pub(super) fn grown(&mut self, capacity: u32) {
        self.capacity = self.capacity.max(capacity);
    }

    /// The id of `backend`, which is needed once more: an old one, or a fresh one that has to be
    /// written. The flag says whether it is new to the table; `None`, that the table is full.
    pub(super) fn hold(&mut self, backend: Backend) -> Option<(BackendId, bool)> {
        if let Some(id) = self.ids.get(&backend).copied() {
            self.hold_again(id);
            return Some((id, false));
        }
        let id = match self.free.pop_first() {
            Some(id) => id,
            None if self.fresh < self.capacity => {
                self.fresh += 1;
                self.fresh - 1
            }
            None => return None,
        };
        let id = BackendId::new(id);
        self.entries.insert(id, Entry { backend, holders: 1, written: false });
        self.ids.insert(backend, id);
        self.unwritten.insert(id);
        Some((id, true))
    }

    /// `id` is needed once more; whether there is such a backend.
    pub(super) fn hold_again(&mut self, id: BackendId) -> bool {
        let Some(entry) = self.entries.get_mut(&id) else { return false };
        entry.holders += 1;
        if entry.holders == 1 {
            self.unneeded.remove(&id);
        }
        true
    }

    /// `id` is needed once less. Who calls this has waited until no packet can meet it.
    pub(super) fn release(&mut self, id: BackendId) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.holders -= 1;
            if entry.holders == 0 {
                self.unneeded.insert(id);
            }
        }
    }

    /// The backend with `id`, written or about to be.
    pub(super) fn get(&self, id: BackendId) -> Option<&Backend> {
        self.entries.get(&id).map(|entry| &entry.backend)
    }

    /// Drops unneeded backends that were never written, and lists them.
    pub(super) fn forget_unwritten(&mut self) -> Vec<Backend> {
        let never: Vec<BackendId> = self.unneeded.intersection(&self.unwritten).copied().collect();
        never.into_iter().filter_map(|id| self.remove(id)).collect()
    }

    /// What has to be written.
    pub(super) fn unwritten(&self) -> Vec<BackendId> {
        self.unwritten.iter().copied().collect()
    }

    /// `id` was written.
    pub(super) fn wrote(&mut self, id: BackendId) {
        self.unwritten.remove(&id);
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.written = true;
        }
    }

    /// What can be zeroed.
    pub(super) fn unneeded(&self) -> Vec<BackendId> {
        self.unneeded.iter().copied().collect()
    }

    /// `id` was zeroed and may be used again. Returns the backend that had it.
    pub(super) fn cleared(&mut self, id: BackendId) -> Option<Backend> {
        self.remove(id)
    }

    fn remove(&mut self, id: BackendId) -> Option<Backend> {
        self.unneeded.remove(&id);
        self.unwritten.remove(&id);
        let entry = self.entries.remove(&id)?;
        if self.ids.get(&entry.backend) == Some(&id) {
            self.ids.remove(&entry.backend);
        }
        self.free.insert(id.get());
        Some(entry.backend)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proxy_common::BackendId;

    use super::BackendTable;
    use crate::endpoints::Backend;

    fn backend(port: u16) -> Backend {
        Backend { address: "10.1.0.1".parse().unwrap(), port, local: false }
    }

    fn table(capacity: u32) -> BackendTable {
        BackendTable::adopt(capacity, &BTreeMap::new())
    }

    #[test]
    fn equal_backends_share_an_id_and_id_0_is_never_given() {
        let mut table = table(4);
        assert_eq!(table.hold(backend(80)), Some((BackendId::new(1), true)));
        assert_eq!(table.hold(backend(80)), Some((BackendId::new(1), false)));
        assert_eq!(table.unwritten().len(), 1);
    }

    #[test]
    fn an_id_is_given_again_only_after_it_was_zeroed() {
        let mut table = table(2);
        let (id, _) = table.hold(backend(80)).unwrap();
        table.wrote(id);
        table.release(id);
        assert_eq!(table.hold(backend(81)), None);
        assert_eq!(table.unneeded().len(), 1);
        assert_eq!(table.cleared(id), Some(backend(80)));
        assert_eq!(table.hold(backend(81)), Some((id, true)));
    }

    #[test]
    fn a_table_that_has_grown_gives_the_ids_that_came_with_it() {
        let mut table = table(2);
        assert!(table.hold(backend(80)).is_some());
        assert_eq!(table.hold(backend(81)), None);
        table.grown(3);
        assert_eq!(table.hold(backend(81)), Some((BackendId::new(2), true)));
        assert_eq!(table.hold(backend(82)), None);
    }

    #[test]
    fn a_backend_that_is_needed_again_is_not_zeroed() {
        let mut table = table(2);
        let (id, _) = table.hold(backend(80)).unwrap();
        table.wrote(id);
        table.release(id);
        assert_eq!(table.hold(backend(80)), Some((id, false)));
        assert!(table.unneeded().is_empty() && table.unwritten().is_empty());
    }

    #[test]
    fn what_was_never_written_is_forgotten_without_a_write() {
        let mut table = table(2);
        let (id, _) = table.hold(backend(80)).unwrap();
        table.release(id);
        assert_eq!(table.forget_unwritten(), [backend(80)]);
        assert!(table.unneeded().is_empty());
    }

    #[test]
    fn adopted_ids_stay() {
        let installed = BTreeMap::from([(BackendId::new(3), backend(80))]);
        let mut table = BackendTable::adopt(8, &installed);
        assert_eq!(table.hold(backend(80)), Some((BackendId::new(3), false)));
        assert_eq!(table.hold(backend(81)), Some((BackendId::new(1), true)));
        assert!(table.unneeded().is_empty());
    }
}
