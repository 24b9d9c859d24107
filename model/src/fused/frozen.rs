//! Products with weights that are not trained.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp2, CustomOp3, DType, Layout, Result, Shape, Tensor, bail};

use super::contiguous;
use super::finish::Finish;
use super::product::product;
use super::weight::Weight;

/// `x * W^T` for rows `[M, in]` and a frozen weight `[out, in]` of 32 or 16 bits, or in blocks of 8,
/// `[M, out]`.
///
/// Candle's own product computes a gradient for the weight too, as costly as the forward pass and as
/// large as the weight, and throws it away.
pub(crate) struct FrozenProduct;

/// `finish(x * W^T)` of a weight as it lies in memory.
pub(super) fn stored_product(
    (rows, rows_layout): (&CpuStorage, &Layout),
    (weight, weight_layout): (&CpuStorage, &Layout),
    finish: Finish<'_>,
    name: &str,
) -> Result<(CpuStorage, Shape)> {
    let (count, inputs) = rows_layout.shape().dims2()?;
    let (outputs, _) = weight_layout.shape().dims2()?;
    let shape = Shape::from((count, outputs));
    if !weight_layout.is_contiguous() {
        let CpuStorage::F32(_) = weight else {
            bail!("{name} needs a contiguous weight");
        };
        let turned = weight_layout.transpose(0, 1)?;
        let product = rows.matmul(weight, (1, count, outputs, inputs), rows_layout, &turned)?;
        let CpuStorage::F32(mut product) = product else {
            bail!("{name} needs f32");
        };
        finish.in_place(&mut product, outputs);
        return Ok((CpuStorage::F32(product), shape));
    }
    let rows = contiguous(rows, rows_layout, name)?;
    let product = match Weight::new((weight, weight_layout), inputs, name)? {
        Weight::F32(weight) => product(rows, weight, inputs, finish),
        Weight::Bf16(weight) => product(rows, weight, inputs, finish),
        Weight::Blocks(weight) => product(rows, weight, inputs, finish),
    };
    Ok((CpuStorage::F32(product), shape))
}

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
        let (rows, weight) = ((rows, rows_layout), (weight, weight_layout));
        stored_product(rows, weight, Finish::NOTHING, self.name())
    }

    fn bwd(
        &self,
        _: &Tensor,
        weight: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let weight = wide_weight(weight)?;
        Ok((Some(gradient.matmul(&weight)?), None))
    }
}

/// A frozen weight for the gradient of what it was multiplied with.
fn wide_weight(weight: &Tensor) -> Result<Tensor> {
    if weight.dtype() == DType::U8 {
        bail!("a model whose weights are of 8 bits cannot be trained");
    }
    weight.detach().to_dtype(DType::F32)
}

/// `x * W^T + b` for rows `[M, in]`, a frozen weight `[out, in]` and a frozen bias `[out]`,
/// `[M, out]`.
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
        let bias = contiguous(bias, bias_layout, self.name())?;
        let (rows, weight) = ((rows, rows_layout), (weight, weight_layout));
        stored_product(rows, weight, Finish::bias(bias), self.name())
    }

    fn bwd(
        &self,
        _: &Tensor,
        weight: &Tensor,
        _: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let weight = wide_weight(weight)?;
        Ok((Some(gradient.matmul(&weight)?), None, None))
    }
}
