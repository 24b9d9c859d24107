//! How far values are from the reference.

use candle_core::{DType, Tensor};

use crate::Outcome;

/// Bounds within which a pair of values agrees: one of them suffices.
#[derive(Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) absolute: f32,
    pub(crate) relative: f32,
    /// Relative to the tensor's largest value.
    pub(crate) of_largest: f32,
}

/// Of outputs.
pub(crate) const OUTPUT: Bounds = Bounds {
    absolute: 2e-5,
    relative: 1e-4,
    of_largest: 0.0,
};

/// Of gradients and their norms. A norm that is 0 in exact arithmetic is rounding noise on both
/// sides, which the absolute bound lets pass; so is a small value among large ones, whose noise is
/// theirs.
pub(crate) const GRADIENT: Bounds = Bounds {
    absolute: 2e-5,
    relative: 1e-3,
    of_largest: 1e-5,
};

/// Of losses and weights after some steps: AdamW divides by small second moments, so that tiny
/// gradients are amplified.
pub(crate) const TRAINED: Bounds = Bounds {
    absolute: 1e-3,
    relative: 1e-3,
    of_largest: 0.0,
};

/// How far a case is from the reference.
#[derive(Default)]
pub(crate) struct Comparison {
    pub(crate) absolute: f32,
    pub(crate) relative: f32,
    pub(crate) failures: Vec<String>,
    /// What there is to say beside the errors.
    pub(crate) note: String,
}

impl Comparison {
    /// Compares two tensors: each pair of values must agree within one of the bounds.
    pub(crate) fn add(
        &mut self,
        name: &str,
        found: &Tensor,
        expected: &Tensor,
        bounds: Bounds,
    ) -> Outcome<()> {
        let Bounds {
            absolute,
            relative,
            of_largest,
        } = bounds;
        if found.elem_count() != expected.elem_count() {
            let (found, expected) = (found.dims(), expected.dims());
            self.failures
                .push(format!("{name}: shape {found:?}, expected {expected:?}"));
            return Ok(());
        }
        let values = |tensor: &Tensor| -> Outcome<Vec<f32>> {
            Ok(tensor.flatten_all()?.to_dtype(DType::F32)?.to_vec1()?)
        };
        let (found, expected) = (values(found)?, values(expected)?);
        let scale = expected
            .iter()
            .fold(f32::MIN_POSITIVE, |most, value| most.max(value.abs()));
        let absolute = absolute.max(of_largest * scale);
        let mut worst = 0.0_f32;
        let mut is_within = true;
        for (found, expected) in found.iter().zip(&expected) {
            let error = (found - expected).abs();
            // Written so that NaN does not pass.
            is_within &= error <= absolute || error <= relative * expected.abs();
            worst = if error > worst || error.is_nan() {
                error
            } else {
                worst
            };
        }
        self.absolute = self.absolute.max(worst);
        self.relative = self.relative.max(worst / scale);
        if !is_within {
            self.failures
                .push(format!("{name}: off by up to {worst:.1e}"));
        }
        Ok(())
    }

    /// Fails the case unless this holds.
    pub(crate) fn require(&mut self, holds: bool, failure: impl FnOnce() -> String) {
        if !holds {
            self.failures.push(failure());
        }
    }
}
