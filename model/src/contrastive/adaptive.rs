//! Gradient clipping by unit (Brock et al. 2021, arXiv 2102.06171, section 3): networks without
//! normalisation do not train at large batches under one norm for all.

/// The least that a unit's weights count, so that those that begin at zero can move.
const LEAST_NORM: f64 = 1e-3;

/// Scales the gradient of each output unit down to `most` times the norm of its weights. Units are
/// the rows of a weight `[out, ..]`; a vector (gains, biases) is one unit, as in the authors' code.
pub(super) fn clip_units(gradient: &mut [f32], weight: &[f32], shape: &[usize], most: f64) {
    let numbers = shape.iter().product::<usize>().max(1);
    let outputs = shape.first().copied().unwrap_or(1).max(1);
    let is_vector = outputs == numbers;
    let per_unit = if is_vector {
        numbers
    } else {
        numbers / outputs
    };
    for (gradient, weight) in gradient.chunks_mut(per_unit).zip(weight.chunks(per_unit)) {
        let allowed = most * norm(weight).max(LEAST_NORM);
        let found = norm(gradient);
        if found > allowed {
            let factor = (allowed / found) as f32;
            for value in gradient {
                *value *= factor;
            }
        }
    }
}

fn norm(values: &[f32]) -> f64 {
    let squares = values.iter().map(|value| f64::from(*value).powi(2));
    squares.sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_unit_is_clipped_to_its_own_weights() {
        // Norms of the units' weights: 5, 5 and 0; of their gradients: 10, 0.1 and 1.
        let weight = [3.0, 4.0, 0.0, 5.0, 0.0, 0.0];
        let mut gradient = [6.0, 8.0, 0.1, 0.0, 0.0, 1.0];
        clip_units(&mut gradient, &weight, &[3, 2, 1, 1], 0.1);
        let expected = [0.3, 0.4, 0.1, 0.0, 0.0, 1e-4];
        for (found, expected) in gradient.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-7, "{gradient:?}");
        }
    }

    #[test]
    fn a_vector_is_one_unit() {
        for shape in [vec![2, 1, 1, 1], vec![2]] {
            let mut gradient = [6.0, 8.0];
            clip_units(&mut gradient, &[3.0, 4.0], &shape, 0.1);
            assert!((gradient[0] - 0.3).abs() < 1e-6, "{gradient:?}");
        }
        let mut gradient = [2.0];
        clip_units(&mut gradient, &[-1.0], &[], 0.1);
        assert!((gradient[0] - 0.1).abs() < 1e-7);
    }
}
