//! Maps with what stands around them, in few walks over memory, for what needs no gradient.

use std::ops::Deref;

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Storage, Tensor, bail};

use super::contiguous;
use super::finish::Finish;
use super::norm::{Normalize, RowNorm};
use super::panels::Panels;
use super::weight::Weight;
use crate::config::Activation;

/// A norm of the last axis, with its learnt scale and shift `[width]`.
#[derive(Clone)]
pub(crate) struct Norm {
    pub(crate) how: Normalize,
    pub(crate) scale: Tensor,
    pub(crate) shift: Option<Tensor>,
}

/// A frozen weight `[out, in]` of any type, and a bias `[out]`.
#[derive(Clone)]
pub(crate) struct Map {
    pub(crate) weight: Tensor,
    pub(crate) bias: Option<Tensor>,
}

/// `map(norm(x))` of rows `[M, in]`, `[M, out]`; with a second operand `[M, out]` that plus `factor` times
/// this. There is no backward pass: it is for what has no gradient.
pub(crate) struct Affine {
    pub(crate) norm: Option<Norm>,
    pub(crate) map: Map,
    pub(crate) factor: f32,
}

/// The second operand `[M, out]` plus `factor * fall(activation(rise(norm(x))))` of rows `[M, in]`. What
/// rises never lies in memory as rows. There is no backward pass.
pub(crate) struct FeedForward {
    pub(crate) norm: Option<Norm>,
    pub(crate) rise: Map,
    pub(crate) activation: Activation,
    pub(crate) fall: Map,
    pub(crate) factor: f32,
}

/// A tensor that is being read.
pub(super) struct Read<'a, G>(G, &'a Layout);

pub(super) fn read(tensor: &Tensor) -> Read<'_, impl Deref<Target = Storage>> {
    let (storage, layout) = tensor.storage_and_layout();
    Read(storage, layout)
}

impl<G: Deref<Target = Storage>> Read<'_, G> {
    pub(super) fn storage(&self) -> Result<&CpuStorage> {
        match &*self.0 {
            Storage::Cpu(storage) => Ok(storage),
            _ => bail!("{NAME} runs on the CPU"),
        }
    }

    /// The numbers of a tensor `[width]`.
    pub(super) fn numbers(&self, width: usize) -> Result<&[f32]> {
        let numbers = contiguous(self.storage()?, self.1, NAME)?;
        if numbers.len() != width {
            bail!("{NAME}: {} numbers for a width of {width}", numbers.len());
        }
        Ok(numbers)
    }
}

const NAME: &str = "affine";

/// Rows `[M, in]` in panels, normalised first.
fn panels(rows: &CpuStorage, layout: &Layout, norm: Option<&Norm>) -> Result<Panels> {
    let (_, inputs) = layout.shape().dims2()?;
    let rows = contiguous(rows, layout, NAME)?;
    let Some(norm) = norm else {
        return Ok(Panels::of(rows, inputs, None));
    };
    let (scale, shift) = (read(&norm.scale), norm.shift.as_ref().map(read));
    let none = vec![0.0; inputs];
    let norm = RowNorm {
        how: norm.how,
        scales: scale.numbers(inputs)?,
        shifts: match &shift {
            Some(shift) => shift.numbers(inputs)?,
            None => &none,
        },
    };
    Ok(Panels::of(rows, inputs, Some(norm)))
}

impl Map {
    fn outputs(&self) -> Result<usize> {
        self.weight.dim(0)
    }

    /// Calls `run` with the weight for so many inputs and with what follows the product.
    fn with<T>(
        &self,
        inputs: usize,
        activation: Option<Activation>,
        run: impl FnOnce(Weight<'_>, Finish<'_>) -> T,
    ) -> Result<T> {
        let weight = read(&self.weight);
        let bias = self.bias.as_ref().map(read);
        let bias = match &bias {
            Some(bias) => Some(bias.numbers(self.outputs()?)?),
            None => None,
        };
        let finish = Finish {
            bias,
            activation,
            residual: None,
        };
        let weight = Weight::new((weight.storage()?, weight.1), inputs, NAME)?;
        Ok(run(weight, finish))
    }

    /// The map of rows in panels, plus `factor` times which a residual `[M, out]` gives.
    fn finish(
        &self,
        panels: &Panels,
        residual: Option<(&[f32], f32)>,
    ) -> Result<(CpuStorage, Shape)> {
        let outputs = self.outputs()?;
        if residual.is_some_and(|(numbers, _)| numbers.len() != panels.rows() * outputs) {
            bail!("{NAME}: the residual does not fit {outputs} outputs");
        }
        let product = self.with(panels.inputs(), None, |weight, finish| {
            weight.product(panels, Finish { residual, ..finish })
        })?;
        let shape = Shape::from((panels.rows(), outputs));
        Ok((CpuStorage::F32(product), shape))
    }
}

impl CustomOp1 for Affine {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(&self, rows: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let panels = panels(rows, layout, self.norm.as_ref())?;
        self.map.finish(&panels, None)
    }
}

