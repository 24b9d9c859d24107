//! Attention weights.

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};

use super::lanes::{largest, on_widest, sum_of, sum_of_pairs};
use super::{contiguous, exp_of_nonpositive, fill_rows};

/// `softmax(scale * scores + bias)` over the last axis of `[.., T, S]`; the bias has the same
/// shape, by broadcasting, and gets no gradient.
pub(crate) struct BiasedSoftmax {
    pub(crate) scale: f32,
}

on_widest! {
    /// One row; no bias is one of zeros.
    pub(super) fn softmax_in_place(scores: &mut [f32], bias: &[f32], scale: f32) {
        if bias.is_empty() {
            for score in scores.iter_mut() {
                *score *= scale;
            }
        } else {
            for (score, bias) in scores.iter_mut().zip(bias) {
                *score = *score * scale + bias;
            }
        }
        let most = largest(scores);
        for score in scores.iter_mut() {
            *score = exp_of_nonpositive(*score - most);
        }
        let factor = 1.0 / sum_of(scores, |score| score);
        for score in scores.iter_mut() {
            *score *= factor;
        }
    }
}

on_widest! {
    /// The gradient of one row.
    pub(super) fn slope(output: &mut [f32], probabilities: &[f32], gradient: &[f32], scale: f32) {
        let mean = sum_of_pairs(probabilities, gradient, |p, g| p * g);
        for (output, (p, g)) in output.iter_mut().zip(probabilities.iter().zip(gradient)) {
            *output = scale * p * (g - mean);
        }
    }
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
            bail!(
                "{}: the bias must be broadcast along leading axes",
                self.name()
            );
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
            output.copy_from_slice(scores);
            softmax_in_place(output, &bias[start..start + width], self.scale);
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
            slope(output, probabilities, gradient, self.scale);
        });
        Ok((CpuStorage::F32(output), layout.shape().clone()))
    }
}
