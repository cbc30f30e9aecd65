//! The C library's heap, as a process that is busy once and then idle for hours wants it.
//!
//! glibc gives each thread an arena of its own and keeps what is freed: after a first list the
//! largest part of what that took would stay resident for ever. Other C libraries are left alone.
//! Called by [`crate::cli`] before there are threads, and by the agent's writer.

/// All threads share one arena. Call it while there is one thread.
pub fn share_arena() {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt(3) takes two numbers and changes the allocator's settings only; it has to be
    // called while there is one thread, which callers see to.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// Gives pages that are free back to the kernel. Takes milliseconds.
pub fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim(3) takes the allocator's own locks, and touches no memory that is in use.
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::trim;

    fn resident_pages() -> usize {
        let statm = fs::read_to_string("/proc/self/statm").unwrap();
        statm.split(' ').nth(1).unwrap().parse().unwrap()
    }

    #[test]
    fn what_is_freed_goes_back_to_the_kernel() {
        // Too small to be mapped one by one, and the last one stays, above all the others.
        let mut blocks: Vec<Vec<u8>> = (0..4_000).map(|_| vec![1; 16 << 10]).collect();
        let kept = blocks.pop();
        drop(blocks);
        let before = resident_pages();
        trim();
        let after = resident_pages();
        drop(kept);
        // 64 MB are 16,000 pages; other tests run beside this one.
        assert!(after + 8_000 < before, "{before} pages before, {after} after");
    }
}
