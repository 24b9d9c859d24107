//! The layers' operations put together from candle's own, for what [`crate::fused`] does not take:
//! tensors on a GPU, and those of another type than f32.
//!
//! Every one of them keeps gradients, gives the type it was given, and computes sums over many
//! numbers (norms, softmax, the loss) in no less than f32.

use candle_core::{D, DType, Tensor};

use crate::Result;
use crate::config::Activation;
use crate::fused::Normalize;
use crate::ops::repeat_heads;

/// `x * W^T` for rows `[M, in]` and a weight `[out, in]`.
pub(crate) fn product(rows: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let mut weight = weight.to_dtype(rows.dtype())?;
    // GPT-2's are stored turned; GPUs take products of what lies in one piece, turned or not.
    if !weight.t()?.is_contiguous() {
        weight = weight.contiguous()?;
    }
    Ok(rows.contiguous()?.matmul(&weight.t()?)?)
}

/// The norm of the last axis, then `scale` and `shift` `[width]`.
pub(crate) fn norm(
    input: &Tensor,
    how: Normalize,
    scale: &Tensor,
    shift: Option<&Tensor>,
) -> Result<Tensor> {
    let mut output = wide(input)?;
    if how.is_centred {
        output = output.broadcast_sub(&output.mean_keepdim(D::Minus1)?)?;
    }
    let square = output.sqr()?.mean_keepdim(D::Minus1)?;
    output = output.broadcast_div(&(square + f64::from(how.epsilon))?.sqrt()?)?;
    output = output.broadcast_mul(&scale.to_dtype(output.dtype())?)?;
    if let Some(shift) = shift {
        output = output.broadcast_add(&shift.to_dtype(output.dtype())?)?;
    }
    Ok(output.to_dtype(input.dtype())?)
}

/// A feed-forward layer's non-linearity.
pub(crate) fn activate(activation: Activation, input: &Tensor) -> Result<Tensor> {
    Ok(match activation {
        Activation::Gelu => input.gelu_erf()?,
        Activation::GeluTanh => input.gelu()?,
        Activation::QuickGelu => self_gate(input, QUICK_GELU)?,
        Activation::Relu => input.relu()?,
        Activation::Silu => self_gate(input, 1.0)?,
        Activation::SquaredRelu => input.relu()?.sqr()?,
    })
}

/// `x` times the logistic function of `factor * x`, which is taken by the tangent: its gradient stays
/// finite far out.
fn self_gate(input: &Tensor, factor: f64) -> Result<Tensor> {
    let gate = ((input * (factor / 2.0))?.tanh()? + 1.0)?;
    Ok(((input * gate)? * 0.5)?)
}

/// The factor within QuickGELU's logistic function (Hendrycks and Gimpel 2016, section 2).
const QUICK_GELU: f64 = 1.702;

/// `softmax(scale * scores + bias)` over the last axis.
pub(crate) fn softmax(scores: &Tensor, bias: Option<&Tensor>, scale: f32) -> Result<Tensor> {
    let mut wide = (wide(scores)? * f64::from(scale))?;
    if let Some(bias) = bias {
        wide = wide.broadcast_add(&bias.to_dtype(wide.dtype())?)?;
    }
    let most = wide.max_keepdim(D::Minus1)?.detach();
    let powers = wide.broadcast_sub(&most)?.exp()?;
    let weights = powers.broadcast_div(&powers.sum_keepdim(D::Minus1)?)?;
    Ok(weights.to_dtype(scores.dtype())?)
}

/// Softmax attention, as [`crate::ops::attend`], in heads: `[B, H, T, D]`.
pub(crate) fn attention(
    queries: &Tensor,
    keys: &Tensor,
    values: &Tensor,
    bias: Option<&Tensor>,
    scale: f32,
) -> Result<Tensor> {
    let repeats = queries.dim(1)? / keys.dim(1)?.max(1);
    let keys = repeat_heads(keys, repeats)?.contiguous()?;
    let values = repeat_heads(values, repeats)?.contiguous()?;
    let scores = queries.contiguous()?.matmul(&keys.t()?)?;
    Ok(softmax(&scores, bias, scale)?.matmul(&values)?)
}

