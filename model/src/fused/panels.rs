//! The left side of a product, laid out as [`super::tile`] reads it.

use std::mem::MaybeUninit;

use rayon::prelude::*;

use super::lines::{Line, turn};
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
    pub(super) fn of(rows: &[f32], inputs: usize) -> Self {
        let count = rows.len() / inputs;
        let total = lines_of(count) * inputs;
        let mut lines: Vec<Line> = Vec::with_capacity(total);
        let places = &mut lines.spare_capacity_mut()[..total];
        places
            .par_chunks_mut(MOST_LINES * inputs)
            .zip(rows.par_chunks(PANEL_ROWS * inputs))
            .for_each(|(places, rows)| fill(places, rows, inputs));
        // SAFETY: the chunks are all of these lines, and `fill` writes each line of its chunk.
        unsafe { lines.set_len(total) };
        Self {
            lines,
            rows: count,
            inputs,
        }
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

/// Writes all lines of the panel of these rows.
fn fill(lines: &mut [MaybeUninit<Line>], rows: &[f32], inputs: usize) {
    let per_input = lines.len() / inputs;
    for (place, rows) in rows.chunks(WIDTH * inputs).enumerate() {
        for start in (0..inputs).step_by(WIDTH) {
            let width = WIDTH.min(inputs - start);
            let mut square = [Line::ZERO; WIDTH];
            for (line, row) in square.iter_mut().zip(rows.chunks(inputs)) {
                line.0[..width].copy_from_slice(&row[start..start + width]);
            }
            turn(&mut square);
            for (input, line) in square[..width].iter().enumerate() {
                lines[(start + input) * per_input + place].write(*line);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_number_lies_at_its_row_and_input(rows in 1_usize..120, inputs in 1_usize..40) {
            let values: Vec<f32> = (0..rows * inputs).map(|at| at as f32).collect();
            let panels = Panels::of(&values, inputs);
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
