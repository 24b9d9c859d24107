//! Gradient clipping by unit (Brock et al. 2021, arXiv 2102.06171, section 3): networks without
//! normalisation do not train at large batches under one norm for all.

use candle_core::Tensor;

use crate::Result;

/// The least that a unit's weights count, so that those that begin at zero can move.
const LEAST_NORM: f64 = 1e-3;

/// Scales the gradient of each output unit down to `most` times the norm of its weights. Units are
/// the rows of a weight `[out, ..]`; a vector (gains, biases) is one unit, as in the authors' code.
pub(super) fn clip_units(gradient: &Tensor, weight: &Tensor, most: f64) -> Result<Tensor> {
    let numbers = weight.elem_count().max(1);
    let outputs = weight.dims().first().copied().unwrap_or(1).max(1);
    let is_vector = outputs == numbers;
    let units = if is_vector { 1 } else { outputs };
    let rows = gradient.reshape((units, ()))?;
    let allowed = (norms(&weight.reshape((units, ()))?)?.maximum(LEAST_NORM)? * most)?;
    let found = norms(&rows)?;
    let is_over = found.gt(&allowed)?;
    // Where a norm is 0 the quotient is not taken.
    let factors = is_over.where_cond(&(allowed / &found)?, &found.ones_like()?)?;
    Ok(rows.broadcast_mul(&factors)?.reshape(gradient.shape())?)
}

/// Of each row `[units, N]`, `[units, 1]`.
fn norms(rows: &Tensor) -> Result<Tensor> {
    Ok(rows.sqr()?.sum_keepdim(1)?.sqrt()?)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    fn clipped<const N: usize>(gradient: [f32; N], weight: [f32; N], shape: &[usize]) -> Vec<f32> {
        let tensor = |numbers: &[f32]| Tensor::from_slice(numbers, shape, &Device::Cpu).unwrap();
        let found = clip_units(&tensor(&gradient), &tensor(&weight), 0.1).unwrap();
        assert_eq!(found.dims(), shape);
        found.flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn each_unit_is_clipped_to_its_own_weights() {
        // Norms of the units' weights: 5, 5 and 0; of their gradients: 10, 0.1 and 1.
        let weight = [3.0, 4.0, 0.0, 5.0, 0.0, 0.0];
        let gradient = [6.0, 8.0, 0.1, 0.0, 0.0, 1.0];
        let found = clipped(gradient, weight, &[3, 2, 1, 1]);
        let expected = [0.3, 0.4, 0.1, 0.0, 0.0, 1e-4];
        for (each, expected) in found.iter().zip(expected) {
            assert!((each - expected).abs() < 1e-7, "{found:?}");
        }
    }

    #[test]
    fn a_vector_is_one_unit() {
        for shape in [vec![2, 1, 1, 1], vec![2]] {
            let found = clipped([6.0, 8.0], [3.0, 4.0], &shape);
            assert!((found[0] - 0.3).abs() < 1e-6, "{found:?}");
        }
        let found = clipped([2.0], [-1.0], &[]);
        assert!((found[0] - 0.1).abs() < 1e-7);
        assert_eq!(clipped([0.0, 0.0], [0.0, 0.0], &[2, 1]), [0.0, 0.0]);
    }
}
