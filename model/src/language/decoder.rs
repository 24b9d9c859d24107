//! Our own decoder, of Chinchilla's type (Hoffmann et al. 2022): layers of RMS norm, causal
//! attention and a GELU feed-forward part, no biases. Chinchilla's relative positions are replaced
//! by rotary ones (Su et al. 2021), which cost no parameters and cache well. The output layer is
//! the embedding table itself where `tied_output` is set, else a table of its own.

use candle_core::Tensor;

use super::{LanguageModel, LayerCache, Positions};
use crate::config::{Activation, LanguageConfig};
use crate::fused::Turn;
use crate::init::{Init, ParameterStore};
use crate::ops::{Linear, RmsNorm, activate, attend, join_heads, split_heads};
use crate::{Error, Result};

/// Deviation of the first embeddings (Radford et al. 2019, released code).
const EMBEDDING_DEVIATION: f64 = 0.02;

/// The decoder.
pub struct Decoder {
    max_positions: usize,
    embeddings: Tensor,
    layers: Vec<Layer>,
    norm: RmsNorm,
    output: Linear,
    rotary: Rotary,
}

struct Layer {
    attention_norm: RmsNorm,
    queries: Linear,
    keys: Linear,
    values: Linear,
    output: Linear,
    feed_forward_norm: RmsNorm,
    rise: Linear,
    fall: Linear,
    heads: usize,
}

impl Decoder {
    /// Builds the decoder from parameters under `prefix` (ends in a dot). Layer `i` stands under
    /// `{prefix}layers.{i}.decoder_layer`, beside the gated block before it.
    ///
    /// # Errors
    /// A parameter is missing or has another shape.
    pub fn new(
        config: &LanguageConfig,
        parameters: &mut ParameterStore,
        prefix: &str,
    ) -> Result<Self> {
        let table = |parameters: &mut ParameterStore, name: &str| {
            parameters.get(
                &format!("{prefix}{name}.weight"),
                &[config.vocabulary, config.width],
                Init::Normal {
                    deviation: EMBEDDING_DEVIATION,
                },
            )
        };
        let embeddings = table(parameters, "embed_tokens")?;
        let output = if config.tied_output {
            embeddings.clone()
        } else {
            table(parameters, "lm_head")?
        };
        let layers = (0..config.layers)
            .map(|layer| {
                let name = format!("{prefix}layers.{layer}.decoder_layer");
                Layer::new(config, parameters, &name)
            })
            .collect::<Result<_>>()?;
        Ok(Self {
            max_positions: config.max_positions,
            embeddings,
            layers,
            norm: RmsNorm::new(parameters, &format!("{prefix}norm"), config.width)?,
            output: Linear::new(output, None),
            rotary: Rotary::new(config),
        })
    }
}

impl LanguageModel for Decoder {
    fn layer_count(&self) -> usize {
        self.layers.len()
    }

    fn max_positions(&self) -> usize {
        self.max_positions
    }

    fn embed(&self, tokens: &Tensor) -> Result<Tensor> {
        let (batch, length) = tokens.dims2()?;
        let vocabulary = self.embeddings.dim(0)?;
        let largest = tokens.flatten_all()?.max(0)?.to_scalar::<u32>()?;
        if largest as usize >= vocabulary {
            return Err(Error::Input {
                what: "tokens",
                expected: format!("ids below {vocabulary}, the model's vocabulary"),
                found: format!("id {largest}: use the tokenizer the model was trained with"),
            });
        }
        let rows = self.embeddings.index_select(&tokens.flatten_all()?, 0)?;
        Ok(rows.reshape((batch, length, ()))?)
    }

    fn layer(
        &self,
        layer: usize,
        hidden: &Tensor,
        positions: &Positions,
        cache: Option<&mut LayerCache>,
    ) -> Result<Tensor> {
        self.layers[layer].forward(hidden, positions, &self.rotary, cache)
    }

    fn logits(&self, hidden: &Tensor) -> Result<Tensor> {
        self.output.forward(&self.norm.forward(hidden)?)
    }
}

