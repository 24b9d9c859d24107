//! Layer norm and RMS norm, before scale and shift.

use candle_core::{
    CpuStorage, CustomOp1, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor, bail,
};

use super::lanes::{on_widest, sum_of, sum_of_pairs};
use super::{contiguous, fill_rows};

/// Division of the last axis by its root mean square, after taking off its mean if `is_centred`.
#[derive(Clone, Copy)]
pub(crate) struct Normalize {
    pub(crate) is_centred: bool,
    pub(crate) epsilon: f32,
}

impl Normalize {
    /// What to take off a row and what to multiply it by then. Summed in f64: a row is long enough
    /// for f32 sums to lose a digit, which every later layer would carry on.
    #[inline(always)]
    fn shift_and_factor(self, row: &[f32]) -> (f32, f32) {
        let count = row.len() as f64;
        let shift = if self.is_centred {
            (sum_of(row, f64::from) / count) as f32
        } else {
            0.0
        };
        let squares = sum_of(row, |value| {
            let apart = f64::from(value - shift);
            apart * apart
        });
        let variance = squares / count + f64::from(self.epsilon);
        (shift, (1.0 / variance.sqrt()) as f32)
    }
}

on_widest! {
    /// One row.
    fn normalize(output: &mut [f32], input: &[f32], how: Normalize) {
        let (shift, factor) = how.shift_and_factor(input);
        for (output, value) in output.iter_mut().zip(input) {
            *output = (value - shift) * factor;
        }
    }
}

on_widest! {
    /// One row, then its scale and shift.
    fn normalize_and_scale(
        output: &mut [f32],
        input: &[f32],
        scales: &[f32],
        shifts: &[f32],
        how: Normalize,
    ) {
        let (mean, factor) = how.shift_and_factor(input);
        let learnt = scales.iter().zip(shifts);
        for ((output, value), (scale, shift)) in output.iter_mut().zip(input).zip(learnt) {
            *output = (value - mean) * factor * scale + shift;
        }
    }
}

on_widest! {
    /// The gradient of one row.
    fn slope(output: &mut [f32], input: &[f32], gradient: &[f32], how: Normalize) {
        let count = input.len() as f32;
        let (shift, factor) = how.shift_and_factor(input);
        let along = sum_of_pairs(input, gradient, |x, g| (x - shift) * g);
        let along = along / count * factor * factor;
        let mean = if how.is_centred {
            sum_of(gradient, |g| g) / count
        } else {
            0.0
        };
        for (output, (x, g)) in output.iter_mut().zip(input.iter().zip(gradient)) {
            *output = factor * (g - mean - (x - shift) * along);
        }
    }
}

/// A norm of rows with its learnt scale and shift.
#[derive(Clone, Copy)]
pub(super) struct RowNorm<'a> {
    pub(super) how: Normalize,
    pub(super) scales: &'a [f32],
    pub(super) shifts: &'a [f32],
}

impl RowNorm<'_> {
    /// Of one row.
    pub(super) fn apply(&self, output: &mut [f32], input: &[f32]) {
        normalize_and_scale(output, input, self.scales, self.shifts, self.how);
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
            normalize(output, input, *self);
        });
        Ok((CpuStorage::F32(output), layout.shape().clone()))
    }

    fn bwd(&self, input: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let slope = NormalizeSlope(*self);
        Ok(Some(
            input.apply_op2_no_bwd(&gradient.contiguous()?, &slope)?,
        ))
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
        let mut output = vec![0.0; input.len()];
        fill_rows(&mut output, width, |row, output| {
            let at = row * width..(row + 1) * width;
            let (input, gradient) = (&input[at.clone()], &gradient[at]);
            slope(output, input, gradient, self.0);
        });
        Ok((CpuStorage::F32(output), layout.shape().clone()))
    }
}

/// [`Normalize`], then a frozen scale and shift `[width]`, in one walk.
#[derive(Clone, Copy)]
pub(crate) struct FrozenNorm(pub(crate) Normalize);

impl CustomOp3 for FrozenNorm {
    fn name(&self) -> &'static str {
        "frozen-norm"
    }

    fn cpu_fwd(
        &self,
        input: &CpuStorage,
        layout: &Layout,
        scale: &CpuStorage,
        scale_layout: &Layout,
        shift: &CpuStorage,
        shift_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let input = contiguous(input, layout, self.name())?;
        let scales = contiguous(scale, scale_layout, self.name())?;
        let shifts = contiguous(shift, shift_layout, self.name())?;
        let width = layout.dims().last().copied().unwrap_or(1);
        if scales.len() != width || shifts.len() != width {
            bail!(
                "{}: rows are {width} wide, the scale {}",
                self.name(),
                scales.len()
            );
        }
        let mut output = vec![0.0; input.len()];
        fill_rows(&mut output, width, |row, output| {
            let input = &input[row * width..(row + 1) * width];
            normalize_and_scale(output, input, scales, shifts, self.0);
        });
        Ok((CpuStorage::F32(output), layout.shape().clone()))
    }

    fn bwd(
        &self,
        input: &Tensor,
        scale: &Tensor,
        _: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let scaled = gradient.broadcast_mul(&scale.detach())?;
        let slope = input.apply_op2_no_bwd(&scaled.contiguous()?, &NormalizeSlope(self.0))?;
        Ok((Some(slope), None, None))
    }
}
