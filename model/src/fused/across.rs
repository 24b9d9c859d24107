//! Products with a matrix that lies the other way round: `x * W` of a weight `[in, out]`.
//!
//! Backward passes take them: the gradient of a map's input is that of its output times the weight as it
//! lies, and the gradient of the weight sums over rows, which are the inputs then. The numbers that a
//! tile weighs an input with lie side by side here, so a part of the weight is copied as tiles read it,
//! small enough for a cache, and serves many panels.

use rayon::prelude::*;

use super::few_rows::Stored;
use super::finish::Finish;
use super::lines::Line;
use super::matrix::Matrix;
use super::output::Output;
use super::panels::{MOST_LINES, Panels};
use super::tile::{COLUMNS, WIDE_COLUMNS, add_sums, is_wide};

/// Outputs of one task: a multiple of a tile's on any processor.
const OUTPUTS: usize = 96;

/// Inputs taken before the next part of the weight is copied: with [`OUTPUTS`] 400 KB.
const INPUTS: usize = 1024;

/// Panels of one task at most: their sums take 18 KB each.
const MOST_PANELS: usize = 32;

/// Tasks for each thread, so that threads finish together.
const TASKS_PER_THREAD: usize = 4;

/// `x * W` for rows in panels `[M, in]` and a weight `[in, out]` of whole numbers of memory, finished,
/// `[M, out]`. Sums run over the inputs in their order, whatever the number of threads.
///
/// Holds for each thread 1 MB at most.
pub(super) fn across<W: Stored>(
    panels: &Panels,
    weight: &[W],
    outputs: usize,
    finish: Finish<'_>,
) -> Vec<f32> {
    let parts = outputs.div_ceil(OUTPUTS);
    let wanted = TASKS_PER_THREAD * rayon::current_num_threads();
    let per_task = (panels.count() * parts / wanted).clamp(1, MOST_PANELS);
    let groups = panels.count().div_ceil(per_task);
    let fill = |output: &Output| {
        let tasks = (0..parts * groups).into_par_iter().with_max_len(1);
        tasks.for_each_init(Space::default, |space, task| {
            let (part, group) = (task / groups, task % groups);
            let first = group * per_task;
            let indices = first..panels.count().min(first + per_task);
            let start = part * OUTPUTS;
            let count = OUTPUTS.min(outputs - start);
            let most = MOST_LINES * count;
            space.sums.clear();
            space.sums.resize(indices.len() * most, Line::ZERO);
            for from in (0..panels.inputs()).step_by(INPUTS) {
                let inputs = from..panels.inputs().min(from + INPUTS);
                let weight = &weight[inputs.start * outputs..inputs.end * outputs];
                let set = space.pack(weight, outputs, start, count);
                for (index, sums) in indices.clone().zip(space.sums.chunks_mut(most)) {
                    let panel = panels.panel(index);
                    let per_input = panel.lines_per_input;
                    let lines = &panel.lines[inputs.start * per_input..inputs.end * per_input];
                    let sets = sums[..count * per_input].chunks_mut(set * per_input);
                    for (sums, packed) in sets.zip(space.packed.chunks(set * inputs.len())) {
                        let columns = sums.len() / per_input;
                        let weight = Matrix {
                            values: packed,
                            rows: columns,
                            columns: inputs.len(),
                            row_stride: 1,
                            column_stride: columns,
                        };
                        add_sums(sums, lines, per_input, weight, from > 0);
                    }
                }
            }
            for (index, sums) in indices.zip(space.sums.chunks_mut(most)) {
                let panel = panels.panel(index);
                let sums = &mut sums[..count * panel.lines_per_input];
                finish.write(output, panel, sums, start);
            }
        });
    };
    // SAFETY: tasks are all pairs of panels and outputs, and each writes the rows of the ones with the
    // others.
    unsafe { Output::filled(panels.rows(), outputs, fill) }
}

/// Memory of a thread.
#[derive(Default)]
struct Space {
    sums: Vec<Line>,
    packed: Vec<f32>,
    wide: Vec<f32>,
}

impl Space {
    /// Copies `count` columns from `start` on of rows of `width` numbers, in sets of as many as a tile
    /// has outputs: of each set the numbers of one row lie side by side. Says how many those are.
    fn pack<W: Stored>(&mut self, rows: &[W], width: usize, start: usize, count: usize) -> usize {
        self.packed.resize(rows.len() / width * count, 0.0);
        if is_wide() {
            self.pack_by::<WIDE_COLUMNS, W>(rows, width, start, count);
            WIDE_COLUMNS
        } else {
            self.pack_by::<COLUMNS, W>(rows, width, start, count);
            COLUMNS
        }
    }

    fn pack_by<const C: usize, W: Stored>(
        &mut self,
        rows: &[W],
        width: usize,
        start: usize,
        count: usize,
    ) {
        let inputs = rows.len() / width;
        for (at, row) in rows.chunks_exact(width).enumerate() {
            let row = W::wide(&row[start..start + count], &mut self.wide);
            let (sets, rest) = row.as_chunks::<C>();
            for (index, set) in sets.iter().enumerate() {
                let place = index * C * inputs + at * C;
                self.packed[place..place + C].copy_from_slice(set);
            }
            let place = sets.len() * C * inputs + at * rest.len();
            self.packed[place..place + rest.len()].copy_from_slice(rest);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Whole numbers so small that sums of them are exact.
    fn numbers(count: usize, seed: usize) -> Vec<f32> {
        (0..count)
            .map(|at| ((at * 7 + seed) % 13) as f32 - 6.0)
            .collect()
    }

    fn assert_exact(rows: usize, inputs: usize, outputs: usize) {
        let (left, right) = (numbers(rows * inputs, 3), numbers(inputs * outputs, 5));
        let mut turned = vec![0.0; rows * inputs];
        for row in 0..rows {
            for input in 0..inputs {
                turned[input * rows + row] = left[row * inputs + input];
            }
        }
        let expected: Vec<f32> = (0..rows * outputs)
            .map(|at| {
                let (row, output) = (at / outputs, at % outputs);
                let terms = (0..inputs)
                    .map(|input| left[row * inputs + input] * right[input * outputs + output]);
                terms.sum()
            })
            .collect();
        let panels = [
            Panels::of(&left, inputs, None),
            Panels::of_columns(&turned, rows),
        ];
        for panels in panels {
            let found = across(&panels, &right, outputs, Finish::NOTHING);
            assert_eq!(found, expected);
        }
    }

    proptest! {
        #[test]
        fn products_across_of_small_whole_numbers_are_exact(
            rows in 1_usize..110,
            inputs in 1_usize..40,
            outputs in 1_usize..230,
        ) {
            assert_exact(rows, inputs, outputs);
        }
    }

    #[test]
    fn inputs_beyond_one_copy_are_added() {
        assert_exact(50, 2 * INPUTS + 3, 13);
    }
}
