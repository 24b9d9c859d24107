//! The left side of a product, laid out as [`super::tile`] reads it.

use std::mem::MaybeUninit;
use std::ops::Range;

use rayon::prelude::*;

use super::lines::{Line, Square, turn};
use super::matrix::Matrix;
use super::norm::RowNorm;
use super::vectors::WIDTH;

/// Lines of a panel that belong to one input.
pub(super) const MOST_LINES: usize = 3;

/// Rows of a panel.
pub(super) const PANEL_ROWS: usize = MOST_LINES * WIDTH;

/// Rows `[M, in]` in panels of [`PANEL_ROWS`], the last of which may be smaller: in a panel the
/// numbers of one input lie side by side, one of each row.
pub(super) struct Panels {
    lines: Vec<Line>,
    rows: usize,
    inputs: usize,
}

/// Where tasks write parts of panels.
pub(super) struct Places {
    start: *mut Line,
    rows: usize,
    inputs: usize,
}

// SAFETY: `Places::take` asks its callers not to take the same lines twice.
unsafe impl Sync for Places {}

impl Places {
    /// The lines of these inputs of a panel, zeros.
    ///
    /// # Safety
    /// No other caller takes any of these lines.
    ///
    /// # Panics
    /// There is no such panel, or it has fewer inputs.
    #[expect(
        clippy::mut_from_ref,
        reason = "each line is lent once, by the caller's promise"
    )]
    pub(super) unsafe fn take(&self, panel: usize, inputs: Range<usize>) -> &mut [Line] {
        let start = panel * PANEL_ROWS;
        assert!(start < self.rows && inputs.end <= self.inputs);
        let per_input = lines_of(PANEL_ROWS.min(self.rows - start));
        let first = lines_of(start) * self.inputs + inputs.start * per_input;
        let count = inputs.len() * per_input;
        // SAFETY: the lines lie in memory that was asked for, by the assertion, and are written before
        // they are lent, to this caller alone by its promise.
        unsafe {
            let lines = self.start.add(first);
            for line in 0..count {
                lines.add(line).write(Line::ZERO);
            }
            std::slice::from_raw_parts_mut(lines, count)
        }
    }
}

/// One of [`Panels`].
#[derive(Clone, Copy)]
pub(super) struct Panel<'a> {
    /// `[in, lines_per_input]`; zeros where there are no rows any more.
    pub(super) lines: &'a [Line],
    pub(super) lines_per_input: usize,
    /// Rows before those of this panel.
    pub(super) start: usize,
    pub(super) rows: usize,
}

/// Lines that so many rows fill.
pub(super) fn lines_of(rows: usize) -> usize {
    rows.div_ceil(WIDTH)
}

impl Panels {
    /// Those of rows `[M, in]`, each of them normalised first where there is a norm.
    pub(super) fn of(rows: &[f32], inputs: usize, norm: Option<RowNorm<'_>>) -> Self {
        let normalize = norm.map(|norm| {
            move |normal: &mut [f32], rows: &[f32]| {
                let normal = normal.chunks_mut(inputs).zip(rows.chunks(inputs));
                normal.for_each(|(normal, row)| norm.apply(normal, row));
            }
        });
        Self::prepared(rows, inputs, normalize)
    }

    /// Those of rows `[M, in]`, after `change` was made to copies of several rows at a time.
    pub(super) fn of_each(rows: &[f32], inputs: usize, change: impl Fn(&mut [f32]) + Sync) -> Self {
        let prepare = |copy: &mut [f32], rows: &[f32]| {
            copy.copy_from_slice(rows);
            change(copy);
        };
        Self::prepared(rows, inputs, Some(prepare))
    }

