//! Tokens behind tokens.

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, bail};
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
}
