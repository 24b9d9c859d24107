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

#[cfg(test)]
mod tests {
    use candle_core::Var;

    use super::super::tests::numbers;
    use super::*;

    #[test]
    fn a_trained_product_agrees_with_the_composed_one() {
        for (count, is_turned) in [(3, false), (60, false), (3, true), (60, true)] {
            let (rows, weight) = (numbers(count, 70, 0.5), numbers(110, 70, 0.8));
            let turned = Var::from_tensor(&weight.t().unwrap().contiguous().unwrap()).unwrap();
            let weight = if is_turned { &turned } else { &weight };
            let of = |weight: &Tensor| {
                if is_turned {
                    weight.t().unwrap()
                } else {
                    weight.clone()
                }
            };
            let found = rows.apply_op2(&of(weight), TrainedProduct).unwrap();
            let expected = rows.matmul(&of(weight).t().unwrap()).unwrap();
            let uneven = numbers(count, 110, 0.4).as_detached_tensor();
            let gradients = |product: &Tensor| {
                (product * &uneven)
                    .unwrap()
                    .sum_all()
                    .unwrap()
                    .backward()
                    .unwrap()
            };
            let close = |what: &str, found: &Tensor, expected: &Tensor| {
                let apart = (found - expected)
                    .unwrap()
                    .abs()
                    .unwrap()
                    .max_all()
                    .unwrap();
                let apart = apart.to_scalar::<f32>().unwrap();
                assert!(
                    apart < 1e-3,
                    "{what} of {count}, turned {is_turned}: {apart}"
                );
            };
            close("product", &found, &expected);
            let (found, expected) = (gradients(&found), gradients(&expected));
            for var in [&rows, weight] {
                close(
                    "gradient",
                    found.get(var).unwrap(),
                    expected.get(var).unwrap(),
                );
            }
        }
    }
}
