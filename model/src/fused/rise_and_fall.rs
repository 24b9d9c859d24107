//! The two maps of a feed-forward part as one operation with a backward pass.

use std::sync::OnceLock;

use candle_core::{CpuStorage, CustomOp3, InplaceOp1, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::affine::read;
use super::contiguous;
use super::finish::{Finish, activate};
use super::panels::Panels;
use super::slopes::{by_rows, by_weight};
use super::weight::Weight;
use super::{gelu, self_gate};
use crate::config::Activation;

/// `fall(activation(rise(x)))` of rows `[M, in]` and weights `[inner, in]` and `[out, inner]`, `[M, out]`.
/// Weights get gradients where they are trained.
///
/// Keeps `[M, inner]` numbers for the backward pass: what rises, from which the rest is computed again.
pub(crate) struct RiseAndFall {
    pub(crate) activation: Activation,
    /// `[inner]` and `[out]`, frozen.
    pub(crate) biases: [Option<Tensor>; 2],
    risen: OnceLock<Vec<f32>>,
}

/// Numbers that one task walks over.
const NUMBERS_PER_TASK: usize = 1 << 14;

/// Numbers of a gradient that are put aside while their places are written.
const ASIDE: usize = 512;

impl RiseAndFall {
    pub(crate) fn new(activation: Activation, biases: [Option<Tensor>; 2]) -> Self {
        Self {
            activation,
            biases,
            risen: OnceLock::new(),
        }
    }

    /// A map of rows in panels, by one of the weights.
    fn map(
        &self,
        which: usize,
        panels: &Panels,
        (weight, layout): (&CpuStorage, &Layout),
    ) -> Result<Vec<f32>> {
        let (outputs, _) = layout.shape().dims2()?;
        let bias = self.biases[which].as_ref().map(read);
        let bias = match &bias {
            Some(bias) => Some(bias.numbers(outputs)?),
            None => None,
        };
        let finish = Finish {
            bias,
            ..Finish::NOTHING
        };
        let weight = Weight::new((weight, layout), panels.inputs(), self.name())?;
        Ok(weight.product(panels, finish))
    }
}

impl CustomOp3 for RiseAndFall {
    fn name(&self) -> &'static str {
        "rise-and-fall"
    }

    fn cpu_fwd(
        &self,
        rows: &CpuStorage,
        layout: &Layout,
        rise: &CpuStorage,
        rise_layout: &Layout,
        fall: &CpuStorage,
        fall_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (count, inputs) = layout.shape().dims2()?;
        let (inner, _) = rise_layout.shape().dims2()?;
        let (outputs, _) = fall_layout.shape().dims2()?;
        let rows = contiguous(rows, layout, self.name())?;
        let panels = Panels::of(rows, inputs, None);
        let risen = self.map(0, &panels, (rise, rise_layout))?;
        drop(panels);
        let panels = Panels::of_each(&risen, inner, |row| activate(row, self.activation));
        let fallen = self.map(1, &panels, (fall, fall_layout))?;
        // Nobody else sets it: an operation runs once.
        self.risen.get_or_init(|| risen);
        Ok((CpuStorage::F32(fallen), Shape::from((count, outputs))))
    }

    fn bwd(
        &self,
        rows: &Tensor,
        rise: &Tensor,
        fall: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let Some(risen) = self.risen.get() else {
            bail!("{} did not run forward", self.name());
        };
        let gradient = gradient.contiguous()?;
        let of_fall = fall.track_op().then(|| {
            let mut activated = risen.clone();
            let parts = activated.par_chunks_mut(NUMBERS_PER_TASK);
            parts.for_each(|part| activate(part, self.activation));
            let shape = (rows.dim(0)?, rise.dim(0)?);
            let activated = Tensor::from_vec(activated, shape, rows.device())?;
            by_weight(&gradient, &activated, fall)
        });
        let of_fall = of_fall.transpose()?;
        let of_inner = by_rows(&gradient, fall)?;
        let slope = ActivationSlope {
            activation: self.activation,
            input: risen,
        };
        of_inner.inplace_op1(&slope)?;
        let of_rise = rise.track_op().then(|| by_weight(&of_inner, rows, rise));
        let of_rows = rows.track_op().then(|| by_rows(&of_inner, rise));
        Ok((of_rows.transpose()?, of_rise.transpose()?, of_fall))
    }
}

/// The gradient of a non-linearity's result to that of its input.
struct ActivationSlope<'a> {
    activation: Activation,
    input: &'a [f32],
}

