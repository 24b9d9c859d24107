//! Rotary positions.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

use super::{contiguous, fill_rows};

/// Turns channel `i` of the first half and channel `i` of the second half of `[.., T, D]` by the
/// angle whose cosine and sine stand at `[t, i]` of the tables `[T, D / 2]`.
#[derive(Clone)]
pub(crate) struct Turn {
    pub(crate) cosines: Arc<[f32]>,
    pub(crate) sines: Arc<[f32]>,
    pub(crate) is_inverse: bool,
}

impl CustomOp1 for Turn {
    fn name(&self) -> &'static str {
        "turn"
    }

    fn cpu_fwd(&self, input: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let input = contiguous(input, layout, self.name())?;
        let width = layout.dims().last().copied().unwrap_or(2);
        let half = width / 2;
        let positions = self.cosines.len() / half;
        let sign = if self.is_inverse { -1.0 } else { 1.0 };
        let mut output = vec![0.0; input.len()];
        fill_rows(&mut output, width, |row, output| {
            let (first, second) = input[row * width..(row + 1) * width].split_at(half);
            let (first_output, second_output) = output.split_at_mut(half);
            let at = row % positions * half;
            let (cosines, sines) = (&self.cosines[at..at + half], &self.sines[at..at + half]);
            for channel in 0..half {
                let (cosine, sine) = (cosines[channel], sign * sines[channel]);
                let (x, y) = (first[channel], second[channel]);
                first_output[channel] = x * cosine - y * sine;
                second_output[channel] = y * cosine + x * sine;
            }
        });
        Ok((CpuStorage::F32(output), layout.shape().clone()))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let back = Self {
            is_inverse: !self.is_inverse,
            ..self.clone()
        };
        Ok(Some(gradient.contiguous()?.apply_op1_no_bwd(&back)?))
    }
}
