//! Operations in one pass over memory, with backward passes of their own, for f32 on the CPU.
//!
//! Written out of candle's elementary operations, a softmax or a norm walks its tensor six or more
//! times forward and more backward, each time through a fresh buffer. Here each is one walk,
//! over rows in parallel. Rows are independent and sums run in a fixed order, so results do not
//! depend on the number of threads. On other devices [`crate::ops`] composes the same functions.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

/// Rows worked through by one task: enough to outweigh handing it out.
const ROWS_PER_TASK: usize = 16;

/// Below this the exponential is taken as 0: it is under the smallest normal f32.
const SMALLEST_EXPONENT: f32 = -87.0;

/// `e^x` for `x <= 0`, within 3e-7 relative, in a form compilers vectorise (the standard library
/// calls a function per number).
fn exp_of_nonpositive(x: f32) -> f32 {
    // Adding 1.5 * 2^23 leaves no bits behind the point: rounding without a function call.
    const ROUNDER: f32 = 12_582_912.0;
    // The logarithm of 2 as a number of few bits and the rest, so that multiples are exact.
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_REST: f32 = (std::f64::consts::LN_2 - 0.693_359_375) as f32;
    let clamped = x.max(SMALLEST_EXPONENT);
    let twos = (clamped * std::f32::consts::LOG2_E + ROUNDER) - ROUNDER;
    let rest = clamped - twos * LN_2_HIGH - twos * LN_2_REST;
    // Taylor's series: with |rest| <= ln(2) / 2 the next term is below 6e-9.
    let mut sum = 1.0 / 5040.0;
    for coefficient in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        sum = sum * rest + coefficient;
    }
    let power = f32::from_bits(((twos as i32 + 127) << 23) as u32);
    if x < SMALLEST_EXPONENT { 0.0 } else { sum * power }
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

/// `softmax(scale * scores + bias)` over the last axis of `[.., T, S]`; the bias has the same
/// shape, by broadcasting, and gets no gradient.
pub(crate) struct BiasedSoftmax {
    pub(crate) scale: f32,
}

impl CustomOp2 for BiasedSoftmax {
    fn name(&self) -> &'static str {
        "biased-softmax"
    }

    fn cpu_fwd(
        &self,
        scores: &CpuStorage,
        scores_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let scores = contiguous(scores, scores_layout, self.name())?;
        let dims = scores_layout.dims();
        if bias_layout.dims() != dims || bias_layout.stride().last() != Some(&1) {
            bail!("{}: the bias must be broadcast along leading axes", self.name());
        }
        let bias = bias.as_slice::<f32>()?;
        let (width, outer) = (dims[dims.len() - 1], &dims[..dims.len() - 1]);
        let mut output = vec![0.0; scores.len()];
        fill_rows(&mut output, width, |row, output| {
            let mut start = bias_layout.start_offset();
            let mut left = row;
            for (size, stride) in outer.iter().zip(bias_layout.stride()).rev() {
                start += left % size * stride;
                left /= size;
            }
            let scores = &scores[row * width..(row + 1) * width];
            let mut most = f32::NEG_INFINITY;
            for ((output, score), bias) in output.iter_mut().zip(scores).zip(&bias[start..]) {
                *output = score * self.scale + bias;
                most = most.max(*output);
            }
            let mut sum = 0.0;
            for output in output.iter_mut() {
                *output = exp_of_nonpositive(*output - most);
                sum += *output;
            }
            let factor = 1.0 / sum;
            for output in output.iter_mut() {
                *output *= factor;
            }
        });
        Ok((CpuStorage::F32(output), scores_layout.shape().clone()))
    }

    fn bwd(
        &self,
        _: &Tensor,
        _: &Tensor,
        probabilities: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let slope = SoftmaxSlope { scale: self.scale };
        let slope = probabilities.apply_op2_no_bwd(&gradient.contiguous()?, &slope)?;
        Ok((Some(slope), None))
    }
}

/// Gradient of [`BiasedSoftmax`] from its result and the result's gradient.
struct SoftmaxSlope {
    scale: f32,
}

