//! A map by its bytes: one element at a time or many in one call, with the lengths checked.
//!
//! Kernels before 5.6, and some kinds of map on later ones, have no batch commands; then elements
//! go one by one and the caller doesn't notice. Called by [`crate::datapath::map`], which adds
//! types, and by [`crate::datapath::copy`], which needs none.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use super::{
    array_memory::ArrayMemory,
    syscall::{self, BatchAttr, Command, ElementAttr, MapInfo},
};

/// Elements in one batch call: enough to make the call itself cheap, little enough for its buffers
/// to stay in the cache.
const BATCH: usize = 4096;

/// A map, and the lengths that every key and value has.
#[derive(Debug)]
pub(super) struct RawMap {
    fd: OwnedFd,
    key_size: usize,
    value_size: usize,
    is_array: bool,
    /// How many elements are to be had as memory; 0 when that can't be.
    mappable: usize,
}

impl RawMap {
    /// A map and what the kernel says of it. A value of a per-CPU map is what the kernel returns:
    /// the values of all `cpus` together, each rounded up to eight bytes.
    pub(super) fn new(fd: OwnedFd, info: &MapInfo, cpus: usize) -> Self {
        let value = info.value_size as usize;
        let value_size = if info.is_per_cpu() { value.next_multiple_of(8) * cpus } else { value };
        let mappable = if info.is_mappable() { info.max_entries as usize } else { 0 };
        let (key_size, is_array) = (info.key_size as usize, info.is_array());
        Self { fd, key_size, value_size, is_array, mappable }
    }

