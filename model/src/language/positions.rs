//! Where tokens stand, and which of them each may see.

use candle_core::{Device, Tensor};

use crate::ops::MASKED_SCORE;
use crate::{Result, fused, plain};

/// Where T tokens of B rows stand in their sequences, and which tokens each of them may see. Made
/// by [`LanguageModel::positions`](super::LanguageModel::positions), once for all layers.
pub struct Positions {
    /// Tokens before the first one here.
    pub start: usize,
    /// Tokens here (T).
    pub count: usize,
    /// Tokens of padding before each row's text, `[B]`, or empty for none: they are seen by
    /// nothing, and the text's positions count from behind them.
    pub padding: Vec<usize>,
    /// Added to attention scores, broadcast to `[B, heads, T, start + T]`. `None` where every
    /// token sees all, evenly.
    pub(super) bias: Option<Tensor>,
    pub(super) turn: Option<Turn>,
    pub(super) distances: Option<Distances>,
}

/// The turn of rotary positions.
pub(super) enum Turn {
    Fused(fused::Turn),
    Plain(plain::Turn),
}

impl Turn {
    /// Turns `[B, heads, T, head_dim]`.
    pub(super) fn apply(&self, input: &Tensor) -> Result<Tensor> {
        match self {
            Self::Fused(turn) => Ok(input.contiguous()?.apply_op1(turn.clone())?),
            Self::Plain(turn) => turn.apply(input),
        }
    }
}

/// How far apart two tokens are, for attention that learns what distance means.
pub(super) struct Distances {
    /// Waves of distances 0, 1, …, `[start + T, width]`.
    pub(super) waves: Tensor,
    /// Each token's distance to each it may see, `[T, start + T]` u32; 0 to the others.
    pub(super) of: Tensor,
}

impl Distances {
    pub(super) fn new(start: usize, count: usize, width: usize, device: &Device) -> Result<Self> {
        let total = start + count;
        // Sines in the first half of the channels, cosines in the second (Dai et al. 2019,
        // released code).
        let angle = |distance: usize, channel: usize| {
            let rate = 10_000_f64.powf(-2.0 * channel as f64 / width as f64);
            distance as f64 * rate
        };
        let waves: Vec<f32> = (0..total)
            .flat_map(|distance| {
                let half = 0..width / 2;
                let sines = half.clone().map(move |at| angle(distance, at).sin() as f32);
                sines.chain(half.map(move |at| angle(distance, at).cos() as f32))
            })
            .collect();
        let of: Vec<u32> = (start..total)
            .flat_map(|query| (0..total).map(move |key| query.saturating_sub(key) as u32))
            .collect();
        Ok(Self {
            waves: Tensor::from_vec(waves, (total, width), device)?,
            of: Tensor::from_vec(of, (count, total), device)?,
        })
    }
}

impl Positions {
    /// Positions `start .. start + count` under ALiBi of these slopes, one a head, or of none.
    pub(super) fn new(
        start: usize,
        count: usize,
        padding: &[usize],
        slopes: &[f32],
        device: &Device,
    ) -> Result<Self> {
        let is_padded = padding.iter().any(|count| *count > 0);
        let padding = if is_padded { padding } else { &[] };
        let needs_bias = count > 1 || is_padded || !slopes.is_empty();
        let bias = needs_bias
            .then(|| attention_bias(start, count, padding, slopes)?.to_device(device))
            .transpose()?;
        Ok(Self {
            start,
            count,
            padding: padding.to_vec(),
            bias,
            turn: None,
            distances: None,
        })
    }
}

/// `[rows or 1, heads or 1, T, start + T]`: what a key's distance costs, or that it is not seen.
fn attention_bias(
    start: usize,
    count: usize,
    padding: &[usize],
    slopes: &[f32],
) -> candle_core::Result<Tensor> {
    let total = start + count;
    let rows = padding.len().max(1);
    let heads = slopes.len().max(1);
    let mut bias = Vec::with_capacity(rows * heads * count * total);
    for row in 0..rows {
        let padding = padding.get(row).copied().unwrap_or_default();
        for head in 0..heads {
            let slope = slopes.get(head).copied().unwrap_or_default();
            for query in start..total {
                bias.extend((0..total).map(|key| {
                    if key > query || key < padding {
                        MASKED_SCORE
                    } else {
                        slope * (key as f32 - query as f32)
                    }
                }));
            }
        }
    }
    Tensor::from_vec(bias, (rows, heads, count, total), &Device::Cpu)
}

/// The slopes of ALiBi (Press et al. 2022, section 3), one a head: a geometric sequence that ends
/// at 2 to the minus `bias_max`. Where the heads are no power of two, they take every second slope
/// of the next one first, as in MosaicML's code.
pub(super) fn alibi_slopes(heads: usize, bias_max: f64) -> Vec<f32> {
    let power = heads.next_power_of_two();
    let slope = |index: usize| (-(index as f64 + 1.0) * bias_max / power as f64).exp2() as f32;
    if power == heads {
        return (0..heads).map(slope).collect();
    }
    let odd = (1..power).step_by(2);
    odd.chain((0..power).step_by(2))
        .take(heads)
        .map(slope)
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn slopes_are_those_of_the_paper() {
        let expected: Vec<f32> = (1..=8).map(|index| 0.5_f32.powi(index)).collect();
        assert_eq!(alibi_slopes(8, 8.0), expected);
        // Twelve heads: the odd ones of sixteen, then the even ones.
        let expected: Vec<f32> = (1..=8).map(|index| 0.5_f32.powi(index)).collect();
        assert_eq!(alibi_slopes(12, 8.0)[..8], expected);
        assert_eq!(alibi_slopes(12, 8.0)[8], 0.5_f32.powf(0.5));
    }

    proptest! {
        #[test]
        fn a_token_sees_the_text_before_it_and_no_padding(
            start in 0_usize..5,
            count in 1_usize..5,
            padding in proptest::collection::vec(0_usize..6, 1..4),
            has_slopes in proptest::bool::ANY,
        ) {
            let slopes = if has_slopes { vec![0.5, 0.25] } else { vec![] };
            let positions = Positions::new(start, count, &padding, &slopes, &Device::Cpu).unwrap();
            let Some(bias) = positions.bias else {
                prop_assert!(count == 1 && !has_slopes && padding.iter().all(|count| *count == 0));
                return Ok(());
            };
            let total = start + count;
            let (heads, rows) = (slopes.len().max(1), padding.len());
            let bias = bias.broadcast_as((rows, heads, count, total)).unwrap();
            let values: Vec<f32> = bias.flatten_all().unwrap().to_vec1().unwrap();
            for (at, value) in values.iter().enumerate() {
                let (key, query) = (at % total, start + at / total % count);
                let (head, row) = (at / total / count % heads, at / total / count / heads);
                let is_seen = key <= query && key >= padding[row];
                prop_assert_eq!(*value > MASKED_SCORE, is_seen);
                if is_seen {
                    let slope = slopes.get(head).copied().unwrap_or_default();
                    prop_assert_eq!(*value, -slope * (query - key) as f32);
                }
            }
        }
    }
}
