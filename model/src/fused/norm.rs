//! Layer norm and RMS norm, before scale and shift.

use candle_core::{
    CpuStorage, CustomOp1, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor, bail,
};

use rayon::prelude::*;

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

on_widest! {
    /// The gradient of one row of a norm with a scale behind it.
    fn scaled_slope(
        output: &mut [f32],
        input: &[f32],
        gradient: &[f32],
        scales: &[f32],
        how: Normalize,
    ) {
        for (output, (g, scale)) in output.iter_mut().zip(gradient.iter().zip(scales)) {
            *output = g * scale;
        }
        let count = input.len() as f32;
        let (shift, factor) = how.shift_and_factor(input);
        let along = sum_of_pairs(input, output, |x, g| (x - shift) * g);
        let along = along / count * factor * factor;
        let mean = if how.is_centred {
            sum_of(output, |g| g) / count
        } else {
            0.0
        };
        for (output, x) in output.iter_mut().zip(input) {
            *output = factor * (*output - mean - (x - shift) * along);
        }
    }
}

on_widest! {
    /// Adds the gradients of scale and shift that one row has.
    fn add_learnt_slopes(
        scales: &mut [f32],
        shifts: &mut [f32],
        input: &[f32],
        gradient: &[f32],
        how: Normalize,
    ) {
        let (shift, factor) = how.shift_and_factor(input);
        let sums = scales.iter_mut().zip(shifts);
        for ((of_scale, of_shift), (x, g)) in sums.zip(input.iter().zip(gradient)) {
            *of_scale += g * ((x - shift) * factor);
            *of_shift += g;
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

/// [`Normalize`], then a scale and a shift `[width]`, in one walk. Those that are trained get gradients.
#[derive(Clone, Copy)]
pub(crate) struct ScaledNorm(pub(crate) Normalize);

impl CustomOp3 for ScaledNorm {
    fn name(&self) -> &'static str {
        "scaled-norm"
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
        shift: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let gradient = gradient.contiguous()?;
        let of_input = input.track_op().then(|| {
            let slope = ScaledSlope(self.0);
            input.apply_op3_no_bwd(&scale.detach(), &gradient, &slope)
        });
        let of_learnt = (scale.track_op() || shift.track_op())
            .then(|| input.apply_op2_no_bwd(&gradient, &LearntSlopes(self.0)));
        let of_learnt = of_learnt.transpose()?;
        let part = |at: usize| of_learnt.as_ref().map(|both| both.get(at)).transpose();
        Ok((of_input.transpose()?, part(0)?, part(1)?))
    }
}

/// Gradient of [`ScaledNorm`] of its input, from that, the scale and the result's gradient.
struct ScaledSlope(Normalize);

impl CustomOp3 for ScaledSlope {
    fn name(&self) -> &'static str {
        "scaled-norm-slope"
    }

    fn cpu_fwd(
        &self,
        input: &CpuStorage,
        layout: &Layout,
        scale: &CpuStorage,
        scale_layout: &Layout,
        gradient: &CpuStorage,
        gradient_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let input = contiguous(input, layout, self.name())?;
        let scales = contiguous(scale, scale_layout, self.name())?;
        let gradient = contiguous(gradient, gradient_layout, self.name())?;
        let width = layout.dims().last().copied().unwrap_or(1);
        let mut output = vec![0.0; input.len()];
        fill_rows(&mut output, width, |row, output| {
            let at = row * width..(row + 1) * width;
            scaled_slope(output, &input[at.clone()], &gradient[at], scales, self.0);
        });
        Ok((CpuStorage::F32(output), layout.shape().clone()))
    }
}

/// Gradients of scale and shift, `[2, width]`, from the input and the result's gradient.
struct LearntSlopes(Normalize);

/// Rows whose gradients of scale and shift are added up by one task.
const SUMMED_ROWS: usize = 64;

impl CustomOp2 for LearntSlopes {
    fn name(&self) -> &'static str {
        "learnt-norm-slopes"
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
        let width = layout.dims().last().copied().unwrap_or(1).max(1);
        let parts = (input.par_chunks(SUMMED_ROWS * width))
            .zip(gradient.par_chunks(SUMMED_ROWS * width))
            .map(|(input, gradient)| {
                let mut sums = vec![0.0; 2 * width];
                let (scales, shifts) = sums.split_at_mut(width);
                for (input, gradient) in input.chunks(width).zip(gradient.chunks(width)) {
                    add_learnt_slopes(scales, shifts, input, gradient, self.0);
                }
                sums
            });
        let parts: Vec<Vec<f32>> = parts.collect();
        let mut sums = vec![0.0; 2 * width];
        for part in parts {
            let sums = sums.iter_mut().zip(part);
            sums.for_each(|(sum, number)| *sum += number);
        }
        Ok((CpuStorage::F32(sums), Shape::from((2, width))))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Var;

    use super::super::tests::numbers;
    use super::*;

    #[test]
    fn the_scale_and_shift_of_a_norm_get_gradients_where_they_are_trained() {
        let normalize = Normalize {
            is_centred: true,
            epsilon: 1e-5,
        };
        let (rows, scale, shift) = (numbers(150, 9, 0.2), numbers(1, 9, 0.3), numbers(1, 9, 1.9));
        let flat = |var: &Var| Var::from_tensor(&var.flatten_all().unwrap()).unwrap();
        let (scale, shift) = (flat(&scale), flat(&shift));
        let found = rows
            .apply_op3(&scale, &shift, ScaledNorm(normalize))
            .unwrap();
        let normal = rows.apply_op1(normalize).unwrap();
        let scaled = normal.broadcast_mul(&scale).unwrap();
        let expected = scaled.broadcast_add(&shift).unwrap();
        let uneven = numbers(150, 9, 0.4).as_detached_tensor();
        let gradients = |output: &Tensor| {
            let sum = (output * &uneven).unwrap().sum_all().unwrap();
            sum.backward().unwrap()
        };
        let (found, expected) = (gradients(&found), gradients(&expected));
        for var in [&rows, &scale, &shift] {
            let apart = (found.get(var).unwrap() - expected.get(var).unwrap()).unwrap();
            let most = |tensor: &Tensor| {
                let most = tensor.abs().unwrap().max_all().unwrap();
                most.to_scalar::<f32>().unwrap()
            };
            let (apart, size) = (most(&apart), most(expected.get(var).unwrap()));
            assert!(apart <= 1e-5 * size, "{apart} of {size}");
        }
    }
}
