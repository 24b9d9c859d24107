//! Operations in one pass over memory, with backward passes of their own, for f32 on the CPU.
//!
//! Written out of candle's elementary operations, a softmax or a norm walks its tensor six or more
//! times forward and more backward, each time through a fresh buffer. Here each is one walk,
//! over rows in parallel. Rows are independent and sums run in a fixed order, so results do not
//! depend on the number of threads.
//!
//! [`Affine`], [`FeedForward`] and [`Join`] have no backward pass: they take several steps together
//! where nothing has a gradient.

mod across;
mod affine;
mod attention;
mod attention_bias;
mod attention_tiles;
mod block;
mod cross_entropy;
mod few_rows;
mod finish;
mod frozen;
mod gelu;
mod head;
mod join;
mod lanes;
mod lines;
mod matrix;
mod norm;
mod output;
mod packed_attention;
mod panels;
mod product;
mod rise_and_fall;
mod self_gate;
mod slopes;
mod softmax;
mod sums;
mod tile;
mod trained;
mod trained_rows;
mod turn;
mod vectors;
mod weight;

use candle_core::{CpuStorage, DType, Layout, Result, Tensor, bail};
use rayon::prelude::*;

pub(crate) use affine::{Affine, FeedForward, Map, Norm};
pub(crate) use attention::Attention;
pub(crate) use block::{Blocks, Widened, row_bytes};
pub(crate) use cross_entropy::CrossEntropy;
pub(crate) use frozen::{FrozenAffine, FrozenProduct};
pub(crate) use gelu::Gelu;
pub(crate) use head::Head;
pub(crate) use join::Join;
pub(crate) use norm::{Normalize, ScaledNorm};
pub(crate) use packed_attention::PackedAttention;
pub(crate) use product::takes_tiles;
pub(crate) use rise_and_fall::RiseAndFall;
pub(crate) use self_gate::SelfGate;
pub(crate) use softmax::BiasedSoftmax;
pub(crate) use trained::TrainedProduct;
pub(crate) use trained_rows::TrainedRows;
pub(crate) use turn::Turn;

/// Whether these operations take a tensor; all others are for [`crate::plain`].
pub(crate) fn takes(tensor: &Tensor) -> bool {
    tensor.device().is_cpu() && tensor.dtype() == DType::F32
}

/// Rows worked through by one task: enough to outweigh handing it out.
const ROWS_PER_TASK: usize = 16;

/// Below this the exponential is taken as 0: it is under the smallest normal f32.
const SMALLEST_EXPONENT: f32 = -87.0;

/// `e^x` for `x <= 0`, within 3e-7 relative, in a form compilers vectorise (the standard library
/// calls a function per number).
#[inline(always)]
fn exp_of_nonpositive(x: f32) -> f32 {
    // Adding 1.5 * 2^23 leaves no bits behind the point: rounding without a function call.
    const ROUNDER: f32 = 12_582_912.0;
    // The logarithm of 2 as a number of few bits and the rest, so that multiples are exact.
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_REST: f32 = (std::f64::consts::LN_2 - 0.693_359_375) as f32;
    // Unlike `max`, this lets NaN through: a broken number must not look like a small one.
    let clamped = if x < SMALLEST_EXPONENT {
        SMALLEST_EXPONENT
    } else {
        x
    };
    let shifted = clamped * std::f32::consts::LOG2_E + ROUNDER;
    let twos = shifted - ROUNDER;
    let rest = clamped - twos * LN_2_HIGH - twos * LN_2_REST;
    // Taylor's series: with |rest| <= ln(2) / 2 the next term is below 6e-9.
    let mut sum = 1.0 / 5040.0;
    for coefficient in [
        1.0 / 720.0,
        1.0 / 120.0,
        1.0 / 24.0,
        1.0 / 6.0,
        0.5,
        1.0,
        1.0,
    ] {
        sum = sum * rest + coefficient;
    }
    // The last bits of the shifted number are the whole number of twos; moved to the exponent's
    // place they make the power of two.
    let power = f32::from_bits(shifted.to_bits().wrapping_add(127) << 23);
    if x < SMALLEST_EXPONENT {
        0.0
    } else {
        sum * power
    }
}

/// The numbers of a tensor that lies in one piece.
fn contiguous<'a>(storage: &'a CpuStorage, layout: &Layout, name: &str) -> Result<&'a [f32]> {
    let Some((start, end)) = layout.contiguous_offsets() else {
        bail!("{name} needs a contiguous tensor");
    };
    Ok(&storage.as_slice::<f32>()?[start..end])
}

/// Fills `output` row by row; `fill` gets the row's number.
fn fill_rows(output: &mut [f32], width: usize, fill: impl Fn(usize, &mut [f32]) + Sync) {
    let per_task = ROWS_PER_TASK * width;
    let tasks = output.par_chunks_mut(per_task.max(1));
    tasks.enumerate().for_each(|(task, rows)| {
        for (row, values) in rows.chunks_mut(width).enumerate() {
            fill(task * ROWS_PER_TASK + row, values);
        }
    });
}

#[cfg(test)]
mod tests;
