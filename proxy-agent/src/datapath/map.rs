//! A pinned map with the types of its keys and values.
//!
//! Called by [`crate::store`], [`crate::flows`], [`crate::devices`] and [`crate::cli`]. Checks at
//! the opening that the map in the kernel has the sizes that the types say; what the bytes mean is
//! `proxy-common`'s business.

use std::{io, marker::PhantomData, os::fd::AsFd, path::Path};

use bytemuck::Pod;

use super::{
    raw_map::RawMap,
    syscall::{self, MapInfo},
};

/// A map operation that failed.
#[derive(Debug, thiserror::Error)]
#[error("map {map}: {call}: {source}{}", self.remedy())]
pub struct MapError {
    /// The map's name.
    pub map: &'static str,
    /// The bpf(2) command.
    pub call: &'static str,
    /// What the kernel said.
    pub source: io::Error,
}

impl MapError {
    /// The map has no room for another element.
    #[must_use]
    pub fn is_full(&self) -> bool {
        // An LPM trie says ENOSPC, all others say E2BIG.
        matches!(self.source.raw_os_error(), Some(libc::E2BIG | libc::ENOSPC))
    }

    /// There is no such map: nothing is installed here.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        self.call == OPEN && self.source.kind() == io::ErrorKind::NotFound
    }

    fn remedy(&self) -> &'static str {
        match self.source.raw_os_error() {
            Some(libc::E2BIG | libc::ENOSPC) => ": the map is full",
            Some(libc::EPERM | libc::EACCES) => ": run as root",
            _ => "",
        }
    }
}

const OPEN: &str = "open";

/// A pinned map of `K` to `V`.
#[derive(Debug)]
pub struct Map<K, V> {
    name: &'static str,
    raw: RawMap,
    max_entries: u32,
    types: PhantomData<fn() -> (K, V)>,
}

impl<K: Pod, V: Pod> Map<K, V> {
    /// Opens the map `name` that is pinned in `directory`.
    ///
    /// # Errors
    /// When there is none, or its keys or values have other sizes than the types.
    pub fn open(directory: &Path, name: &'static str) -> Result<Self, MapError> {
        let (raw, info) = open::<K, V>(directory, name, None)?;
        Ok(Self { name, raw, max_entries: info.max_entries, types: PhantomData })
    }

    /// The map's name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// How many elements it has room for.
    #[must_use]
    pub fn max_entries(&self) -> u32 {
        self.max_entries
    }

    /// The value under `key`.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn get(&self, key: &K) -> Result<Option<V>, MapError> {
        let mut value = V::zeroed();
        self.raw
            .lookup(bytemuck::bytes_of(key), bytemuck::bytes_of_mut(&mut value))
            .map(|found| found.then_some(value))
            .map_err(|source| self.failed("lookup", source))
    }

    /// Writes one element, whether or not there is one.
    ///
    /// # Errors
    /// What the kernel said; see [`MapError::is_full`].
    pub fn put(&self, key: &K, value: &V) -> Result<(), MapError> {
        self.raw
            .update(bytemuck::bytes_of(key), bytemuck::bytes_of(value))
            .map_err(|source| self.failed("update", source))
    }

    /// Writes one element unless there is one. Whether it was written.
    ///
    /// # Errors
    /// What the kernel said; see [`MapError::is_full`].
    pub fn insert(&self, key: &K, value: &V) -> Result<bool, MapError> {
        self.raw
            .insert(bytemuck::bytes_of(key), bytemuck::bytes_of(value))
            .map_err(|source| self.failed("update", source))
    }

    /// Writes elements in order.
    ///
    /// # Errors
    /// What the kernel said, with the number of elements that were written before.
    pub fn put_all(&self, keys: &[K], values: &[V]) -> Result<(), (usize, MapError)> {
        self.raw
            .update_many(bytemuck::cast_slice(keys), bytemuck::cast_slice(values))
            .map_err(|(done, source)| (done, self.failed("update", source)))
    }

    /// Removes an element. Whether there was one.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn delete(&self, key: &K) -> Result<bool, MapError> {
        self.raw.delete(bytemuck::bytes_of(key)).map_err(|source| self.failed("delete", source))
    }

    /// Removes elements. How many of them there were.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn delete_all(&self, keys: &[K]) -> Result<usize, MapError> {
        self.raw
            .delete_many(bytemuck::cast_slice(keys))
            .map_err(|source| self.failed("delete", source))
    }

    /// Visits every element. One that is written meanwhile may be seen, or not, or twice.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn for_each(&self, mut visit: impl FnMut(K, V)) -> Result<(), MapError> {
        self.raw
            .for_each_batch(|keys, values| {
                let keys = keys.chunks_exact(size_of::<K>());
                for (key, value) in keys.zip(values.chunks_exact(size_of::<V>())) {
                    visit(bytemuck::pod_read_unaligned(key), bytemuck::pod_read_unaligned(value));
                }
            })
            .map_err(|source| self.failed("lookup", source))
    }

    /// Every element.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn entries(&self) -> Result<Vec<(K, V)>, MapError> {
        let mut entries = Vec::new();
        self.for_each(|key, value| entries.push((key, value)))?;
        Ok(entries)
    }

    fn failed(&self, call: &'static str, source: io::Error) -> MapError {
        MapError { map: self.name, call, source }
    }
}

