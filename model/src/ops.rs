//! The layers' common parts, all of which keep gradients.
//!
//! The softmax, layer norm, RMS norm and rotary operations that come with candle have no backward
//! pass and cut the graph without a word, so ours stand on [`crate::fused`]. Every function takes
//! and gives f32 tensors on the CPU; shapes are row-major.

use candle_core::{D, DType, Tensor};

use crate::Result;
use crate::config::Activation;
use crate::fused::{
    Attention, BiasedSoftmax, FrozenAffine, FrozenNorm, FrozenProduct, Gelu, Normalize, SelfGate,
};
use crate::init::{Init, ParameterStore};
use crate::language::LoraConfig;

/// Added under the square root of a layer norm, as in PyTorch.
const NORM_EPSILON: f32 = 1e-5;

/// An affine map over the last axis; the weight is `[out, in]` as in PyTorch.
pub(crate) struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
    /// On the heap: few maps have one.
    update: Option<Box<LowRank>>,
}

/// What is added to a map: `scale * B A`, `A` `[rank, in]` and `B` `[out, rank]`.
struct LowRank {
    a: Tensor,
    b: Tensor,
    scale: f64,
}

impl LowRank {
    /// `[M, in]` to `[M, out]`.
    fn forward(&self, rows: &Tensor) -> Result<Tensor> {
        Ok((product(&product(rows, &self.a)?, &self.b)? * self.scale)?)
    }
}

/// `x * W^T` for rows `[M, in]` and a weight `[out, in]`.
fn product(rows: &Tensor, weight: &Tensor) -> Result<Tensor> {
    Ok(if weight.track_op() {
        rows.matmul(&weight.t()?)?
    } else {
        rows.apply_op2(weight, FrozenProduct)?
    })
}

impl Linear {
    pub(crate) fn new(weight: Tensor, bias: Option<Tensor>) -> Self {
        Self {
            weight,
            bias,
            update: None,
        }
    }

    /// A map without a bias, its weight drawn with variance `scale^2 / inputs`.
    pub(crate) fn without_bias(
        parameters: &mut ParameterStore,
        name: &str,
        [outputs, inputs]: [usize; 2],
        scale: f64,
    ) -> Result<Self> {
        let weight = parameters.get_map(
            &format!("{name}.weight"),
            &[outputs, inputs],
            Init::fan_in(inputs, scale),
        )?;
        Ok(Self::new(weight, None))
    }

    /// As [`Self::without_bias`], with a bias that starts at zero.
    pub(crate) fn with_bias(
        parameters: &mut ParameterStore,
        name: &str,
        shape: [usize; 2],
        scale: f64,
    ) -> Result<Self> {
        let mut linear = Self::without_bias(parameters, name, shape, scale)?;
        linear.add_bias(parameters, name)?;
        Ok(linear)
    }

    /// Gives it the bias called `name`, which starts at zero.
    pub(crate) fn add_bias(&mut self, parameters: &mut ParameterStore, name: &str) -> Result<()> {
        let outputs = self.weight.dim(0)?;
        self.bias = Some(parameters.get(&format!("{name}.bias"), &[outputs], Init::Zeros)?);
        Ok(())
    }

    /// Gives the map called `name` an update of low rank that starts at zero; what is trained of it
    /// is f32, whatever the weight is.
    pub(crate) fn add_update(
        &mut self,
        parameters: &mut ParameterStore,
        name: &str,
        inputs: usize,
        lora: &LoraConfig,
    ) -> Result<()> {
        let outputs = self.weight.dim(0)?;
        let rank = lora.rank;
        let a = format!("{name}.lora_A.weight");
        let b = format!("{name}.lora_B.weight");
        self.update = Some(Box::new(LowRank {
            a: parameters.get(&a, &[rank, inputs], Init::fan_in(inputs, 1.0))?,
            b: parameters.get(&b, &[outputs, rank], Init::Zeros)?,
            scale: lora.alpha / rank as f64,
        }));
        Ok(())
    }

    /// The map to outputs `start .. start + count` alone. Shares the weight: splitting the product
    /// instead would copy activations at every step.
    pub(crate) fn rows(&self, start: usize, count: usize) -> Result<Self> {
        let bias = self.bias.as_ref();
        let update = self.update.as_ref().map(|update| -> Result<Box<LowRank>> {
            Ok(Box::new(LowRank {
                a: update.a.clone(),
                b: update.b.narrow(0, start, count)?,
                scale: update.scale,
            }))
        });
        Ok(Self {
            weight: self.weight.narrow(0, start, count)?,
            bias: bias.map(|bias| bias.narrow(0, start, count)).transpose()?,
            update: update.transpose()?,
        })
    }

