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
struct Read<'a, G>(G, &'a Layout);

fn read(tensor: &Tensor) -> Read<'_, impl Deref<Target = Storage>> {
    let (storage, layout) = tensor.storage_and_layout();
    Read(storage, layout)
}

impl<G: Deref<Target = Storage>> Read<'_, G> {
    fn storage(&self) -> Result<&CpuStorage> {
        match &*self.0 {
            Storage::Cpu(storage) => Ok(storage),
            _ => bail!("{NAME} runs on the CPU"),
        }
    }

    /// The numbers of a tensor `[width]`.
    fn numbers(&self, width: usize) -> Result<&[f32]> {
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
