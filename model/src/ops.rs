//! The layers' common parts, all of which keep gradients.
//!
//! The softmax, layer norm, RMS norm and rotary operations that come with candle have no backward
//! pass and cut the graph without a word, so ours stand on [`crate::fused`], which is for f32 on the
//! CPU, or on [`crate::plain`]. Shapes are row-major.

use candle_core::{D, Tensor};

use crate::Result;
use crate::config::Activation;
use crate::fused::{self, Attention, BiasedSoftmax, Gelu, PackedAttention, SelfGate};
use crate::plain;

/// Applies a feed-forward layer's non-linearity.
pub(crate) fn activate(activation: Activation, input: &Tensor) -> Result<Tensor> {
    if !fused::takes(input) {
        return plain::activate(activation, input);
    }
    Ok(match activation {
        Activation::Gelu => input.contiguous()?.apply_op1(Gelu)?,
        Activation::GeluTanh => input.contiguous()?.apply_op1(SelfGate::GeluTanh)?,
        Activation::QuickGelu => input.contiguous()?.apply_op1(SelfGate::QuickGelu)?,
        Activation::Relu => input.relu()?,
        Activation::Silu => input.contiguous()?.apply_op1(SelfGate::Silu)?,
        Activation::SquaredRelu => input.relu()?.sqr()?,
    })
}

/// `[B, T, heads * head_dim]` to `[B, heads, T, head_dim]`, without moving anything.
pub(crate) fn split_heads(input: &Tensor, heads: usize) -> Result<Tensor> {
    let (batch, tokens, width) = input.dims3()?;
    Ok(input
        .reshape((batch, tokens, heads, width / heads))?
        .transpose(1, 2)?)
}

/// The inverse of [`split_heads`].
fn join_heads(input: &Tensor) -> Result<Tensor> {
    let (batch, heads, tokens, head_dim) = input.dims4()?;
    Ok(input
        .transpose(1, 2)?
        .reshape((batch, tokens, heads * head_dim))?)
}

/// `[B, heads, T, D]` to `[B, heads * repeats, T, D]`, each head so many times in a row.
pub(crate) fn repeat_heads(input: &Tensor, repeats: usize) -> Result<Tensor> {
    if repeats == 1 {
        return Ok(input.clone());
    }
    let (batch, heads, tokens, head_dim) = input.dims4()?;
    Ok(input
        .unsqueeze(2)?
        .broadcast_as((batch, heads, repeats, tokens, head_dim))?
        .reshape((batch, heads * repeats, tokens, head_dim))?)
}

/// Softmax attention: queries `[B, H, T, D]`, keys and values `[B, G, S, D]`, each `H / G` heads of
/// queries sharing one of those, to `[B, T, H * D]`.
///
/// `bias` `[B or 1, H or 1, T, S]` gets no gradient; it is added to the scores, `scale` times the
/// products. A query that sees no key at all gets numbers without meaning.
pub(crate) fn attend(
    queries: &Tensor,
    keys: &Tensor,
    values: &Tensor,
    bias: Option<&Tensor>,
    scale: f32,
) -> Result<Tensor> {
    if !fused::takes(queries) {
        return join_heads(&plain::attention(queries, keys, values, bias, scale)?);
    }
    let bias = bias.map(Tensor::detach);
    Ok(queries.apply_op3(keys, values, Attention { scale, bias })?)
}

/// What [`attend`] gives for tokens that each hold queries, then keys, then values of all heads, `[B, T, 3 *
/// H * D]`, as one map makes them. Keeps gradients, which cost less so.
pub(crate) fn attend_in_row(
    all: &Tensor,
    heads: usize,
    bias: Option<&Tensor>,
    scale: f32,
) -> Result<Tensor> {
    let bias = bias.map(Tensor::detach);
    let attention = Attention { scale, bias };
    Ok(all.apply_op1(PackedAttention { heads, attention })?)
}

/// As [`attend_in_row`], of queries `[B or 1, T, H * D]`, 1 where all rows ask alike, to keys and values
/// `[B, S, 2 * H * D]`.
pub(crate) fn attend_to(queries: &Tensor, others: &Tensor, heads: usize) -> Result<Tensor> {
    let scale = ((queries.dim(D::Minus1)? / heads.max(1)) as f32).powf(-0.5);
    let attention = Attention { scale, bias: None };
    Ok(queries.apply_op2(others, PackedAttention { heads, attention })?)
}

/// What [`attend`] gives from products of queries and keys `[B, H, T, S]` and values
/// `[B, H, S, D]`, where those products have more in them.
pub(crate) fn weigh(
    scores: &Tensor,
    values: &Tensor,
    bias: Option<&Tensor>,
    scale: f32,
) -> Result<Tensor> {
    if !fused::takes(scores) {
        let weights = plain::softmax(scores, bias, scale)?;
        return join_heads(&weights.matmul(&values.contiguous()?)?);
    }
    let bias = match bias {
        Some(bias) => bias.detach(),
        None => Tensor::zeros(scores.dim(D::Minus1)?, scores.dtype(), scores.device())?,
    };
    let bias = bias.broadcast_as(scores.shape())?;
    let weights = scores.apply_op2(&bias, BiasedSoftmax { scale })?;
    join_heads(&weights.matmul(&values.contiguous()?)?)
}

/// The usual factor of attention scores, `head_dim^-1/2` (Vaswani et al. 2017).
pub(crate) fn score_scale(queries: &Tensor) -> Result<f32> {
    Ok((queries.dim(D::Minus1)? as f32).powf(-0.5))
}

/// A score so low that its softmax weight is exactly 0 beside any real score, and finite, so that
/// a row of nothing else does not become NaN.
pub(crate) const MASKED_SCORE: f32 = -1e30;
