//! Rotary positions.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};

use super::{contiguous, fill_rows};

/// Turns pairs of channels of `[.., T, D]`: pair `i` by the angle whose cosine and sine stand at
/// `[t, i]` of the tables `[T, half]`. A pair is channels `i` and `half + i`, or `2 i` and `2 i + 1`
/// where `is_interleaved`; channels from `2 * half` on stay as they are.
#[derive(Clone)]
pub(crate) struct Turn {
    pub(crate) cosines: Arc<[f32]>,
    pub(crate) sines: Arc<[f32]>,
    pub(crate) half: usize,
    pub(crate) is_interleaved: bool,
    pub(crate) is_inverse: bool,
}

impl CustomOp1 for Turn {
    fn name(&self) -> &'static str {
        "turn"
    }

    fn cpu_fwd(&self, input: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let input = contiguous(input, layout, self.name())?;
        let width = layout.dims().last().copied().unwrap_or(1);
        let half = self.half;
        if 2 * half > width {
            bail!("{} turns {} of {width} channels", self.name(), 2 * half);
        }
        let positions = (self.cosines.len() / half).max(1);
        let sign = if self.is_inverse { -1.0 } else { 1.0 };
        // Where a pair's two channels stand: `step * i`, and `apart` behind that.
        let (step, apart) = if self.is_interleaved {
            (2, 1)
        } else {
            (1, half)
        };
        let mut output = vec![0.0; input.len()];
        fill_rows(&mut output, width, |row, output| {
            let input = &input[row * width..(row + 1) * width];
            output[2 * half..].copy_from_slice(&input[2 * half..]);
            let at = row % positions * half;
            let (cosines, sines) = (&self.cosines[at..at + half], &self.sines[at..at + half]);
            for pair in 0..half {
                let (cosine, sine) = (cosines[pair], sign * sines[pair]);
                let (first, second) = (step * pair, step * pair + apart);
                output[first] = input[first] * cosine - input[second] * sine;
                output[second] = input[second] * cosine + input[first] * sine;
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
