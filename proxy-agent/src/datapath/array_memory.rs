//! The elements of an array map as memory (`BPF_F_MMAPABLE`, kernel ≥ 5.5): half a million are read in
//! a millisecond, where the batch command takes a quarter of a second.
//!
//! Called by [`crate::datapath::raw_map`].

use std::{
    io,
    os::fd::BorrowedFd,
    ptr::{self, NonNull},
    sync::atomic::{AtomicU64, Ordering},
};

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// Elements begin at multiples of this many bytes, as `array_map_alloc` lays them out.
const WORD: usize = size_of::<u64>();

/// An array's elements, mapped for reading.
pub(super) struct ArrayMemory {
    words: NonNull<AtomicU64>,
    /// Words of an element.
    stride: usize,
    value_size: usize,
    count: usize,
}

impl ArrayMemory {
    /// Maps the `count` elements of the array `map`, which is mappable.
    pub(super) fn map(map: BorrowedFd<'_>, count: usize, value_size: usize) -> io::Result<Self> {
        let stride = value_size.div_ceil(WORD);
        let (read, shared) = (ProtFlags::READ, MapFlags::SHARED);
        // SAFETY: the kernel chooses a place where nothing is.
        let start = unsafe { mmap(ptr::null_mut(), count * stride * WORD, read, shared, map, 0) }?;
        let words = NonNull::new(start.cast()).ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Self { words, stride, value_size, count })
    }

    /// Shows every element, `batch` at a time: keys and values side by side. Of one that is written
    /// meanwhile, each word is the old or the new one.
    pub(super) fn for_each_batch(&self, batch: usize, mut visit: impl FnMut(&[u8], &[u8])) {
        let mut keys = Vec::with_capacity(batch * size_of::<u32>());
        let mut values = Vec::with_capacity(batch * self.value_size);
        let mut elements = (0_u32..).zip(self.words().chunks_exact(self.stride)).peekable();
        while elements.peek().is_some() {
            keys.clear();
            values.clear();
            for (key, element) in elements.by_ref().take(batch) {
                keys.extend_from_slice(&key.to_ne_bytes());
                let mut left = self.value_size;
                for word in element {
                    let bytes = word.load(Ordering::Relaxed).to_ne_bytes();
                    let wanted = left.min(WORD);
                    values.extend_from_slice(&bytes[..wanted]);
                    left -= wanted;
                }
            }
            visit(&keys, &values);
        }
    }

    fn words(&self) -> &[AtomicU64] {
        // SAFETY: so many words are mapped, at a page's boundary, until this is dropped. Others write
        // them, which atomic reads allow for.
        unsafe { std::slice::from_raw_parts(self.words.as_ptr(), self.count * self.stride) }
    }
}

impl Drop for ArrayMemory {
    fn drop(&mut self) {
        // SAFETY: nobody has a reference to what is mapped here any more. Failing leaves it mapped.
        let _ = unsafe { munmap(self.words.as_ptr().cast(), self.count * self.stride * WORD) };
    }
}
