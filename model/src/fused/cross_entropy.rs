//! Cross entropy without a table of probabilities.

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::lanes::{largest, on_widest, sum_of};
use super::{contiguous, exp_of_nonpositive, fill_rows};

/// Cross entropy of each row of scores `[T, V]` with its target `[T]` u32, `[T]`.
pub(crate) struct CrossEntropy;

on_widest! {
    /// The largest score of a row and the sum of the exponentials of all scores less that.
    pub(super) fn most_and_sum(scores: &[f32]) -> (f32, f32) {
        let most = largest(scores);
        // In f64: a vocabulary is long enough for f32 sums to lose a digit.
        let sum = sum_of(scores, |score| f64::from(exp_of_nonpositive(score - most)));
        (most, sum as f32)
    }
}

on_widest! {
    /// `factor` times the exponentials of all scores less `most`.
    pub(super) fn exponentials(output: &mut [f32], scores: &[f32], most: f32, factor: f32) {
        for (output, score) in output.iter_mut().zip(scores) {
            *output = factor * exp_of_nonpositive(score - most);
        }
    }
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
        if let Some(target) = targets
            .iter()
            .find(|target| **target as usize >= vocabulary)
        {
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
            exponentials(output, scores, most, factor);
            output[self.targets[row] as usize] -= gradient[row];
        });
        Ok((CpuStorage::F32(output), layout.shape().clone()))
    }
}
