//! Gradients of products.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp2, DType, Layout, Result, Shape, Tensor, bail};

use super::across::across;
use super::contiguous;
use super::finish::Finish;
use super::panels::Panels;
use super::product::{product, takes_tiles};
use super::weight::Weight;

/// The gradient of rows `[M, in]`, from that of their product with a weight `[out, in]`, `[M, out]`.
pub(super) fn by_rows(gradient: &Tensor, weight: &Tensor) -> Result<Tensor> {
    if weight.dtype() == DType::U8 {
        bail!("a model whose weights are of 8 bits cannot be trained");
    }
    gradient
        .contiguous()?
        .apply_op2_no_bwd(&weight.detach(), &ByRows)
}

/// The gradient of a weight `[out, in]`, from that of its product with rows `[M, in]`, `[M, out]`. Lies as
/// the weight does.
pub(super) fn by_weight(gradient: &Tensor, rows: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let (gradient, rows) = (gradient.contiguous()?, rows.detach().contiguous()?);
    if weight.is_contiguous() {
        gradient.apply_op2_no_bwd(&rows, &ByWeight)
    } else {
        rows.apply_op2_no_bwd(&gradient, &ByWeight)?.t()
    }
}

/// `x * W^T` of a weight `[out, in]` that lies as `[in, out]`.
pub(super) fn turned_product(
    (rows, rows_layout): (&CpuStorage, &Layout),
    (weight, weight_layout): (&CpuStorage, &Layout),
    finish: Finish<'_>,
    name: &str,
) -> Result<Vec<f32>> {
    let (count, inputs) = rows_layout.shape().dims2()?;
    let (outputs, _) = weight_layout.shape().dims2()?;
    let turned = weight_layout.transpose(0, 1)?;
    if takes_tiles(count) && inputs > 0 && turned.is_contiguous() {
        let rows = contiguous(rows, rows_layout, name)?;
        let weight = contiguous(weight, &turned, name)?;
        let panels = Panels::of(rows, inputs, None);
        return Ok(across(&panels, weight, outputs, finish));
    }
    let mut product = matmul(
        (rows, rows_layout),
        (weight, &turned),
        [count, inputs, outputs],
    )?;
    finish.in_place(&mut product, outputs);
    Ok(product)
}

/// `x * W` of rows `[M, out]` and a weight `[out, in]`, `[M, in]`.
pub(super) fn by_rows_of(
    rows: (&CpuStorage, &Layout),
    weight: (&CpuStorage, &Layout),
) -> Result<Vec<f32>> {
    match ByRows.cpu_fwd(rows.0, rows.1, weight.0, weight.1)? {
        (CpuStorage::F32(product), _) => Ok(product),
        _ => bail!("products are of f32"),
    }
}

/// Candle's product of matrices that lie anywhere.
fn matmul(
    (left, left_layout): (&CpuStorage, &Layout),
    (right, right_layout): (&CpuStorage, &Layout),
    [rows, inner, columns]: [usize; 3],
) -> Result<Vec<f32>> {
    let sizes = (1, rows, columns, inner);
    match left.matmul(right, sizes, left_layout, right_layout)? {
        CpuStorage::F32(product) => Ok(product),
        _ => bail!("products are of f32"),
    }
}

/// `gradient * W`.
struct ByRows;

impl CustomOp2 for ByRows {
    fn name(&self) -> &'static str {
        "product-slope"
    }

    fn cpu_fwd(
        &self,
        gradient: &CpuStorage,
        gradient_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (count, outputs) = gradient_layout.shape().dims2()?;
        let (_, inputs) = weight_layout.shape().dims2()?;
        let rows = contiguous(gradient, gradient_layout, self.name())?;
        let is_large = takes_tiles(count) && outputs > 0 && inputs > 0;
        let turned = weight_layout.transpose(0, 1)?;
        let slope = if turned.is_contiguous() && is_large {
            // It lies as `[in, out]`: a map from outputs to inputs.
            product(
                rows,
                contiguous(weight, &turned, self.name())?,
                outputs,
                Finish::NOTHING,
            )
        } else if weight_layout.is_contiguous() && is_large {
            let panels = Panels::of(rows, outputs, None);
            match Weight::new((weight, weight_layout), inputs, self.name())? {
                Weight::F32(weight) => across(&panels, weight, inputs, Finish::NOTHING),
                Weight::Bf16(weight) => across(&panels, weight, inputs, Finish::NOTHING),
                Weight::Blocks(_) => bail!("{} of a weight of 8 bits", self.name()),
            }
        } else {
            let left = (gradient, gradient_layout);
            let sizes = [count, outputs, inputs];
            if let CpuStorage::F32(_) = weight {
                matmul(left, (weight, weight_layout), sizes)?
            } else {
                let wide = weight.to_dtype(weight_layout, DType::F32)?;
                let layout = Layout::contiguous(weight_layout.shape());
                matmul(left, (&wide, &layout), sizes)?
            }
        };
        Ok((CpuStorage::F32(slope), Shape::from((count, inputs))))
    }
}

/// `gradient^T * rows`.
struct ByWeight;

impl CustomOp2 for ByWeight {
    fn name(&self) -> &'static str {
        "weight-slope"
    }

    fn cpu_fwd(
        &self,
        gradient: &CpuStorage,
        gradient_layout: &Layout,
        rows: &CpuStorage,
        rows_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (count, outputs) = gradient_layout.shape().dims2()?;
        let (_, inputs) = rows_layout.shape().dims2()?;
        let slope = if takes_tiles(outputs) && count > 0 && inputs > 0 {
            let of_outputs = contiguous(gradient, gradient_layout, self.name())?;
            let of_inputs = contiguous(rows, rows_layout, self.name())?;
            let panels = Panels::of_columns(of_outputs, outputs);
            across(&panels, of_inputs, inputs, Finish::NOTHING)
        } else {
            let turned = gradient_layout.transpose(0, 1)?;
            let sizes = [outputs, count, inputs];
            matmul((gradient, &turned), (rows, rows_layout), sizes)?
        };
        Ok((CpuStorage::F32(slope), Shape::from((outputs, inputs))))
    }
}
