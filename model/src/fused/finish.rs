//! What is done to the sums of a product on their way to memory.

use super::fill_rows;
use super::gelu::gelu_in_place;
use super::lanes::on_widest;
use super::lines::{Line, numbers, turn};
use super::output::Output;
use super::panels::Panel;
use super::self_gate::{SelfGate, self_gate_in_place};
use super::vectors::WIDTH;
use crate::config::Activation;

/// `residual + factor * activation(sum + bias)`, each part where there is one.
#[derive(Clone, Copy)]
pub(super) struct Finish<'a> {
    /// `[out]`.
    pub(super) bias: Option<&'a [f32]>,
    pub(super) activation: Option<Activation>,
    /// `[M, out]`, and the factor.
    pub(super) residual: Option<(&'a [f32], f32)>,
}

impl<'a> Finish<'a> {
    /// The sums as they are.
    pub(super) const NOTHING: Finish<'static> = Finish {
        bias: None,
        activation: None,
        residual: None,
    };

    pub(super) fn bias(bias: &'a [f32]) -> Self {
        Self {
            bias: Some(bias),
            ..Self::NOTHING
        }
    }

    /// Finishes sums `[M, out]` where they lie.
    pub(super) fn in_place(&self, sums: &mut [f32], outputs: usize) {
        if self.bias.is_none() && self.activation.is_none() && self.residual.is_none() {
            return;
        }
        fill_rows(sums, outputs, |row, sums| {
            if let Some(bias) = self.bias {
                for (sum, bias) in sums.iter_mut().zip(bias) {
                    *sum += bias;
                }
            }
            if let Some(activation) = self.activation {
                activate(sums, activation);
            }
            if let Some((residual, factor)) = self.residual {
                add(sums, &residual[row * outputs..], factor);
            }
        });
    }

    /// Finishes the sums `[count, lines]` of the outputs from `start` on where they lie, but for the
    /// residual.
    pub(super) fn lines(&self, sums: &mut [Line], per_output: usize, start: usize) {
        if let Some(bias) = self.bias {
            for (lines, bias) in sums.chunks_mut(per_output).zip(&bias[start..]) {
                for sum in numbers(lines) {
                    *sum += bias;
                }
            }
        }
        if let Some(activation) = self.activation {
            activate(numbers(sums), activation);
        }
    }

    /// Writes the sums `[count, lines]` of a panel's rows with the outputs from `start` on.
    pub(super) fn write(&self, output: &Output, panel: Panel<'_>, sums: &mut [Line], start: usize) {
        let per_output = panel.lines_per_input;
        let outputs = sums.len() / per_output;
        self.lines(sums, per_output, start);
        let mut square = [Line::ZERO; WIDTH];
        for place in 0..per_output {
            let first = panel.start + place * WIDTH;
            let rows = WIDTH.min(panel.rows - place * WIDTH);
            for column in (0..outputs).step_by(WIDTH) {
                let width = WIDTH.min(outputs - column);
                let lines = sums[column * per_output + place..].iter();
                for (turned, line) in square.iter_mut().zip(lines.step_by(per_output)) {
                    *turned = *line;
                }
                turn(&mut square);
                for (row, line) in square[..rows].iter_mut().enumerate() {
                    let row = first + row;
                    if let Some((residual, factor)) = self.residual {
                        let residual = &residual[row * output.width() + start + column..];
                        match residual.first_chunk::<WIDTH>() {
                            Some(residual) => add(&mut line.0, residual, factor),
                            None => add(&mut line.0[..width], residual, factor),
                        }
                    }
                    if width == WIDTH {
                        // One instruction where the number is known.
                        output.write(row, start + column, &line.0);
                    } else {
                        output.write(row, start + column, &line.0[..width]);
                    }
                }
            }
        }
    }
}

#[inline(always)]
fn add(sums: &mut [f32], residual: &[f32], factor: f32) {
    for (sum, residual) in sums.iter_mut().zip(residual) {
        *sum = residual + factor * *sum;
    }
}

/// The non-linearity of each number.
pub(super) fn activate(sums: &mut [f32], activation: Activation) {
    match activation {
        Activation::Gelu => gelu_in_place(sums),
        Activation::GeluTanh => self_gate_in_place(sums, SelfGate::GeluTanh),
        Activation::QuickGelu => self_gate_in_place(sums, SelfGate::QuickGelu),
        Activation::Silu => self_gate_in_place(sums, SelfGate::Silu),
        Activation::Relu => cut_in_place(sums),
        Activation::SquaredRelu => {
            cut_in_place(sums);
            for sum in sums {
                *sum *= *sum;
            }
        }
    }
}

on_widest! {
    /// Zeros in place of negative numbers.
    fn cut_in_place(values: &mut [f32]) {
        for value in values {
            // Unlike `max`, this lets NaN through.
            *value = if *value < 0.0 { 0.0 } else { *value };
        }
    }
}
