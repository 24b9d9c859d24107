//! Products with weights that are trained.

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};

use super::finish::Finish;
use super::frozen::stored_product;
use super::slopes::{by_rows, by_weight};

/// `x * W^T` for rows `[M, in]` and a weight `[out, in]` of f32, `[M, out]`. The backward pass computes what
/// has a gradient alone: candle's own product computes one for the rows that come out of what is frozen
/// too.
pub(crate) struct TrainedProduct;

impl CustomOp2 for TrainedProduct {
    fn name(&self) -> &'static str {
        "trained-product"
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
        rows: &Tensor,
        weight: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let of_rows = rows.track_op().then(|| by_rows(gradient, weight));
        let of_weight = by_weight(gradient, rows, weight)?;
        Ok((of_rows.transpose()?, Some(of_weight)))
    }
}