impl Layer {
    fn new(config: &LanguageConfig, parameters: &mut ParameterStore, name: &str) -> Result<Self> {
        let width = config.width;
        let inner = width * config.feed_forward_multiple;
        // Outputs into the residual stream shrink with depth (Radford et al. 2019, section 2.3).
        let residual = (2.0 * config.layers as f64).powf(-0.5);
        let mut linear = |part: &str, shape, scale| {
            Linear::without_bias(parameters, &format!("{name}.{part}"), shape, scale)
        };
        let square = [width, width];
        let queries = linear("self_attn.q_proj", square, 1.0)?;
        let keys = linear("self_attn.k_proj", square, 1.0)?;
        let values = linear("self_attn.v_proj", square, 1.0)?;
        let output = linear("self_attn.o_proj", square, residual)?;
        let rise = linear("mlp.up_proj", [inner, width], 1.0)?;
        let fall = linear("mlp.down_proj", [width, inner], residual)?;
        Ok(Self {
            attention_norm: RmsNorm::new(parameters, &format!("{name}.input_layernorm"), width)?,
            queries,
            keys,
            values,
            output,
            feed_forward_norm: RmsNorm::new(
                parameters,
                &format!("{name}.post_attention_layernorm"),
                width,
            )?,
            rise,
            fall,
            heads: config.heads,
        })
    }

    fn forward(
        &self,
        hidden: &Tensor,
        positions: &Positions,
        rotary: &Rotary,
        cache: Option<&mut LayerCache>,
    ) -> Result<Tensor> {
        let normal = self.attention_norm.forward(hidden)?;
        let queries = split_heads(&self.queries.forward(&normal)?, self.heads)?;
        let keys = split_heads(&self.keys.forward(&normal)?, self.heads)?;
        let values = split_heads(&self.values.forward(&normal)?, self.heads)?;
        let turn = rotary.at(positions);
        let queries = queries.apply_op1(turn.clone())?;
        let keys = keys.apply_op1(turn)?;
        let (keys, values) = match cache {
            Some(cache) => cache.extend(keys, values)?,
            None => (keys, values),
        };
        let attended = attend(&queries, &keys, &values, positions.causal_bias.as_ref())?;
        let hidden = (hidden + self.output.forward(&join_heads(&attended)?)?)?;
        let normal = self.feed_forward_norm.forward(&hidden)?;
        let inner = activate(Activation::Gelu, &self.rise.forward(&normal)?)?;
        Ok((hidden + self.fall.forward(&inner)?)?)
    }
}

/// Rotary positions: channel `i` of a head's first half and channel `i` of its second half turn
/// together by `position * base^(-2 i / head_dim)`.
struct Rotary {
    /// `[max_positions, head_dim / 2]`.
    cosines: Vec<f32>,
    sines: Vec<f32>,
    half: usize,
}

impl Rotary {
    fn new(config: &LanguageConfig) -> Self {
        let head_dim = config.width / config.heads;
        let half = head_dim / 2;
        // In f64 until the end: at position 2000 an f32 angle is off by 1e-4.
        let wavelength = |channel| {
            config
                .rotary_base
                .powf(-2.0 * channel as f64 / head_dim as f64)
        };
        let (sines, cosines) = (0..config.max_positions)
            .flat_map(|position| {
                (0..half).map(move |channel| position as f64 * wavelength(channel))
            })
            .map(|angle| (angle.sin() as f32, angle.cos() as f32))
            .unzip();
        Self {
            cosines,
            sines,
            half,
        }
    }

    /// The turn of queries and keys `[B, H, T, head_dim]` at these positions.
    fn at(&self, positions: &Positions) -> Turn {
        let (start, count) = (positions.start, positions.count);
        let rows = start * self.half..(start + count) * self.half;
        Turn {
            cosines: self.cosines[rows.clone()].into(),
            sines: self.sines[rows].into(),
            is_inverse: false,
        }
    }
}