    /// Whether it has all its elements at all times.
    pub(super) fn is_array(&self) -> bool {
        self.is_array
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// The value under `key`; false when there is none.
    pub(super) fn lookup(&self, key: &[u8], value: &mut [u8]) -> io::Result<bool> {
        self.check(key, value, 1);
        found(self.element(Command::MapLookup, address(key), address_mut(value), 0))
    }

    /// The bytes of a key and of a value.
    pub(super) fn sizes(&self) -> (usize, usize) {
        (self.key_size, self.value_size)
    }

    /// Writes an element unless there is one. Whether it was written.
    pub(super) fn insert(&self, key: &[u8], value: &[u8]) -> io::Result<bool> {
        /// `BPF_NOEXIST`
        const IF_ABSENT: u64 = 1;
        self.check(key, value, 1);
        match self.element(Command::MapUpdate, address(key), address(value), IF_ABSENT) {
            Ok(_) => Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(false),
            Err(error) => Err(error),
        }
    }

    pub(super) fn update(&self, key: &[u8], value: &[u8]) -> io::Result<()> {
        self.check(key, value, 1);
        self.element(Command::MapUpdate, address(key), address(value), 0).map(drop)
    }

    /// Removes the element under `key`; false when there was none.
    pub(super) fn delete(&self, key: &[u8]) -> io::Result<bool> {
        assert_eq!(key.len(), self.key_size);
        found(self.element(Command::MapDelete, address(key), 0, 0))
    }

    /// Writes elements in order. On an error, how many were written before it.
    pub(super) fn update_many(&self, keys: &[u8], values: &[u8]) -> Result<(), (usize, io::Error)> {
        let count = keys.len() / self.key_size;
        self.check(keys, values, count);
        let elements = || keys.chunks(self.key_size).zip(values.chunks(self.value_size));
        let mut done = 0;
        while done < count {
            let batch = BATCH.min(count - done);
            let keys = &keys[done * self.key_size..];
            let values = &values[done * self.value_size..];
            let (written, result) =
                self.batch(Command::MapUpdateBatch, keys, address(values), batch);
            match result {
                Err(error) if unsupported(&error) => {
                    for (key, value) in elements().skip(done) {
                        self.update(key, value).map_err(|error| (done, error))?;
                        done += 1;
                    }
                }
                Err(error) => return Err((done + written, error)),
                Ok(()) => done += batch,
            }
        }
        Ok(())
    }

    /// Removes elements; those that aren't there are passed over. Returns how many there were.
    pub(super) fn delete_many(&self, keys: &[u8]) -> io::Result<usize> {
        let count = keys.len() / self.key_size;
        assert_eq!(keys.len(), count * self.key_size);
        let (mut done, mut removed) = (0, 0);
        while done < count {
            let batch = BATCH.min(count - done);
            let rest = &keys[done * self.key_size..];
            let (deleted, result) = self.batch(Command::MapDeleteBatch, rest, 0, batch);
            match result {
                Err(error) if unsupported(&error) => {
                    for key in rest.chunks(self.key_size) {
                        removed += usize::from(self.delete(key)?);
                    }
                    done = count;
                }
                // The element after those that were removed isn't there.
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {
                    removed += deleted;
                    done += deleted + 1;
                }
                Err(error) => return Err(error),
                Ok(()) => {
                    removed += batch;
                    done += batch;
                }
            }
        }
        Ok(removed)
    }

    /// Reads every element, a batch at a time: keys and values side by side. An element that is
    /// written meanwhile may be seen or not, one that is moved may be seen twice.
    pub(super) fn for_each_batch(&self, mut visit: impl FnMut(&[u8], &[u8])) -> io::Result<()> {
        if self.mappable != 0
            && let Ok(memory) = ArrayMemory::map(self.fd(), self.mappable, self.value_size)
        {
            memory.for_each_batch(BATCH, visit);
            return Ok(());
        }
        let mut capacity = BATCH;
        // A hash's cursor is a bucket number, an array's a key.
        let mut cursor = vec![0u8; self.key_size.max(8)];
        let mut keys = vec![0u8; capacity * self.key_size];
        let mut values = vec![0u8; capacity * self.value_size];
        let mut first = true;
        loop {
            let mut attr = BatchAttr {
                in_batch: if first { 0 } else { address(&cursor) },
                out_batch: address_mut(&mut cursor),
                keys: address_mut(&mut keys),
                values: address_mut(&mut values),
                count: u32::try_from(capacity).unwrap_or(u32::MAX),
                map: syscall::number(self.fd()),
                ..BatchAttr::default()
            };
            // SAFETY: the buffers have room for `count` elements of the sizes that the kernel gave,
            // the cursor for a key and for a bucket number, and all live until the call returns.
            let result = unsafe { syscall::bpf(Command::MapLookupBatch, &mut attr) };
            let last = match &result {
                Ok(_) => false,
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => true,
                // A bucket holds more than there is room for.
                Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => {
                    capacity *= 2;
                    keys.resize(capacity * self.key_size, 0);
                    values.resize(capacity * self.value_size, 0);
                    continue;
                }
                Err(error) if first && unsupported(error) => return self.for_each(visit),
                Err(_) => return result.map(drop),
            };
            let count = attr.count as usize;
            if count > 0 {
                visit(&keys[..count * self.key_size], &values[..count * self.value_size]);
            }
            if last {
                return Ok(());
            }
            first = false;
        }
    }

    fn for_each(&self, mut visit: impl FnMut(&[u8], &[u8])) -> io::Result<()> {
        let mut key = vec![0u8; self.key_size];
        let mut next = vec![0u8; self.key_size];
        let mut value = vec![0u8; self.value_size];
        let mut from = 0;
        while found(self.element(Command::MapNextKey, from, address_mut(&mut next), 0))? {
            key.copy_from_slice(&next);
            if self.lookup(&key, &mut value)? {
                visit(&key, &value);
            }
            from = address(&key);
        }
        Ok(())
    }

    /// One batch of the first `count` elements, and how many of it were done. `keys` and `values`
    /// (an address, or 0 where there are none) must have that many.
    fn batch(
        &self,
        command: Command,
        keys: &[u8],
        values: u64,
        count: usize,
    ) -> (usize, io::Result<()>) {
        let mut attr = BatchAttr {
            keys: address(keys),
            values,
            count: u32::try_from(count).unwrap_or(u32::MAX),
            map: syscall::number(self.fd()),
            ..BatchAttr::default()
        };
        // SAFETY: the callers have checked that `keys` and `values` have `count` elements.
        let result = unsafe { syscall::bpf(command, &mut attr) }.map(drop);
        (attr.count as usize, result)
    }

    /// One command on one element. `key` and `value` are addresses of a key and a value of this
    /// map, or 0 where the command takes none.
    fn element(&self, command: Command, key: u64, value: u64, flags: u64) -> io::Result<i32> {
        let mut attr = ElementAttr { map: syscall::number(self.fd()), pad: 0, key, value, flags };
        // SAFETY: the callers have checked the lengths of what they made the addresses of.
        unsafe { syscall::bpf(command, &mut attr) }
    }

    fn check(&self, keys: &[u8], values: &[u8], count: usize) {
        assert_eq!(keys.len(), count * self.key_size);
        assert_eq!(values.len(), count * self.value_size);
    }
}

fn address(bytes: &[u8]) -> u64 {
    bytes.as_ptr().expose_provenance() as u64
}

fn address_mut(bytes: &mut [u8]) -> u64 {
    bytes.as_mut_ptr().expose_provenance() as u64
}

fn found(result: io::Result<i32>) -> io::Result<bool> {
    match result {
        Ok(_) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The kernel doesn't have the command (EINVAL before 5.6), or not for this kind of map (ENOTSUPP,
/// which has no name in user space).
fn unsupported(error: &io::Error) -> bool {
    const ENOTSUPP: i32 = 524;
    matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP | ENOTSUPP))
}