/// A pinned per-CPU array of `V`.
#[derive(Debug)]
pub struct PerCpuArray<V> {
    name: &'static str,
    raw: RawMap,
    cpus: usize,
    types: PhantomData<fn() -> V>,
}

impl<V: Pod> PerCpuArray<V> {
    /// Opens the map `name` that is pinned in `directory`.
    ///
    /// # Errors
    /// As for [`Map::open`]; also when the number of CPUs can't be read.
    pub fn open(directory: &Path, name: &'static str) -> Result<Self, MapError> {
        let cpus = aya::util::nr_cpus().map_err(|(_, source)| MapError {
            map: name,
            call: "count CPUs",
            source,
        })?;
        let (raw, _) = open::<u32, V>(directory, name, Some(cpus))?;
        Ok(Self { name, raw, cpus, types: PhantomData })
    }

    /// Every CPU's value of the element `index`.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn get(&self, index: u32) -> Result<Vec<V>, MapError> {
        let stride = size_of::<V>().next_multiple_of(8);
        let mut values = vec![0u8; self.cpus * stride];
        self.raw.lookup(bytemuck::bytes_of(&index), &mut values).map_err(|source| MapError {
            map: self.name,
            call: "lookup",
            source,
        })?;
        Ok(values
            .chunks_exact(stride)
            .map(|value| bytemuck::pod_read_unaligned(&value[..size_of::<V>()]))
            .collect())
    }
}

impl PerCpuArray<u64> {
    /// The sum over all CPUs of the element `index`.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn sum(&self, index: u32) -> Result<u64, MapError> {
        Ok(self.get(index)?.into_iter().fold(0, u64::wrapping_add))
    }
}

fn open<K: Pod, V: Pod>(
    directory: &Path,
    name: &'static str,
    cpus: Option<usize>,
) -> Result<(RawMap, MapInfo), MapError> {
    let failed = |source| MapError { map: name, call: OPEN, source };
    let fd = syscall::open(&directory.join(name)).map_err(failed)?;
    let info: MapInfo = syscall::info(fd.as_fd()).map_err(failed)?;
    let sizes = (info.key_size as usize, info.value_size as usize);
    if sizes == (size_of::<K>(), size_of::<V>()) && info.is_per_cpu() == cpus.is_some() {
        Ok((RawMap::new(fd, &info, cpus.unwrap_or(1)), info))
    } else {
        Err(failed(io::ErrorKind::InvalidData.into()))
    }
}
