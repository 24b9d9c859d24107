//! Products of rows with a weight, shared out to all threads.

use rayon::prelude::*;

use super::few_rows::{MOST_ROWS, Stored, few_rows};
use super::finish::Finish;
use super::lines::Line;
use super::matrix::{Matrix, multiply_on_all};
use super::output::Output;
use super::panels::{MOST_LINES, Panels};
use super::tile::{has_tiles, sums};

/// Outputs of one task: their part of the weight stays in a cache while rows pass by.
const OUTPUTS_PER_TASK: usize = 48;

/// Panels of one task: few, so that threads finish together.
const PANELS_PER_TASK: usize = 8;

/// `x * W^T` for rows `[M, in]` and a weight `[out, in]`, finished, `[M, out]`.
///
/// Holds the rows once more, and of a weight of fewer bits a few rows as f32 for each thread.
pub(super) fn product<W: Stored>(
    rows: &[f32],
    weight: &[W],
    inputs: usize,
    finish: Finish<'_>,
) -> Vec<f32> {
    let values = (inputs / W::NUMBERS).max(1);
    let (count, outputs) = (rows.len() / inputs.max(1), weight.len() / values);
    if count > MOST_ROWS && has_tiles() {
        return in_tiles(rows, weight, inputs, finish);
    }
    let mut product = if count <= MOST_ROWS && inputs > 0 {
        few_rows(rows, weight, inputs)
    } else {
        in_general(rows, weight, inputs)
    };
    finish.in_place(&mut product, outputs);
    product
}

fn in_tiles<W: Stored>(rows: &[f32], weight: &[W], inputs: usize, finish: Finish<'_>) -> Vec<f32> {
    let values = inputs / W::NUMBERS;
    let (count, outputs) = (rows.len() / inputs, weight.len() / values);
    let panels = Panels::of(rows, inputs);
    let weights: Vec<&[W]> = weight.chunks(OUTPUTS_PER_TASK * values).collect();
    // A weight of fewer bits is widened once for all rows.
    let panels_per_task = if W::IS_WIDE {
        PANELS_PER_TASK
    } else {
        panels.count()
    };
    let groups = panels.count().div_ceil(panels_per_task);
    let fill = |output: &Output| {
        let tasks = (0..weights.len() * groups).into_par_iter().with_max_len(1);
        tasks.for_each_init(
            || (Vec::new(), vec![Line::ZERO; OUTPUTS_PER_TASK * MOST_LINES]),
            |(buffer, lines), task| {
                let (block, group) = (task / groups, task % groups);
                let weight = Matrix::packed(W::wide(weights[block], buffer), inputs);
                let first = group * panels_per_task;
                for index in first..panels.count().min(first + panels_per_task) {
                    let panel = panels.panel(index);
                    let lines = &mut lines[..weight.rows * panel.lines_per_input];
                    sums(lines, panel, weight);
                    finish.write(output, panel, lines, block * OUTPUTS_PER_TASK);
                }
            },
        );
    };
    // SAFETY: tasks are all pairs of a block of outputs and a group of panels; each writes the rows of
    // these with those.
    unsafe { Output::filled(count, outputs, fill) }
}

/// Numbers of a weight of fewer bits that are made 32 bits wide at one time: what is multiplied next is
/// still in a cache then.
const WIDENED_AT_ONCE: usize = 1 << 19;

/// For processors without vectors of 256 bits.
fn in_general<W: Stored>(rows: &[f32], weight: &[W], inputs: usize) -> Vec<f32> {
    let values = (inputs / W::NUMBERS).max(1);
    let (count, outputs) = (rows.len() / inputs.max(1), weight.len() / values);
    let mut product = vec![0.0; count * outputs];
    if product.is_empty() {
        return product;
    }
    let block = if W::IS_WIDE {
        outputs
    } else {
        (WIDENED_AT_ONCE / inputs).max(1)
    };
    let mut buffer = Vec::new();
    let rows = Matrix::packed(rows, inputs);
    for (index, weight) in weight.chunks(block * values).enumerate() {
        let right = Matrix::packed(W::wide(weight, &mut buffer), inputs).turned();
        multiply_on_all(&mut product[index * block..], outputs, rows, right);
    }
    product
}