impl CustomOp2 for Affine {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(
        &self,
        rows: &CpuStorage,
        layout: &Layout,
        residual: &CpuStorage,
        residual_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let residual = contiguous(residual, residual_layout, NAME)?;
        let panels = panels(rows, layout, self.norm.as_ref())?;
        self.map.finish(&panels, Some((residual, self.factor)))
    }
}

impl CustomOp2 for FeedForward {
    fn name(&self) -> &'static str {
        "feed-forward"
    }

    fn cpu_fwd(
        &self,
        rows: &CpuStorage,
        layout: &Layout,
        residual: &CpuStorage,
        residual_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let residual = contiguous(residual, residual_layout, NAME)?;
        let panels = panels(rows, layout, self.norm.as_ref())?;
        let inner = self
            .rise
            .with(panels.inputs(), Some(self.activation), |weight, finish| {
                weight.panels(&panels, finish)
            })?;
        drop(panels);
        self.fall.finish(&inner, Some((residual, self.factor)))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Tensor};
    use proptest::prelude::*;

    use super::super::product::takes_tiles;
    use super::*;
    use crate::weight_type::WeightType;

    fn numbers(shape: &[usize], rate: f32) -> Tensor {
        let count = shape.iter().product();
        let values = (0..count).map(|at| (at as f32 * rate).sin());
        Tensor::from_vec(values.collect::<Vec<f32>>(), shape, &Device::Cpu).unwrap()
    }

    fn normal(norm: &Norm, input: &Tensor) -> Tensor {
        let normal = input.apply_op1_no_bwd(&norm.how).unwrap();
        let scaled = normal.broadcast_mul(&norm.scale).unwrap();
        match &norm.shift {
            Some(shift) => scaled.broadcast_add(shift).unwrap(),
            None => scaled,
        }
    }

    /// The map out of candle's operations, of a weight that may have been rounded.
    fn mapped(weight: &Tensor, bias: &Tensor, input: &Tensor) -> Tensor {
        let product = input.matmul(&weight.t().unwrap()).unwrap();
        product.broadcast_add(bias).unwrap()
    }

    fn assert_close(found: &Tensor, expected: &Tensor) {
        let apart = (found - expected).unwrap().abs().unwrap();
        let most = apart.max_all().unwrap().to_scalar::<f32>().unwrap();
        assert!(most < 2e-5, "{most}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn maps_in_tiles_are_what_their_steps_come_to(
            rows in 9_usize..120,
            width in 1_usize..3,
            inner in 1_usize..4,
            weights in 0_usize..3,
            is_centred: bool,
            is_normalised: bool,
        ) {
            if !takes_tiles(rows) {
                return Ok(());
            }
            // Multiples of 32 can be held in 8 bits; others lie askew in tiles.
            let types = [WeightType::F32, WeightType::Bf16, WeightType::Int8];
            let (width, inner) = if weights == 2 {
                (32 * width, 32 * inner)
            } else {
                (19 * width, 37 * inner)
            };
            let weights = types[weights];
            let norm = is_normalised.then(|| Norm {
                how: Normalize { is_centred, epsilon: 1e-5 },
                scale: numbers(&[width], 0.7),
                shift: is_centred.then(|| numbers(&[width], 0.9)),
            });
            let map = |outputs: usize, inputs: usize| {
                let weight = (numbers(&[outputs, inputs], 0.37) * 0.3).unwrap();
                let bias = numbers(&[outputs], 0.41);
                let held = weights.of(&weight, true).unwrap();
                // What it was rounded to: the map of the rows of a unit matrix.
                let unit = Tensor::eye(inputs, DType::F32, &Device::Cpu).unwrap();
                let rounded = unit.apply_op2_no_bwd(&held, &super::super::FrozenProduct).unwrap();
                (Map { weight: held, bias: Some(bias.clone()) }, rounded.t().unwrap(), bias)
            };
            let (rise, rise_weight, rise_bias) = map(inner, width);
            let (fall, fall_weight, fall_bias) = map(width, inner);
            let input = numbers(&[rows, width], 0.13);
            let after = norm.as_ref().map_or(input.clone(), |norm| normal(norm, &input));
            let risen = mapped(&rise_weight, &rise_bias, &after);

            let affine = Affine { norm: norm.clone(), map: rise.clone(), factor: 1.0 };
            assert_close(&input.apply_op1_no_bwd(&affine).unwrap(), &risen);

            let activated = risen.apply_op1_no_bwd(&super::super::Gelu).unwrap();
            let fallen = mapped(&fall_weight, &fall_bias, &activated);
            let part = FeedForward {
                norm,
                rise,
                activation: Activation::Gelu,
                fall,
                factor: 0.25,
            };
            let expected = (&input + (fallen * 0.25).unwrap()).unwrap();
            assert_close(&input.apply_op2_no_bwd(&input, &part).unwrap(), &expected);
        }
    }
}
