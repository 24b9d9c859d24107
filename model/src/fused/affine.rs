//! An affine map and what follows it, for what needs no gradient.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Storage, Tensor, bail};

use super::contiguous;
use super::finish::Finish;
use super::frozen::stored_product;
use crate::config::Activation;

/// `activation(x * W^T + b)` of rows `[M, in]`, `[M, out]`, and with a second operand `[M, out]` that
/// plus `factor` times this, in one walk over the result. There is no backward pass: use it where
/// nothing has a gradient.
pub(crate) struct Affine {
    /// `[out, in]`, in any type of frozen weights.
    pub(crate) weight: Tensor,
    /// `[out]`.
    pub(crate) bias: Option<Tensor>,
    pub(crate) activation: Option<Activation>,
    pub(crate) factor: f32,
}

impl Affine {
    fn run(
        &self,
        rows: (&CpuStorage, &Layout),
        residual: Option<&[f32]>,
    ) -> Result<(CpuStorage, Shape)> {
        let (weight, weight_layout) = self.weight.storage_and_layout();
        let guarded = self.bias.as_ref().map(Tensor::storage_and_layout);
        let bias = match &guarded {
            Some((bias, layout)) => Some(contiguous(on_cpu(bias)?, layout, NAME)?),
            None => None,
        };
        let outputs = self.weight.dim(0)?;
        let count = rows.1.dims()[0];
        if bias.is_some_and(|bias| bias.len() != outputs)
            || residual.is_some_and(|residual| residual.len() != count * outputs)
        {
            bail!("{NAME}: a bias or a residual does not fit {outputs} outputs");
        }
        let finish = Finish {
            bias,
            activation: self.activation,
            residual: residual.map(|residual| (residual, self.factor)),
        };
        stored_product(rows, (on_cpu(&weight)?, weight_layout), finish, NAME)
    }
}

const NAME: &str = "affine";

fn on_cpu(storage: &Storage) -> Result<&CpuStorage> {
    match storage {
        Storage::Cpu(storage) => Ok(storage),
        _ => bail!("{NAME} runs on the CPU"),
    }
}

impl CustomOp1 for Affine {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(&self, rows: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        self.run((rows, layout), None)
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
        self.run((rows, layout), Some(residual))
    }
}