impl InplaceOp1 for ActivationSlope<'_> {
    fn name(&self) -> &'static str {
        "activation-slope"
    }

    fn cpu_fwd(&self, gradient: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let CpuStorage::F32(gradient) = gradient else {
            bail!("{} is of f32", self.name());
        };
        if layout.contiguous_offsets() != Some((0, self.input.len())) {
            bail!("{} needs all of a tensor", self.name());
        }
        let parts = gradient.par_chunks_mut(NUMBERS_PER_TASK);
        let parts = parts.zip(self.input.par_chunks(NUMBERS_PER_TASK));
        parts.for_each(|(gradient, input)| {
            for (gradient, input) in gradient.chunks_mut(ASIDE).zip(input.chunks(ASIDE)) {
                slope_in_place(gradient, input, self.activation);
            }
        });
        Ok(())
    }
}

/// Of at most [`ASIDE`] numbers.
fn slope_in_place(gradient: &mut [f32], input: &[f32], activation: Activation) {
    let mut aside = [0.0; ASIDE];
    let aside = &mut aside[..gradient.len()];
    aside.copy_from_slice(gradient);
    let gate = match activation {
        Activation::Gelu => return gelu::slope(gradient, input, aside),
        Activation::GeluTanh => self_gate::SelfGate::GeluTanh,
        Activation::QuickGelu => self_gate::SelfGate::QuickGelu,
        Activation::Silu => self_gate::SelfGate::Silu,
        Activation::Relu | Activation::SquaredRelu => {
            let is_squared = matches!(activation, Activation::SquaredRelu);
            for (gradient, x) in gradient.iter_mut().zip(input) {
                // At zero as candle has it: as above.
                let factor = if *x < 0.0 { 0.0 } else { 1.0 };
                *gradient *= if is_squared { 2.0 * x * factor } else { factor };
            }
            return;
        }
    };
    self_gate::slope(gradient, input, aside, gate);
}

#[cfg(test)]
mod tests {
    use candle_core::Var;

    use super::super::tests::numbers;
    use super::*;

    #[test]
    fn rise_and_fall_are_what_their_steps_come_to() {
        use crate::config::Activation;
        let all = [
            Activation::Gelu,
            Activation::GeluTanh,
            Activation::QuickGelu,
            Activation::Silu,
            Activation::Relu,
            Activation::SquaredRelu,
        ];
        let small = |rows, width, seed| {
            let numbers = (numbers(rows, width, seed).as_detached_tensor() * 0.1).unwrap();
            Var::from_tensor(&numbers).unwrap()
        };
        let (rows, rise, fall) = (small(60, 20, 0.5), small(70, 20, 0.8), small(30, 70, 0.3));
        let bias = |width, seed| {
            let bias = small(1, width, seed).as_detached_tensor();
            bias.flatten_all().unwrap()
        };
        let biases = [bias(70, 0.2), bias(30, 0.9)];
        let uneven = numbers(60, 30, 0.4).as_detached_tensor();
        for activation in all {
            for is_frozen in [false, true] {
                let weight = |var: &Var| match is_frozen {
                    true => var.as_detached_tensor(),
                    false => var.as_tensor().clone(),
                };
                let part = RiseAndFall::new(activation, biases.clone().map(Some));
                let found = rows
                    .apply_op3(&weight(&rise), &weight(&fall), part)
                    .unwrap();
                let map = |rows: &Tensor, weight: &Tensor, bias: &Tensor| {
                    let product = rows.matmul(&weight.t().unwrap()).unwrap();
                    product.broadcast_add(bias).unwrap()
                };
                let risen = map(&rows, &rise, &biases[0]);
                let inner = crate::ops::activate(activation, &risen).unwrap();
                let expected = map(&inner, &fall, &biases[1]);
                let close = |what: &str, found: &Tensor, expected: &Tensor| {
                    let apart = (found - expected).unwrap().abs().unwrap();
                    let apart = apart.max_all().unwrap().to_scalar::<f32>().unwrap();
                    assert!(apart < 1e-4, "{what}, {activation:?}: {apart}");
                };
                close("result", &found, &expected);
                let gradients = |output: &Tensor| {
                    let sum = (output * &uneven).unwrap().sum_all().unwrap();
                    sum.backward().unwrap()
                };
                let (found, expected) = (gradients(&found), gradients(&expected));
                close(
                    "rows",
                    found.get(&rows).unwrap(),
                    expected.get(&rows).unwrap(),
                );
                for (what, var) in [("rise", &rise), ("fall", &fall)] {
                    match found.get(var) {
                        Some(found) => close(what, found, expected.get(var).unwrap()),
                        None => assert!(is_frozen, "{what} has no gradient"),
                    }
                }
            }
        }
    }
}
