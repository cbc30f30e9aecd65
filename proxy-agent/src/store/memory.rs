//! Maps in memory: for tests, and wherever the maps should be computed and not written.
//!
//! As strict as the kernel: a full hash refuses, an index past the end of an array is an error.

use std::io;

use proxy_common::{Address, BackendId};

use super::{Capacity, Failed, FamilyOp, Installed, InstalledFamily, MapStore, Op, StoreError};

/// The kernel's answer to an index past the end of an array.
const E2BIG: i32 = 7;

/// Maps in memory.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    content: Installed,
    applied: usize,
}

impl MemoryStore {
    /// Empty maps.
    #[must_use]
    pub fn with_capacity(capacity: Capacity) -> Self {
        Self { content: Installed { capacity, ..Installed::default() }, applied: 0 }
    }

    /// What the maps hold.
    #[must_use]
    pub const fn content(&self) -> &Installed {
        &self.content
    }

    /// The maps have this much room from now on, which is no less than before.
    pub const fn grow(&mut self, capacity: Capacity) {
        self.content.capacity = capacity;
    }

    /// How many operations were applied so far.
    #[must_use]
    pub const fn applied(&self) -> usize {
        self.applied
    }

    fn apply_one(&mut self, op: &Op) -> Result<(), StoreError> {
        let capacity = self.content.capacity;
        match op {
            Op::PutConfig(config) => self.content.config = Some(config.clone()),
            Op::PutFilter { word, value } => {
                let element = self.content.filter.get_mut(*word as usize);
                *element.ok_or_else(|| past_the_end(op))? = *value;
            }
            Op::PutSlots { base, backends } => {
                let (start, end) = (*base as usize, *base as usize + backends.len());
                if end > capacity.slots as usize {
                    return Err(past_the_end(op));
                }
                if self.content.slots.len() < end {
                    self.content.slots.resize(end, BackendId::default());
                }
                if let Some(slots) = self.content.slots.get_mut(start..end) {
                    slots.copy_from_slice(backends);
                }
            }
            Op::PutName { id, name } => _ = self.content.names.insert(*id, **name),
            Op::DeleteName { id } => _ = self.content.names.remove(id),
            Op::PutMember { member, sets } => {
                let full = self.content.members.len() >= capacity.members as usize;
                if full && !self.content.members.contains_key(member) {
                    return Err(StoreError::Full { map: op.map() });
                }
                self.content.members.insert(*member, *sets);
            }
            Op::DeleteMember { member } => _ = self.content.members.remove(member),
            Op::PutTurn { id } => _ = self.content.turns.insert(*id),
            Op::DeleteTurn { id } => _ = self.content.turns.remove(id),
            Op::V4(of_family) => {
                let backends = capacity.backends_v4;
                apply_family(&mut self.content.v4, (capacity, backends), of_family, op)?;
            }
            Op::V6(of_family) => {
                let backends = capacity.backends_v6;
                apply_family(&mut self.content.v6, (capacity, backends), of_family, op)?;
            }
        }
        self.applied += 1;
        Ok(())
    }
}

fn apply_family<A: Address>(
    maps: &mut InstalledFamily<A>,
    (capacity, backends): (Capacity, u32),
    of_family: &FamilyOp<A>,
    op: &Op,
) -> Result<(), StoreError> {
    match of_family {
        FamilyOp::PutBackend { id, .. } if id.get() >= backends => {
            return Err(past_the_end(op));
        }
        FamilyOp::PutBackend { id, backend } => _ = maps.backends.insert(*id, *backend),
        FamilyOp::ClearBackend { id } => _ = maps.backends.remove(id),
        FamilyOp::PutFrontend { frontend, service } => {
            let full = maps.frontends.len() >= capacity.frontends as usize;
            if full && !maps.frontends.contains_key(frontend) {
                return Err(StoreError::Full { map: op.map() });
            }
            maps.frontends.insert(*frontend, *service);
        }
        FamilyOp::DeleteFrontend { frontend } => _ = maps.frontends.remove(frontend),
        FamilyOp::PutRange { range } => {
            let full = maps.ranges.len() >= capacity.ranges as usize;
            if full && !maps.ranges.contains(range) {
                return Err(StoreError::Full { map: op.map() });
            }
            maps.ranges.insert(*range);
        }
        FamilyOp::DeleteRange { range } => _ = maps.ranges.remove(range),
    }
    Ok(())
}

fn past_the_end(op: &Op) -> StoreError {
    StoreError::Kernel {
        call: "BPF_MAP_UPDATE_ELEM",
        map: op.map(),
        source: io::Error::from_raw_os_error(E2BIG),
    }
}

impl MapStore for MemoryStore {
    fn apply(&mut self, ops: &[Op]) -> Vec<Failed> {
        ops.iter()
            .enumerate()
            .filter_map(|(index, op)| {
                self.apply_one(op).err().map(|error| Failed { op: index, error })
            })
            .collect()
    }

    fn read(&self) -> Result<Installed, StoreError> {
        Ok(self.content.clone())
    }
}
