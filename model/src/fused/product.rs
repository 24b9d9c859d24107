//! Products with weights that are not trained.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor, bail};

use super::few_rows::{MOST_ROWS, few_rows};
use super::{contiguous, fill_rows};

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
        if count <= MOST_ROWS
            && let Some((start, end)) = rows_layout.contiguous_offsets()
            && let Some((first, last)) = weight_layout.contiguous_offsets()
        {
            let rows = &rows.as_slice::<f32>()?[start..end];
            let weight = &weight.as_slice::<f32>()?[first..last];
            let product = few_rows(rows, weight, inputs);
            return Ok((CpuStorage::F32(product), Shape::from((count, outputs))));
        }
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

/// `x * W^T + b` for rows `[M, in]`, a frozen weight `[out, in]` and a frozen bias `[out]`,
/// `[M, out]`. Candle's own sum is another walk, on one thread.
pub(crate) struct FrozenAffine;

impl CustomOp3 for FrozenAffine {
    fn name(&self) -> &'static str {
        "frozen-affine"
    }

    fn cpu_fwd(
        &self,
        rows: &CpuStorage,
        rows_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (product, shape) = FrozenProduct.cpu_fwd(rows, rows_layout, weight, weight_layout)?;
        let bias = contiguous(bias, bias_layout, self.name())?;
        let CpuStorage::F32(mut sums) = product else {
            bail!("{} needs f32", self.name());
        };
        fill_rows(&mut sums, bias.len(), |_, row| {
            for (sum, bias) in row.iter_mut().zip(bias) {
                *sum += bias;
            }
        });
        Ok((CpuStorage::F32(sums), shape))
    }

    fn bwd(
        &self,
        _: &Tensor,
        weight: &Tensor,
        _: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        Ok((Some(gradient.matmul(&weight.detach())?), None, None))
    }
}