    /// Those of rows `[M, in]`, or of what `prepare` writes of several of them at a time.
    fn prepared(
        rows: &[f32],
        inputs: usize,
        prepare: Option<impl Fn(&mut [f32], &[f32]) + Sync>,
    ) -> Self {
        let count = rows.len() / inputs;
        let fill = |start: usize, places: &mut [MaybeUninit<Line>], buffer: &mut Vec<f32>| {
            let end = count.min(start + PANEL_ROWS);
            let mut rows = &rows[start * inputs..end * inputs];
            match &prepare {
                Some(prepare) => {
                    buffer.resize(rows.len(), 0.0);
                    prepare(buffer, rows);
                    rows = buffer;
                }
                None => touch(rows),
            }
            lay_out(Matrix::packed(rows, inputs), |place, line| {
                places[place].write(*line);
            });
        };
        // SAFETY: `lay_out` has each line of the panel written.
        unsafe { Self::filled(count, inputs, fill) }
    }

    /// Those of the columns of a matrix `[in, M]`, which are rows of it turned. In a row of that the numbers
    /// lie as in a panel.
    pub(super) fn of_columns(values: &[f32], columns: usize) -> Self {
        let inputs = values.len() / columns;
        let fill = |start: usize, places: &mut [MaybeUninit<Line>], _: &mut Vec<f32>| {
            let columns_here = start..columns.min(start + PANEL_ROWS);
            let places = places.chunks_exact_mut(lines_of(columns_here.len()));
            for (row, places) in values.chunks_exact(columns).zip(places) {
                let parts = row[columns_here.clone()].chunks(WIDTH);
                for (place, numbers) in places.iter_mut().zip(parts) {
                    let mut line = Line::ZERO;
                    match numbers.first_chunk() {
                        Some(numbers) => line.0 = *numbers,
                        None => take_part(&mut line, numbers),
                    }
                    place.write(line);
                }
            }
        };
        // SAFETY: there are as many rows as inputs, and as many parts of each as lines.
        unsafe { Self::filled(columns, inputs, fill) }
    }

    /// Panels for rows `[M, in]`; `write` gets the number of a panel's first row, its lines, and memory
    /// that it may use.
    ///
    /// # Safety
    /// `write` writes each line it gets.
    unsafe fn filled(
        rows: usize,
        inputs: usize,
        write: impl Fn(usize, &mut [MaybeUninit<Line>], &mut Vec<f32>) + Sync,
    ) -> Self {
        let total = lines_of(rows) * inputs;
        let mut lines: Vec<Line> = Vec::with_capacity(total);
        let places = &mut lines.spare_capacity_mut()[..total];
        places
            .par_chunks_mut(MOST_LINES * inputs)
            .enumerate()
            .for_each_init(Vec::new, |buffer, (index, places)| {
                write(index * PANEL_ROWS, places, buffer);
            });
        // SAFETY: the chunks are all of these lines, and all of each is written by the caller's
        // promise.
        unsafe { lines.set_len(total) };
        Self {
            lines,
            rows,
            inputs,
        }
    }

    /// Panels for rows `[M, in]` that `fill` writes, in memory that may have been something else.
    ///
    /// # Safety
    /// `fill` writes each number.
    pub(super) unsafe fn made(
        mut lines: Vec<Line>,
        rows: usize,
        inputs: usize,
        fill: impl FnOnce(&Places),
    ) -> Self {
        let total = lines_of(rows) * inputs;
        lines.clear();
        lines.reserve_exact(total);
        fill(&Places {
            start: lines.as_mut_ptr(),
            rows,
            inputs,
        });
        // SAFETY: so many were asked for, and by the caller's promise all have been written.
        unsafe { lines.set_len(total) };
        Self {
            lines,
            rows,
            inputs,
        }
    }

    /// All lines, panel by panel.
    pub(super) fn lines_mut(&mut self) -> &mut [Line] {
        &mut self.lines
    }

    /// The memory, for other panels.
    pub(super) fn into_lines(self) -> Vec<Line> {
        self.lines
    }

    /// The number of this row and input.
    pub(super) fn number(&self, row: usize, input: usize) -> f32 {
        let (line, lane) = self.place(row, input);
        self.lines[line].0[lane]
    }

