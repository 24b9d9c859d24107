//! Products with weights that are not trained.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp2, CustomOp3, DType, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::block::{Block, row_bytes};
use super::few_rows::{MOST_ROWS, Stored, few_rows};
use super::matrix::{Matrix, multiply_on_all};
use super::{contiguous, fill_rows};

/// `x * W^T` for rows `[M, in]` and a frozen weight `[out, in]` of 32 or 16 bits, or in blocks of 8,
/// `[M, out]`.
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
        let shape = Shape::from((count, outputs));
        if matches!(weight, CpuStorage::BF16(_) | CpuStorage::U8(_)) {
            let Some((first, last)) = weight_layout.contiguous_offsets() else {
                bail!("{} needs a contiguous weight", self.name());
            };
            let rows = contiguous(rows, rows_layout, self.name())?;
            let product = match weight {
                CpuStorage::BF16(weight) => brief_product(rows, &weight[first..last], inputs),
                CpuStorage::U8(weight) if row_bytes(inputs) == Some((last - first) / outputs) => {
                    let (blocks, _) = weight[first..last].as_chunks();
                    brief_product::<Block>(rows, blocks, inputs)
                }
                _ => bail!("{}: the weight does not fit {inputs} inputs", self.name()),
            };
            return Ok((CpuStorage::F32(product), shape));
        }
        if count <= MOST_ROWS
            && let Some((start, end)) = rows_layout.contiguous_offsets()
            && let Some((first, last)) = weight_layout.contiguous_offsets()
        {
            let rows = &rows.as_slice::<f32>()?[start..end];
            let weight = &weight.as_slice::<f32>()?[first..last];
            let product = few_rows(rows, weight, inputs);
            return Ok((CpuStorage::F32(product), shape));
        }
        let turned = weight_layout.transpose(0, 1)?;
        let product = rows.matmul(weight, (1, count, outputs, inputs), rows_layout, &turned)?;
        Ok((product, shape))
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

/// Numbers of a weight of fewer bits that are made 32 bits wide at one time: what is multiplied next is
/// still in a cache then.
const WIDENED_AT_ONCE: usize = 1 << 19;

/// `x * W^T` for rows `[M, in]` and a weight `[out, in]` of fewer bits, `[M, out]`. Holds a small part of
/// the weight as f32 at a time.
fn brief_product<W: Stored>(rows: &[f32], weight: &[W], inputs: usize) -> Vec<f32> {
    let values = (inputs / W::NUMBERS).max(1);
    let (count, outputs) = (rows.len() / inputs.max(1), weight.len() / values);
    if count <= MOST_ROWS && inputs > 0 {
        return few_rows(rows, weight, inputs);
    }
    let mut product = vec![0.0; count * outputs];
    let block = (WIDENED_AT_ONCE / inputs.max(1)).max(1);
    let mut wide = vec![0.0; block.min(outputs) * inputs];
    let rows = Matrix::packed(rows, inputs);
    for (index, weight) in weight.chunks(block * values).enumerate() {
        let wide = &mut wide[..weight.len() * W::NUMBERS];
        widen(wide, weight);
        let right = Matrix::packed(wide, inputs).turned();
        let output = &mut product[index * block..];
        multiply_on_all(output, outputs, rows, right);
    }
    product
}

fn widen<W: Stored>(wide: &mut [f32], weight: &[W]) {
    const PER_TASK: usize = 1 << 10;
    let tasks = wide.par_chunks_mut(PER_TASK * W::NUMBERS);
    tasks
        .zip(weight.par_chunks(PER_TASK))
        .for_each(|(wide, weight)| W::widen(wide, weight));
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
        let weight = wide_weight(weight)?;
        Ok((Some(gradient.matmul(&weight)?), None, None))
    }
}