    /// `[..., in]` to `[..., out]`.
    pub(crate) fn forward(&self, input: &Tensor) -> Result<Tensor> {
        let mut shape = input.dims().to_vec();
        let inputs = shape.pop().unwrap_or_default();
        shape.push(self.weight.dim(0)?);
        // One large two-dimensional product is faster than a batch of small ones, and a batch
        // would materialise the weight once per row.
        let rows = input.reshape(((), inputs))?;
        let output = match &self.bias {
            Some(bias) if !self.weight.track_op() && !bias.track_op() => {
                rows.apply_op3(&self.weight, bias, FrozenAffine)?
            }
            Some(bias) => product(&rows, &self.weight)?.broadcast_add(bias)?,
            None => product(&rows, &self.weight)?,
        };
        let output = match &self.update {
            Some(update) => (output + update.forward(&rows)?)?,
            None => output,
        };
        Ok(output.reshape(shape)?)
    }
}

/// Normalisation of the last axis to mean 0 and variance 1, then scale and shift.
pub(crate) struct LayerNorm {
    weight: Tensor,
    bias: Option<Tensor>,
    epsilon: f32,
}

impl LayerNorm {
    pub(crate) fn new(parameters: &mut ParameterStore, name: &str, width: usize) -> Result<Self> {
        Self::with(parameters, name, width, NORM_EPSILON, true)
    }

    pub(crate) fn with(
        parameters: &mut ParameterStore,
        name: &str,
        width: usize,
        epsilon: f32,
        has_bias: bool,
    ) -> Result<Self> {
        Ok(Self {
            weight: parameters.get(&format!("{name}.weight"), &[width], Init::Ones)?,
            bias: has_bias
                .then(|| parameters.get(&format!("{name}.bias"), &[width], Init::Zeros))
                .transpose()?,
            epsilon,
        })
    }

    pub(crate) fn forward(&self, input: &Tensor) -> Result<Tensor> {
        let input = input.contiguous()?;
        let normalize = Normalize {
            is_centred: true,
            epsilon: self.epsilon,
        };
        if let Some(bias) = &self.bias
            && !self.weight.track_op()
            && !bias.track_op()
        {
            return Ok(input.apply_op3(&self.weight, bias, FrozenNorm(normalize))?);
        }
        let normal = input.apply_op1(normalize)?;
        let scaled = normal.broadcast_mul(&self.weight)?;
        Ok(match &self.bias {
            Some(bias) => scaled.broadcast_add(bias)?,
            None => scaled,
        })
    }
}

/// Division of the last axis by its root mean square, then scale (Zhang and Sennrich 2019).
pub(crate) struct RmsNorm {
    weight: Tensor,
    epsilon: f32,
}

impl RmsNorm {
    pub(crate) fn new(
        parameters: &mut ParameterStore,
        name: &str,
        width: usize,
        epsilon: f32,
    ) -> Result<Self> {
        Ok(Self {
            weight: parameters.get(&format!("{name}.weight"), &[width], Init::Ones)?,
            epsilon,
        })
    }

    pub(crate) fn forward(&self, input: &Tensor) -> Result<Tensor> {
        let normal = input.contiguous()?.apply_op1(Normalize {
            is_centred: false,
            epsilon: self.epsilon,
        })?;
        Ok(normal.broadcast_mul(&self.weight)?)
    }
}

/// Applies a feed-forward layer's non-linearity.
pub(crate) fn activate(activation: Activation, input: &Tensor) -> Result<Tensor> {
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
    let bias = bias.map(Tensor::detach);
    Ok(queries.apply_op3(keys, values, Attention { scale, bias })?)
}

/// What [`attend`] gives from products of queries and keys `[B, H, T, S]` and values
/// `[B, H, S, D]`, where those products have more in them.
pub(crate) fn weigh(
    scores: &Tensor,
    values: &Tensor,
    bias: Option<&Tensor>,
    scale: f32,
) -> Result<Tensor> {
    let bias = match bias {
        Some(bias) => bias.detach(),
        None => Tensor::zeros(scores.dim(D::Minus1)?, DType::F32, scores.device())?,
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