impl CustomOp2 for SoftmaxSlope {
    fn name(&self) -> &'static str {
        "softmax-slope"
    }

    fn cpu_fwd(
        &self,
        probabilities: &CpuStorage,
        layout: &Layout,
        gradient: &CpuStorage,
        gradient_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let probabilities = contiguous(probabilities, layout, self.name())?;
        let gradient = contiguous(gradient, gradient_layout, self.name())?;
        let width = layout.dims().last().copied().unwrap_or(1);
        let mut output = vec![0.0; probabilities.len()];
        fill_rows(&mut output, width, |row, output| {
            let at = row * width..(row + 1) * width;
            let (probabilities, gradient) = (&probabilities[at.clone()], &gradient[at]);
            let pairs = probabilities.iter().zip(gradient);
            let mean: f32 = pairs.clone().map(|(p, g)| p * g).sum();
            for (output, (p, g)) in output.iter_mut().zip(pairs) {
                *output = self.scale * p * (g - mean);
            }
        });
        Ok((CpuStorage::F32(output), layout.shape().clone()))
    }
}

/// Division of the last axis by its root mean square, after taking off its mean if `is_centred`.
#[derive(Clone, Copy)]
pub(crate) struct Normalize {
    pub(crate) is_centred: bool,
    pub(crate) epsilon: f32,
}

impl Normalize {
    /// What to take off a row and what to multiply it by then.
    fn shift_and_factor(self, row: &[f32]) -> (f32, f32) {
        let count = row.len() as f32;
        let shift = if self.is_centred {
            row.iter().sum::<f32>() / count
        } else {
            0.0
        };
        let squares: f32 = row.iter().map(|value| (value - shift).powi(2)).sum();
        (shift, 1.0 / (squares / count + self.epsilon).sqrt())
    }
}

impl CustomOp1 for Normalize {
    fn name(&self) -> &'static str {
        "normalize"
    }

    fn cpu_fwd(&self, input: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let input = contiguous(input, layout, self.name())?;
        let width = layout.dims().last().copied().unwrap_or(1);
        let mut output = vec![0.0; input.len()];
        fill_rows(&mut output, width, |row, output| {
            let input = &input[row * width..(row + 1) * width];
            let (shift, factor) = self.shift_and_factor(input);
            for (output, value) in output.iter_mut().zip(input) {
                *output = (value - shift) * factor;
            }
        });
        Ok((CpuStorage::F32(output), layout.shape().clone()))
    }

    fn bwd(&self, input: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let slope = NormalizeSlope(*self);
        Ok(Some(input.apply_op2_no_bwd(&gradient.contiguous()?, &slope)?))
    }
}

/// Gradient of [`Normalize`] from its input and its result's gradient.
struct NormalizeSlope(Normalize);

impl CustomOp2 for NormalizeSlope {
    fn name(&self) -> &'static str {
        "normalize-slope"
    }

    fn cpu_fwd(
        &self,
        input: &CpuStorage,
        layout: &Layout,
        gradient: &CpuStorage,
        gradient_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let input = contiguous(input, layout, self.name())?;
        let gradient = contiguous(gradient, gradient_layout, self.name())?;
        let width = layout.dims().last().copied().unwrap_or(1);
        let count = width as f32;
        let mut output = vec![0.0; input.len()];
        fill_rows(&mut output, width, |row, output| {
            let at = row * width..(row + 1) * width;
            let (input, gradient) = (&input[at.clone()], &gradient[at]);
            let (shift, factor) = self.0.shift_and_factor(input);
            let pairs = input.iter().zip(gradient);
            let along: f32 = pairs.clone().map(|(x, g)| (x - shift) * g).sum();
            let along = along / count * factor * factor;
            let mean = if self.0.is_centred {
                gradient.iter().sum::<f32>() / count
            } else {
                0.0
            };
            for (output, (x, g)) in output.iter_mut().zip(pairs) {
                *output = factor * (g - mean - (x - shift) * along);
            }
        });
        Ok((CpuStorage::F32(output), layout.shape().clone()))
    }
}

/// `x * Phi(x)`, the exact GELU.
pub(crate) struct Gelu;

