//! The exact GELU.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor};

use super::lanes::on_widest;
use super::{contiguous, exp_of_nonpositive, fill_rows};

/// `x * Phi(x)`, the exact GELU.
pub(crate) struct Gelu;

/// `Phi(x)` and `e^(-x^2 / 2)`, by formula 7.1.26 of Abramowitz and Stegun for the error function
/// (within 1.5e-7, as good as f32 allows near 1).
#[inline(always)]
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

on_widest! {
    fn gelu(output: &mut [f32], input: &[f32]) {
        for (output, x) in output.iter_mut().zip(input) {
            *output = x * normal_distribution(*x).0;
        }
    }
}

on_widest! {
    /// [`Gelu`] of each number.
    pub(super) fn gelu_in_place(values: &mut [f32]) {
        for value in values {
            *value *= normal_distribution(*value).0;
        }
    }
}

on_widest! {
    pub(super) fn slope(output: &mut [f32], input: &[f32], gradient: &[f32]) {
        /// 1 / sqrt(2 pi).
        const BELL_HEIGHT: f32 = 0.398_942_3;
        for (output, (x, g)) in output.iter_mut().zip(input.iter().zip(gradient)) {
            let (distribution, bell) = normal_distribution(*x);
            *output = g * (distribution + x * bell * BELL_HEIGHT);
        }
    }
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
            gelu(output, &input[row * NUMBERS_PER_ROW..]);
        });
        Ok((CpuStorage::F32(output), layout.shape().clone()))
    }

    fn bwd(&self, input: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(
            input.apply_op2_no_bwd(&gradient.contiguous()?, &GeluSlope)?,
        ))
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
        let input = contiguous(input, layout, self.name())?;
        let gradient = contiguous(gradient, gradient_layout, self.name())?;
        let mut output = vec![0.0; input.len()];
        fill_rows(&mut output, NUMBERS_PER_ROW, |row, output| {
            let start = row * NUMBERS_PER_ROW;
            slope(output, &input[start..], &gradient[start..]);
        });
        Ok((CpuStorage::F32(output), layout.shape().clone()))
    }
}
