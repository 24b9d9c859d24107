//! A matrix that tasks write side by side.

/// Where tasks write parts of rows.
pub(super) struct Output {
    start: *mut f32,
    rows: usize,
    width: usize,
}

// SAFETY: it is only written through, and whoever makes one promises that no place is written twice.
unsafe impl Sync for Output {}

impl Output {
    /// The matrix `[rows, width]` that `fill` writes. Zeros would be written first otherwise, on one
    /// thread.
    ///
    /// # Safety
    /// `fill` writes each number once.
    pub(super) unsafe fn filled(rows: usize, width: usize, fill: impl FnOnce(&Self)) -> Vec<f32> {
        let mut numbers = Vec::with_capacity(rows * width);
        let start = numbers.as_mut_ptr();
        fill(&Self { start, rows, width });
        // SAFETY: so many were asked for, and by the caller's promise all have been written.
        unsafe { numbers.set_len(rows * width) };
        numbers
    }

    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// Writes numbers into a row, from this column on.
    ///
    /// # Panics
    /// They do not fit there.
    #[inline(always)]
    pub(super) fn write(&self, row: usize, column: usize, numbers: &[f32]) {
        assert!(row < self.rows && column + numbers.len() <= self.width);
        let at = row * self.width + column;
        // SAFETY: inside the matrix by the assertion; nobody else writes there, and `numbers` cannot lie
        // there, since nothing lends of it yet.
        unsafe {
            std::ptr::copy_nonoverlapping(numbers.as_ptr(), self.start.add(at), numbers.len());
        }
    }
}
