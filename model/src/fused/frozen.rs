//! Products with weights that are not trained.

use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor};

use super::contiguous;
use super::finish::Finish;
use super::product::product;
use super::slopes::{by_rows, turned_product};
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
    let (rows, weight) = ((rows, rows_layout), (weight, weight_layout));
    if !weight_layout.is_contiguous() {
        let product = turned_product(rows, weight, finish, name)?;
        return Ok((CpuStorage::F32(product), shape));
    }
    let rows = contiguous(rows.0, rows.1, name)?;
    let product = match Weight::new(weight, inputs, name)? {
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
        Ok((Some(by_rows(gradient, weight)?), None))
    }
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
        Ok((Some(by_rows(gradient, weight)?), None, None))
    }
}