/// `Phi(x)` and `e^(-x^2 / 2)`, by formula 7.1.26 of Abramowitz and Stegun for the error function
/// (within 1.5e-7, as good as f32 allows near 1).
fn normal_distribution(x: f32) -> (f32, f32) {
    const COEFFICIENTS: [f32; 5] = [
        1.061_405_4,
        -1.453_152,
        1.421_413_7,
        -0.284_496_74,
        0.254_829_6,
    ];
    let bell = exp_of_nonpositive(-0.5 * x * x);
    let t = 1.0 / (1.0 + 0.327_591_1 * std::f32::consts::FRAC_1_SQRT_2 * x.abs());
    let sum = COEFFICIENTS.iter().fold(0.0, |sum, c| sum * t + c) * t;
    let tail = 0.5 * sum * bell;
    (if x < 0.0 { tail } else { 1.0 - tail }, bell)
}

/// Numbers worked through by one task of an elementwise operation.
const NUMBERS_PER_ROW: usize = 1024;

impl CustomOp1 for Gelu {
    fn name(&self) -> &'static str {
        "gelu"
    }

    fn cpu_fwd(&self, input: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let input = contiguous(input, layout, self.name())?;
        let mut output = vec![0.0; input.len()];
        fill_rows(&mut output, NUMBERS_PER_ROW, |row, output| {
            for (output, x) in output.iter_mut().zip(&input[row * NUMBERS_PER_ROW..]) {
                *output = x * normal_distribution(*x).0;
            }
        });
        Ok((CpuStorage::F32(output), layout.shape().clone()))
    }

    fn bwd(&self, input: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(input.apply_op2_no_bwd(&gradient.contiguous()?, &GeluSlope)?))
    }
}

/// Gradient of [`Gelu`] from its input and its result's gradient.
struct GeluSlope;

impl CustomOp2 for GeluSlope {
    fn name(&self) -> &'static str {
        "gelu-slope"
    }

    fn cpu_fwd(
        &self,
        input: &CpuStorage,
        layout: &Layout,
        gradient: &CpuStorage,
        gradient_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        /// 1 / sqrt(2 pi).
        const BELL_HEIGHT: f32 = 0.398_942_3;
        let input = contiguous(input, layout, self.name())?;
        let gradient = contiguous(gradient, gradient_layout, self.name())?;
        let mut output = vec![0.0; input.len()];
        fill_rows(&mut output, NUMBERS_PER_ROW, |row, output| {
            let start = row * NUMBERS_PER_ROW;
            let pairs = input[start..].iter().zip(&gradient[start..]);
            for (output, (x, g)) in output.iter_mut().zip(pairs) {
                let (distribution, bell) = normal_distribution(*x);
                *output = g * (distribution + x * bell * BELL_HEIGHT);
            }
        });
        Ok((CpuStorage::F32(output), layout.shape().clone()))
    }
}

/// Cross entropy of each row of scores `[T, V]` with its target `[T]` u32, `[T]`.
pub(crate) struct CrossEntropy;

/// The largest score of a row and the sum of the exponentials of all scores less that.
fn most_and_sum(scores: &[f32]) -> (f32, f32) {
    let most = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let exponentials = scores.iter().map(|score| exp_of_nonpositive(score - most));
    // In f64: a vocabulary is long enough for f32 sums to lose a digit.
    let sum: f64 = exponentials.map(f64::from).sum();
    (most, sum as f32)
}

impl CustomOp2 for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross-entropy"
    }

    fn cpu_fwd(
        &self,
        scores: &CpuStorage,
        layout: &Layout,
        targets: &CpuStorage,
        targets_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let scores = contiguous(scores, layout, self.name())?;
        let (count, vocabulary) = layout.shape().dims2()?;
        let targets = &targets.as_slice::<u32>()?[targets_layout.start_offset()..][..count];
        if let Some(target) = targets.iter().find(|target| **target as usize >= vocabulary) {
            bail!("target {target} is outside the {vocabulary} scores");
        }
        let mut output = vec![0.0; count];
        output.par_iter_mut().enumerate().for_each(|(row, output)| {
            let scores = &scores[row * vocabulary..(row + 1) * vocabulary];
            let (most, sum) = most_and_sum(scores);
            *output = sum.ln() - (scores[targets[row] as usize] - most);
        });
        Ok((CpuStorage::F32(output), Shape::from(count)))
    }

    fn bwd(
        &self,
        scores: &Tensor,
        targets: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let slope = CrossEntropySlope {
            targets: targets.to_vec1()?,
        };
        let gradient = gradient.contiguous()?;
        let slope = scores.apply_op2_no_bwd(&gradient, &slope)?;
        Ok((Some(slope), None))
    }
}

