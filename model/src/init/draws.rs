//! First weights, drawn.

use candle_core::{Device, Tensor};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::Result;

/// How a parameter that no file holds begins.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Init {
    Zeros,
    Ones,
    Constant { value: f64 },
    Normal { deviation: f64 },
}

impl Init {
    /// Normal draws that keep the variance of `inputs` independent inputs, times `scale`.
    pub(crate) fn fan_in(inputs: usize, scale: f64) -> Self {
        Self::Normal {
            deviation: scale / (inputs as f64).sqrt(),
        }
    }
}

/// A parameter `name` of this shape, the same wherever it is drawn from this seed.
pub(super) fn draw(seed: u64, name: &str, shape: &[usize], init: Init) -> Result<Tensor> {
    let count = shape.iter().product();
    let values = match init {
        Init::Zeros => vec![0.0; count],
        Init::Ones => vec![1.0; count],
        Init::Constant { value } => vec![value as f32; count],
        Init::Normal { deviation } => normal_values(seed ^ name_hash(name), count, deviation),
    };
    Ok(Tensor::from_vec(values, shape, &Device::Cpu)?)
}

/// FNV-1a (Fowler, Noll, Vo), 64 bits: spreads names over seeds, the same on every machine.
fn name_hash(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// Independent normal values by the Box-Muller transform.
fn normal_values(seed: u64, count: usize, deviation: f64) -> Vec<f32> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut values = Vec::with_capacity(count + 1);
    while values.len() < count {
        // 1 - u lies in (0, 1], where the logarithm is finite.
        let radius = (-2.0 * (1.0 - random.random::<f64>()).ln()).sqrt() * deviation;
        let angle = random.random::<f64>() * std::f64::consts::TAU;
        values.push((radius * angle.cos()) as f32);
        values.push((radius * angle.sin()) as f32);
    }
    values.truncate(count);
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_draws_have_the_asked_deviation() {
        let values = normal_values(1, 20_000, 0.5);
        let mean = values.iter().sum::<f32>() / 20_000.0;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / 20_000.0;
        assert!(mean.abs() < 0.02, "{mean}");
        assert!((variance.sqrt() - 0.5).abs() < 0.02, "{variance}");
    }
}
