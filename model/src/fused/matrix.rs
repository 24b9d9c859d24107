//! Products of matrices that lie anywhere in memory.

use std::ops::Range;

use gemm::{Parallelism, gemm};

/// `rows x columns` numbers, so far apart.
#[derive(Clone, Copy)]
pub(super) struct Matrix<'a> {
    pub(super) values: &'a [f32],
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) row_stride: usize,
    pub(super) column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// Rows of `columns` numbers, one behind the other.
    pub(super) fn packed(values: &'a [f32], columns: usize) -> Self {
        Self {
            values,
            rows: values.len() / columns,
            columns,
            row_stride: columns,
            column_stride: 1,
        }
    }

    /// Rows and columns exchanged.
    pub(super) fn turned(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }

    /// These rows alone.
    pub(super) fn rows(self, rows: Range<usize>) -> Self {
        Self {
            values: &self.values[rows.start * self.row_stride..],
            rows: rows.len(),
            ..self
        }
    }

    /// Numbers from the first to behind the last.
    pub(super) fn span(&self) -> usize {
        (self.rows - 1) * self.row_stride + (self.columns - 1) * self.column_stride + 1
    }
}

/// Writes `left * right` into `output`, whose rows begin `row_stride` apart, or adds it to what is
/// there. Runs on this thread alone.
///
/// # Panics
/// Shapes do not fit together or reach beyond the memory given.
pub(super) fn multiply(
    output: &mut [f32],
    row_stride: usize,
    left: Matrix<'_>,
    right: Matrix<'_>,
    is_added: bool,
) {
    multiply_by(output, row_stride, left, right, is_added, Parallelism::None);
}

/// As [`multiply`], without adding, on all threads.
///
/// # Panics
/// Shapes do not fit together or reach beyond the memory given.
pub(super) fn multiply_on_all(
    output: &mut [f32],
    row_stride: usize,
    left: Matrix<'_>,
    right: Matrix<'_>,
) {
    let threads = Parallelism::Rayon(rayon::current_num_threads());
    multiply_by(output, row_stride, left, right, false, threads);
}

fn multiply_by(
    output: &mut [f32],
    row_stride: usize,
    left: Matrix<'_>,
    right: Matrix<'_>,
    is_added: bool,
    parallelism: Parallelism,
) {
    let (rows, inner, columns) = (left.rows, left.columns, right.columns);
    assert_eq!(inner, right.rows, "the inner sizes of a product");
    if rows == 0 || columns == 0 || inner == 0 {
        return;
    }
    assert!(left.span() <= left.values.len() && right.span() <= right.values.len());
    assert!(columns <= row_stride && (rows - 1) * row_stride + columns <= output.len());
    let keep = if is_added { 1.0 } else { 0.0 };
    // SAFETY: the assertions hold every number read and written within its slice, and the slice
    // written to is borrowed by nobody else.
    unsafe {
        gemm(
            rows,
            columns,
            inner,
            output.as_mut_ptr(),
            1,
            row_stride as isize,
            is_added,
            left.values.as_ptr(),
            left.column_stride as isize,
            left.row_stride as isize,
            right.values.as_ptr(),
            right.column_stride as isize,
            right.row_stride as isize,
            keep,
            1.0,
            false,
            false,
            false,
            parallelism,
        );
    }
}
