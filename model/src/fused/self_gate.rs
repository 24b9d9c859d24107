//! Non-linearities by which a number is let through as far as a sigmoid of itself says.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor};

use super::lanes::on_widest;
use super::{contiguous, exp_of_nonpositive, fill_rows};

/// `x * sigmoid(z(x))`.
#[derive(Clone, Copy)]
pub(crate) enum SelfGate {
    /// `z = x`: SiLU.
    Silu,
    /// `z = 1.702 x`: OpenAI's CLIP.
    QuickGelu,
    /// `z = sqrt(8 / pi) (x + 0.044715 x^3)`: GELU by tanh, since `(1 + tanh(u)) / 2` is the sigmoid
    /// of `2 u`.
    GeluTanh,
}

/// Numbers worked through by one task.
const NUMBERS_PER_ROW: usize = 1024;

/// sqrt(8 / pi)
const FACTOR: f32 = 1.595_769;
const CUBE: f32 = 0.044_715;

/// `1 / (1 + e^-z)`, by the exponential of a number that is not positive.
#[inline(always)]
fn sigmoid(z: f32) -> f32 {
    let exponential = exp_of_nonpositive(-z.abs());
    let share = 1.0 / (1.0 + exponential);
    if z < 0.0 { exponential * share } else { share }
}

// One loop for each kind: with the choice inside, compilers take the numbers one by one.

#[inline(always)]
fn gate_each(output: &mut [f32], input: &[f32], z: impl Fn(f32) -> f32) {
    for (output, x) in output.iter_mut().zip(input) {
        *output = x * sigmoid(z(*x));
    }
}

#[inline(always)]
fn slope_each(
    output: &mut [f32],
    input: &[f32],
    gradient: &[f32],
    z_and_slope: impl Fn(f32) -> (f32, f32),
) {
    for (output, (x, g)) in output.iter_mut().zip(input.iter().zip(gradient)) {
        let (z, slope) = z_and_slope(*x);
        let open = sigmoid(z);
        *output = g * open * (1.0 + x * slope * (1.0 - open));
    }
}

on_widest! {
    fn self_gate(output: &mut [f32], input: &[f32], gate: SelfGate) {
        match gate {
            SelfGate::Silu => gate_each(output, input, |x| x),
            SelfGate::QuickGelu => gate_each(output, input, |x| 1.702 * x),
            SelfGate::GeluTanh => {
                gate_each(output, input, |x| FACTOR * x * (1.0 + CUBE * x * x));
            }
        }
    }
}

#[inline(always)]
fn gate_each_in_place(values: &mut [f32], z: impl Fn(f32) -> f32) {
    for value in values {
        *value *= sigmoid(z(*value));
    }
}

on_widest! {
    /// [`SelfGate`] of each number.
    pub(super) fn self_gate_in_place(values: &mut [f32], gate: SelfGate) {
        match gate {
            SelfGate::Silu => gate_each_in_place(values, |x| x),
            SelfGate::QuickGelu => gate_each_in_place(values, |x| 1.702 * x),
            SelfGate::GeluTanh => {
                gate_each_in_place(values, |x| FACTOR * x * (1.0 + CUBE * x * x));
            }
        }
    }
}

on_widest! {
    pub(super) fn slope(output: &mut [f32], input: &[f32], gradient: &[f32], gate: SelfGate) {
        match gate {
            SelfGate::Silu => slope_each(output, input, gradient, |x| (x, 1.0)),
            SelfGate::QuickGelu => slope_each(output, input, gradient, |x| (1.702 * x, 1.702)),
            SelfGate::GeluTanh => slope_each(output, input, gradient, |x| {
                let square = CUBE * x * x;
                (FACTOR * x * (1.0 + square), FACTOR * (1.0 + 3.0 * square))
            }),
        }
    }
}

impl CustomOp1 for SelfGate {
    fn name(&self) -> &'static str {
        "self-gate"
    }

    fn cpu_fwd(&self, input: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let input = contiguous(input, layout, self.name())?;
        let mut output = vec![0.0; input.len()];
        fill_rows(&mut output, NUMBERS_PER_ROW, |row, output| {
            self_gate(output, &input[row * NUMBERS_PER_ROW..], *self);
        });
        Ok((CpuStorage::F32(output), layout.shape().clone()))
    }

    fn bwd(&self, input: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let slope = SelfGateSlope(*self);
        Ok(Some(
            input.apply_op2_no_bwd(&gradient.contiguous()?, &slope)?,
        ))
    }
}

/// Gradient of [`SelfGate`] from its input and its result's gradient.
struct SelfGateSlope(SelfGate);

impl CustomOp2 for SelfGateSlope {
    fn name(&self) -> &'static str {
        "self-gate-slope"
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
            slope(output, &input[start..], &gradient[start..], self.0);
        });
        Ok((CpuStorage::F32(output), layout.shape().clone()))
    }
}