/// The cross entropy of each of `targets` `[T]` u32, all below V, under scores `[T, V]`, in nats.
pub(crate) fn cross_entropy(scores: &Tensor, targets: &Tensor) -> Result<Tensor> {
    let scores = wide(scores)?;
    let shifted = scores.broadcast_sub(&scores.max_keepdim(D::Minus1)?.detach())?;
    let total = shifted.exp()?.sum_keepdim(D::Minus1)?.log()?;
    let own = shifted.gather(&targets.unsqueeze(1)?, 1)?;
    Ok((total - own)?.squeeze(1)?)
}

/// What was looked up for `tokens`, `[T, width]`, with `rows` `[ids, width]` in the places of `ids`.
pub(crate) fn replace_rows(
    found: &Tensor,
    rows: &Tensor,
    ids: &[u32],
    tokens: &[u32],
) -> Result<Tensor> {
    let places = tokens
        .iter()
        .map(|token| ids.iter().position(|id| id == token));
    let (is_own, places): (Vec<u8>, Vec<u32>) = places
        .map(|place| (u8::from(place.is_some()), place.unwrap_or(0) as u32))
        .unzip();
    let device = found.device();
    let is_own = Tensor::from_vec(is_own, (tokens.len(), 1), device)?;
    let places = Tensor::from_vec(places, tokens.len(), device)?;
    let own = rows.index_select(&places, 0)?.to_dtype(found.dtype())?;
    let is_own = is_own.broadcast_as(found.shape())?;
    Ok(is_own.where_cond(&own, found)?)
}

/// Scores `[T, V]` with `own` `[T, ids]` in the columns `ids`.
pub(crate) fn replace_columns(scores: &Tensor, own: &Tensor, ids: &[u32]) -> Result<Tensor> {
    let ids = Tensor::from_slice(ids, ids.len(), scores.device())?;
    let apart = (own - scores.index_select(&ids, 1)?)?;
    Ok(scores.index_add(&ids, &apart, 1)?)
}

/// Rotary positions, as [`crate::fused::Turn`].
#[derive(Clone)]
pub(crate) struct Turn {
    /// `[T, half]`, as are the sines.
    pub(crate) cosines: Tensor,
    pub(crate) sines: Tensor,
    pub(crate) is_interleaved: bool,
}

impl Turn {
    /// Turns `[B, heads, T, D]`.
    pub(crate) fn apply(&self, input: &Tensor) -> Result<Tensor> {
        let width = input.dim(D::Minus1)?;
        let half = self.cosines.dim(1)?;
        let turning = wide(&input.narrow(D::Minus1, 0, 2 * half)?)?.contiguous()?;
        let [cosines, sines] = [&self.cosines, &self.sines].map(|t| t.to_dtype(turning.dtype()));
        let (cosines, sines) = (cosines?, sines?);
        let (batch, heads, count, _) = turning.dims4()?;
        let (first, second) = if self.is_interleaved {
            let pairs = turning.reshape((batch, heads, count, half, 2))?;
            let of = |place| pairs.narrow(4, place, 1)?.squeeze(4);
            (of(0)?, of(1)?)
        } else {
            (turning.narrow(3, 0, half)?, turning.narrow(3, half, half)?)
        };
        let turn = |a: &Tensor, b: &Tensor| -> candle_core::Result<(Tensor, Tensor)> {
            Ok((a.broadcast_mul(&cosines)?, b.broadcast_mul(&sines)?))
        };
        let (from_first, from_second) = turn(&first, &second)?;
        let new_first = (from_first - from_second)?;
        let (from_second, from_first) = turn(&second, &first)?;
        let new_second = (from_second + from_first)?;
        let turned = if self.is_interleaved {
            Tensor::stack(&[new_first, new_second], 4)?.flatten_from(3)?
        } else {
            Tensor::cat(&[new_first, new_second], 3)?
        };
        let turned = turned.to_dtype(input.dtype())?;
        if 2 * half == width {
            return Ok(turned);
        }
        let rest = input.narrow(D::Minus1, 2 * half, width - 2 * half)?;
        Ok(Tensor::cat(&[&turned, &rest.contiguous()?], 3)?)
    }
}

/// The same numbers, in f32 where they have fewer digits.
fn wide(input: &Tensor) -> Result<Tensor> {
    Ok(match input.dtype() {
        DType::F64 => input.clone(),
        _ => input.to_dtype(DType::F32)?,
    })
}