/// Gradient of [`CrossEntropy`] from its scores and its result's gradient.
struct CrossEntropySlope {
    targets: Vec<u32>,
}

impl CustomOp2 for CrossEntropySlope {
    fn name(&self) -> &'static str {
        "cross-entropy-slope"
    }

    fn cpu_fwd(
        &self,
        scores: &CpuStorage,
        layout: &Layout,
        gradient: &CpuStorage,
        gradient_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let scores = contiguous(scores, layout, self.name())?;
        let gradient = contiguous(gradient, gradient_layout, self.name())?;
        let (_, vocabulary) = layout.shape().dims2()?;
        let mut output = vec![0.0; scores.len()];
        fill_rows(&mut output, vocabulary, |row, output| {
            let scores = &scores[row * vocabulary..(row + 1) * vocabulary];
            let (most, sum) = most_and_sum(scores);
            let factor = gradient[row] / sum;
            for (output, score) in output.iter_mut().zip(scores) {
                *output = factor * exp_of_nonpositive(score - most);
            }
            output[self.targets[row] as usize] -= gradient[row];
        });
        Ok((CpuStorage::F32(output), layout.shape().clone()))
    }
}

/// Turns channel `i` of the first half and channel `i` of the second half of `[.., T, D]` by the
/// angle whose cosine and sine stand at `[t, i]` of the tables `[T, D / 2]`.
pub(crate) struct Turn {
    pub(crate) cosines: Arc<[f32]>,
    pub(crate) sines: Arc<[f32]>,
    pub(crate) is_inverse: bool,
}

impl CustomOp1 for Turn {
    fn name(&self) -> &'static str {
        "turn"
    }

    fn cpu_fwd(&self, input: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let input = contiguous(input, layout, self.name())?;
        let width = layout.dims().last().copied().unwrap_or(2);
        let half = width / 2;
        let positions = self.cosines.len() / half;
        let sign = if self.is_inverse { -1.0 } else { 1.0 };
        let mut output = vec![0.0; input.len()];
        fill_rows(&mut output, width, |row, output| {
            let (first, second) = input[row * width..(row + 1) * width].split_at(half);
            let (first_output, second_output) = output.split_at_mut(half);
            let at = row % positions * half;
            let (cosines, sines) = (&self.cosines[at..at + half], &self.sines[at..at + half]);
            for channel in 0..half {
                let (cosine, sine) = (cosines[channel], sign * sines[channel]);
                let (x, y) = (first[channel], second[channel]);
                first_output[channel] = x * cosine - y * sine;
                second_output[channel] = y * cosine + x * sine;
            }
        });
        Ok((CpuStorage::F32(output), layout.shape().clone()))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let back = Self {
            cosines: Arc::clone(&self.cosines),
            sines: Arc::clone(&self.sines),
            is_inverse: !self.is_inverse,
        };
        Ok(Some(gradient.contiguous()?.apply_op1_no_bwd(&back)?))
    }
}

/// `x * W^T` for rows `[M, in]` and a frozen weight `[out, in]`, `[M, out]`.
///
/// Candle's own product computes a gradient for the weight too, as costly as the forward pass and as
/// large as the weight, and throws it away.
pub(crate) struct FrozenProduct;

impl CustomOp2 for FrozenProduct {
    fn name(&self) -> &'static str {
        "frozen-product"
    }

    fn cpu_fwd(
        &self,
        rows: &CpuStorage,
        rows_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        use candle_core::backend::BackendStorage;
        let (count, inputs) = rows_layout.shape().dims2()?;
        let (outputs, _) = weight_layout.shape().dims2()?;
        let turned = weight_layout.transpose(0, 1)?;
        let product = rows.matmul(weight, (1, count, outputs, inputs), rows_layout, &turned)?;
        Ok((product, Shape::from((count, outputs))))
    }

    fn bwd(
        &self,
        _: &Tensor,
        weight: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        Ok((Some(gradient.matmul(&weight.detach())?), None))
    }
}
