//! Tokens behind tokens.

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::contiguous;
use super::output::Output;

/// Rows of tokens `[B, S, width]`, and in each row behind them those of `[B or 1, T, width]`, `[B, S + T,
/// width]`. Candle's own concatenation runs on one thread.
pub(crate) struct Join;

impl CustomOp2 for Join {
    fn name(&self) -> &'static str {
        "join"
    }

    fn cpu_fwd(
        &self,
        first: &CpuStorage,
        first_layout: &Layout,
        last: &CpuStorage,
        last_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (batch, tokens, width) = first_layout.shape().dims3()?;
        let (rows, behind, last_width) = last_layout.shape().dims3()?;
        if width == 0 || last_width != width || (rows != batch && rows != 1) {
            bail!(
                "{}: {:?} behind {:?}",
                self.name(),
                last_layout.dims(),
                first_layout.dims()
            );
        }
        let first = contiguous(first, first_layout, self.name())?;
        let last = contiguous(last, last_layout, self.name())?;
        let fill = |output: &Output| {
            (0..batch).into_par_iter().for_each(|row| {
                let first = first[row * tokens * width..].chunks(width).take(tokens);
                let start = if rows == 1 { 0 } else { row * behind * width };
                let last = last[start..].chunks(width).take(behind);
                for (token, numbers) in first.chain(last).enumerate() {
                    output.write(row * (tokens + behind) + token, 0, numbers);
                }
            });
        };
        // SAFETY: all tokens of all rows are written once.
        let output = unsafe { Output::filled(batch * (tokens + behind), width, fill) };
        let shape = Shape::from((batch, tokens + behind, width));
        Ok((CpuStorage::F32(output), shape))
    }

    fn bwd(
        &self,
        first: &Tensor,
        last: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (tokens, behind) = (first.dim(1)?, last.dim(1)?);
        let of_first = first.track_op().then(|| {
            let part = gradient.narrow(1, 0, tokens)?;
            part.contiguous()
        });
        let of_last = last.track_op().then(|| {
            let part = gradient.narrow(1, tokens, behind)?;
            if last.dim(0)? == gradient.dim(0)? {
                part.contiguous()
            } else {
                part.contiguous()?.sum_keepdim(0)
            }
        });
        Ok((of_first.transpose()?, of_last.transpose()?))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::*;

    #[test]
    fn tokens_stand_behind_those_of_their_row() {
        let tensor = |values: &[f32], shape: (usize, usize, usize)| {
            Tensor::from_slice(values, shape, &Device::Cpu).unwrap()
        };
        let first = tensor(&[1.0, 2.0, 3.0, 4.0], (2, 1, 2));
        let joined = |last: &Tensor| -> Vec<f32> {
            let joined = first.apply_op2_no_bwd(last, &Join).unwrap();
            assert_eq!(joined.dims(), [2, 2, 2]);
            joined.flatten_all().unwrap().to_vec1().unwrap()
        };
        let own = tensor(&[5.0, 6.0, 7.0, 8.0], (2, 1, 2));
        assert_eq!(joined(&own), [1.0, 2.0, 5.0, 6.0, 3.0, 4.0, 7.0, 8.0]);
        let shared = tensor(&[5.0, 6.0], (1, 1, 2));
        assert_eq!(joined(&shared), [1.0, 2.0, 5.0, 6.0, 3.0, 4.0, 5.0, 6.0]);
    }
}
