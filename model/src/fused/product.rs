//! Products of rows with a weight, shared out to all threads.

use rayon::prelude::*;

use super::few_rows::{MOST_ROWS, Stored, few_rows};
use super::finish::Finish;
use super::lines::Line;
use super::matrix::{Matrix, multiply_on_all};
use super::output::Output;
use super::panels::{MOST_LINES, Panels, Places};
use super::tile::{has_tiles, sums};

/// What one task does of a product.
#[derive(Clone, Copy)]
struct Share {
    outputs: usize,
    panels: usize,
}

impl Share {
    /// Where few inputs make a panel small, the weight of some outputs stays in a cache while panels
    /// pass by; else the panel stays while more outputs do. Either is small, so that threads finish
    /// together.
    fn of(inputs: usize) -> Self {
        if inputs <= 1024 {
            Self {
                outputs: 48,
                panels: 8,
            }
        } else {
            Self {
                outputs: 192,
                panels: 2,
            }
        }
    }
}

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
    if takes_tiles(count) && inputs > 0 {
        return panels_product(&Panels::of(rows, inputs, None), weight, finish);
    }
    let mut product = if count <= MOST_ROWS && inputs > 0 {
        few_rows(rows, weight, inputs)
    } else {
        in_general(rows, weight, inputs)
    };
    finish.in_place(&mut product, outputs);
    product
}

/// Whether products of so many rows are taken in tiles.
pub(crate) fn takes_tiles(rows: usize) -> bool {
    rows > MOST_ROWS && has_tiles()
}

/// As [`product`], of rows in panels.
pub(super) fn panels_product<W: Stored>(
    panels: &Panels,
    weight: &[W],
    finish: Finish<'_>,
) -> Vec<f32> {
    let outputs = weight.len() * W::NUMBERS / panels.inputs();
    let fill = |output: &Output| {
        let most = Share::of(panels.inputs()).outputs * MOST_LINES;
        let space = || vec![Line::ZERO; most];
        share_out(panels, weight, space, |lines, index, weight, start| {
            let panel = panels.panel(index);
            let lines = &mut lines[..weight.rows * panel.lines_per_input];
            sums(lines, panel, weight);
            finish.write(output, panel, lines, start);
        });
    };
    // SAFETY: work is shared out for all pairs of a panel and outputs, and each writes the rows of the
    // one with the others.
    unsafe { Output::filled(panels.rows(), outputs, fill) }
}

/// As [`panels_product`], to panels of the result, in memory that may have been something else; a residual
/// is not added.
pub(super) fn panels_to_panels<W: Stored>(
    space: Vec<Line>,
    panels: &Panels,
    weight: &[W],
    finish: Finish<'_>,
) -> Panels {
    let outputs = weight.len() * W::NUMBERS / panels.inputs();
    let fill = |places: &Places| {
        share_out(
            panels,
            weight,
            || (),
            |(), index, weight, start| {
                let panel = panels.panel(index);
                // SAFETY: work is shared out once for each pair of a panel and outputs.
                let lines = unsafe { places.take(index, start..start + weight.rows) };
                sums(lines, panel, weight);
                finish.lines(lines, panel.lines_per_input, start);
            },
        );
    };
    // SAFETY: work is shared out for all pairs of a panel and outputs.
    unsafe { Panels::made(space, panels.rows(), outputs, fill) }
}

/// Calls `work` on all threads, once for each pair of a panel and a part of the weight, with the panel's
/// number, the part, its first output, and memory of the thread.
fn share_out<W: Stored, S>(
    panels: &Panels,
    weight: &[W],
    space: impl Fn() -> S + Sync + Send,
    work: impl Fn(&mut S, usize, Matrix<'_>, usize) + Sync + Send,
) {
    let inputs = panels.inputs();
    let share = Share::of(inputs);
    let parts: Vec<&[W]> = weight.chunks(share.outputs * inputs / W::NUMBERS).collect();
    // A weight of fewer bits is widened once for all rows.
    let per_task = if W::IS_WIDE {
        share.panels
    } else {
        panels.count()
    };
    let groups = panels.count().div_ceil(per_task);
    let tasks = (0..parts.len() * groups).into_par_iter().with_max_len(1);
    tasks.for_each_init(
        || (Vec::new(), space()),
        |(buffer, space), task| {
            let (part, group) = (task / groups, task % groups);
            let weight = Matrix::packed(W::wide(parts[part], buffer), inputs);
            let first = group * per_task;
            for index in first..panels.count().min(first + per_task) {
                work(space, index, weight, part * share.outputs);
            }
        },
    );
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
