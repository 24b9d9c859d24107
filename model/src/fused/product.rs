//! Products with weights that are not trained.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};

/// `x * W^T` for rows `[M, in]` and a frozen weight `[out, in]`, `[M, out]`.
///
/// Candle's own product computes a gradient for the weight too, as costly as the forward pass and as
/// large as the weight, and throws it away.
pub(crate) struct FrozenProduct;

impl CustomOp2 for FrozenProduct {
    fn name(&self) -> &'static str {
        "frozen-product"
    }

    fn cpu_fwd(
        &self,
        rows: &CpuStorage,
        rows_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (count, inputs) = rows_layout.shape().dims2()?;
        let (outputs, _) = weight_layout.shape().dims2()?;
        let turned = weight_layout.transpose(0, 1)?;
        let product = rows.matmul(weight, (1, count, outputs, inputs), rows_layout, &turned)?;
        Ok((product, Shape::from((count, outputs))))
    }

    fn bwd(
        &self,
        _: &Tensor,
        weight: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        Ok((Some(gradient.matmul(&weight.detach())?), None))
    }
}
