//! Telling the allocator to keep what is freed.

/// Makes the C allocator keep freed memory instead of giving it back to the kernel. Call it first
/// thing in a program that trains or generates.
///
/// Every tensor operation allocates a fresh buffer. By default glibc maps large ones anew each
/// time, and the page faults cost more than much of the arithmetic. The process then holds its
/// peak memory until it ends. Does nothing under another C library.
pub fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        // Freed memory at the top of the heap is returned only beyond this; the largest value the
        // call takes.
        const TRIM_THRESHOLD_BYTES: libc::c_int = libc::c_int::MAX;
        // The heap grows by this much at once.
        const TOP_PAD_BYTES: libc::c_int = 64 << 20;
        // By default threads have heaps of their own, of at most 64 MB: what is larger is mapped anew each
        // time, whatever was said about it, and memory that one thread freed serves no other.
        const HEAPS: libc::c_int = 1;
        // SAFETY: mallopt takes two integers, may be called at any time and touches only the
        // allocator's own settings, under its own lock. A refused setting leaves the default.
        unsafe {
            libc::mallopt(libc::M_ARENA_MAX, HEAPS);
            libc::mallopt(libc::M_MMAP_MAX, 0);
            libc::mallopt(libc::M_TRIM_THRESHOLD, TRIM_THRESHOLD_BYTES);
            libc::mallopt(libc::M_TOP_PAD, TOP_PAD_BYTES);
        }
    }
}