    pub(super) fn number_mut(&mut self, row: usize, input: usize) -> &mut f32 {
        let (line, lane) = self.place(row, input);
        &mut self.lines[line].0[lane]
    }

    /// The line and the number of it where this row and input stand.
    fn place(&self, row: usize, input: usize) -> (usize, usize) {
        let (index, row) = (row / PANEL_ROWS, row % PANEL_ROWS);
        let per_input = lines_of(PANEL_ROWS.min(self.rows - index * PANEL_ROWS));
        let first = index * MOST_LINES * self.inputs;
        (first + input * per_input + row / WIDTH, row % WIDTH)
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    pub(super) fn inputs(&self) -> usize {
        self.inputs
    }

    pub(super) fn count(&self) -> usize {
        self.rows.div_ceil(PANEL_ROWS)
    }

    pub(super) fn panel(&self, index: usize) -> Panel<'_> {
        let start = index * PANEL_ROWS;
        let rows = PANEL_ROWS.min(self.rows - start);
        let first = index * MOST_LINES * self.inputs;
        Panel {
            lines: &self.lines[first..first + lines_of(rows) * self.inputs],
            lines_per_input: lines_of(rows),
            start,
            rows,
        }
    }
}

/// Reads a number of each line of the cache, so that what strides over the rows next finds them there.
fn touch(rows: &[f32]) {
    let sum: f32 = rows.iter().step_by(WIDTH).sum();
    std::hint::black_box(sum);
}

/// Hands each line of the panel of these rows, at most [`PANEL_ROWS`] of them whose numbers lie side by
/// side, to `put` with its place.
#[inline(always)]
pub(super) fn lay_out(rows: Matrix<'_>, mut put: impl FnMut(usize, &Line)) {
    let per_input = lines_of(rows.rows);
    let mut square = [Line::ZERO; WIDTH];
    for start in (0..rows.columns).step_by(WIDTH) {
        let width = WIDTH.min(rows.columns - start);
        for place in 0..per_input {
            take(&mut square, rows, place * WIDTH, start);
            turn(&mut square);
            for (input, line) in square[..width].iter().enumerate() {
                put((start + input) * per_input + place, line);
            }
        }
    }
}

/// Makes `square` the numbers of [`WIDTH`] rows and columns from these on; zeros beyond.
#[inline(always)]
fn take(square: &mut Square, rows: Matrix<'_>, first: usize, start: usize) {
    for (row, line) in (first..).zip(square) {
        if row >= rows.rows {
            *line = Line::ZERO;
            continue;
        }
        let row = &rows.values[row * rows.row_stride..][start..rows.columns];
        match row.first_chunk() {
            Some(numbers) => line.0 = *numbers,
            None => take_part(line, row),
        }
    }
}

/// Apart, since compilers make one copy of any length of two in one place.
#[cold]
#[inline(never)]
fn take_part(line: &mut Line, numbers: &[f32]) {
    *line = Line::ZERO;
    line.0[..numbers.len()].copy_from_slice(numbers);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_number_lies_at_its_row_and_input(rows in 1_usize..120, inputs in 1_usize..40) {
            let values: Vec<f32> = (0..rows * inputs).map(|at| at as f32).collect();
            let panels = Panels::of(&values, inputs, None);
            for index in 0..panels.count() {
                let panel = panels.panel(index);
                for (at, line) in panel.lines.iter().enumerate() {
                    let (input, place) = (at / panel.lines_per_input, at % panel.lines_per_input);
                    for (lane, number) in line.0.iter().enumerate() {
                        let row = place * WIDTH + lane;
                        let known = row < panel.rows;
                        let row = panel.start + row;
                        let expected = if known { (row * inputs + input) as f32 } else { 0.0 };
                        prop_assert_eq!(*number, expected);
                    }
                }
            }
        }
    }
}
