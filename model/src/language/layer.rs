//! One layer of a decoder: causal attention and a feed-forward part.

use candle_core::Tensor;

use super::config::{Biases, Family, LanguageConfig, LoraTarget};
use super::maps::{Maps, QueryKeyValue, add_update, linear};
use super::names::Names;
use super::relative::RelativePositions;
use super::{LayerCache, Positions};
use crate::config::Activation;
use crate::feed_forward::FeedForward;
use crate::init::ParameterStore;
use crate::linear::Linear;
use crate::norm::{LayerNorm, Norm, RmsNorm, RowNorm};
use crate::ops::{attend, attend_in_row, repeat_heads, split_heads, weigh};
use crate::{Error, Result};

pub(super) struct Layer {
    attention_norm: Norm,
    query_key_value: QueryKeyValue,
    query_key_norms: Option<[LayerNorm; 2]>,
    relative: Option<RelativePositions>,
    output: Linear,
    feed_forward_norm: Option<Norm>,
    gate: Option<Linear>,
    rise: Linear,
    fall: Linear,
    heads: usize,
    key_value_heads: usize,
    clip: Option<f64>,
    attention_scale: f32,
    activation: Activation,
    order: Order,
}

/// How the two parts of a layer meet the residual stream.
#[derive(Clone, Copy)]
enum Order {
    /// Norm, part, sum; one part after the other.
    NormsFirst,
    /// Part, sum, norm; one part after the other.
    NormsLast,
    /// Norm and part; the sum of both parts at once.
    Parallel,
}

impl Layer {
    pub(super) fn new(
        config: &LanguageConfig,
        names: &Names,
        parameters: &mut ParameterStore,
        name: &str,
    ) -> Result<Self> {
        let width = config.width;
        let inner = config.feed_forward_channels();
        let attended = config.heads * config.head_channels();
        // Outputs into the residual stream shrink with depth (Radford et al. 2019, section 2.3).
        let residual = (2.0 * config.layers as f64).powf(-0.5);
        let biases = config.biases;
        let norm = |parameters: &mut ParameterStore, part: &str| {
            norm(config, parameters, &format!("{name}.{part}"))
        };
        let query_key_norms = config
            .query_key_norm
            .then(|| -> Result<_> {
                let epsilon = config.norm_epsilon.unwrap_or(DEFAULT_EPSILON) as f32;
                let key_width = config.key_value_head_count() * config.head_channels();
                let [queries, keys] = names.query_key_norms;
                let mut norm = |part: &str, width| {
                    let has_bias = biases != Biases::None;
                    let name = format!("{name}.{part}");
                    LayerNorm::with(parameters, &name, width, epsilon, has_bias)
                };
                Ok([norm(queries, attended)?, norm(keys, key_width)?])
            })
            .transpose()?;
        let mut linear = |part: &str, shape, scale, has_bias, target| {
            let name = format!("{name}.{part}");
            let mut linear = linear(config, parameters, &name, shape, scale, has_bias)?;
            add_update(config, &mut linear, parameters, &name, shape, target)?;
            Ok::<_, Error>(linear)
        };
        let has_bias = biases.on_feed_forward();
        let feed_forward = LoraTarget::FeedForward;
        let gate = names
            .gate
            .map(|gate| linear(gate, [inner, width], 1.0, has_bias, feed_forward))
            .transpose()?;
        let rise = linear(names.rise, [inner, width], 1.0, has_bias, feed_forward)?;
        let fall = linear(names.fall, [width, inner], residual, has_bias, feed_forward)?;
        let has_bias = biases.on_attention_output();
        let output = linear(
            names.attention_output,
            [width, attended],
            residual,
            has_bias,
            LoraTarget::AttentionOutput,
        )?;
        let query_key_value = QueryKeyValue::new(config, names, parameters, name)?;
        let relative = config
            .relative_positions
            .then(|| RelativePositions::new(config, parameters, name))
            .transpose()?;
        let order = match (config.parallel_residual, config.norms_last) {
            (true, _) => Order::Parallel,
            (false, true) => Order::NormsLast,
            (false, false) => Order::NormsFirst,
        };
        let scale = config.attention_scale;
        Ok(Self {
            attention_norm: norm(parameters, names.attention_norm)?,
            query_key_value,
            query_key_norms,
            relative,
            output,
            feed_forward_norm: names
                .feed_forward_norm
                .map(|part| norm(parameters, part))
                .transpose()?,
            gate,
            rise,
            fall,
            heads: config.heads,
            key_value_heads: config.key_value_head_count(),
            clip: config.query_key_value_clip,
            attention_scale: scale.unwrap_or((config.head_channels() as f64).powf(-0.5)) as f32,
            activation: config.activation,
            order,
        })
    }

    pub(super) fn forward(
        &self,
        hidden: &Tensor,
        positions: &Positions,
        cache: Option<&mut LayerCache>,
    ) -> Result<Tensor> {
        match self.order {
            Order::NormsFirst => {
                let norm = Some(&self.attention_norm);
                let attended = self.attention(norm, hidden, positions, cache)?;
                let hidden = self.output.added_to(hidden, &attended)?;
                self.feed_forward(Some(self.last_norm()), &hidden, &hidden)
            }
            Order::NormsLast => {
                let attended = self.attention(None, hidden, positions, cache)?;
                let hidden = self.output.added_to(hidden, &attended)?;
                let hidden = self.attention_norm.forward(&hidden)?;
                let sum = self.feed_forward(None, &hidden, &hidden)?;
                match &self.feed_forward_norm {
                    Some(norm) => norm.forward(&sum),
                    None => Ok(sum),
                }
            }
            Order::Parallel => {
                let norm = Some(&self.attention_norm);
                let attended = self.attention(norm, hidden, positions, cache)?;
                let sum = self.output.added_to(hidden, &attended)?;
                self.feed_forward(Some(self.last_norm()), hidden, &sum)
            }
        }
    }

    /// The feed-forward part's norm; attention's where it has none of its own.
    fn last_norm(&self) -> &Norm {
        self.feed_forward_norm
            .as_ref()
            .unwrap_or(&self.attention_norm)
    }

    /// `[B, T, width]`, normalised by `norm` or before, to what each token takes from those it sees, `[B, T, heads *
    /// head_dim]`.
    fn attention(
        &self,
        norm: Option<&Norm>,
        input: &Tensor,
        positions: &Positions,
        cache: Option<&mut LayerCache>,
    ) -> Result<Tensor> {
        let joined = match cache {
            None => self.joined(norm, input, positions)?,
            Some(_) => None,
        };
        if let Some(all) = joined {
            let bias = positions.bias.as_ref();
            return attend_in_row(&all, self.heads, bias, self.attention_scale);
        }
        let [queries, keys, values] = self.queries_keys_values(norm, input)?;
        let (queries, keys) = match &positions.turn {
            Some(turn) => (turn.apply(&queries)?, turn.apply(&keys)?),
            None => (queries, keys),
        };
        let (keys, values) = match cache {
            Some(cache) => cache.extend(keys, values)?,
            None => (keys, values),
        };
        let bias = positions.bias.as_ref();
        let scale = self.attention_scale;
        let attended = match (&self.relative, &positions.distances) {
            (Some(relative), Some(distances)) => {
                let repeats = self.heads / self.key_value_heads;
                let keys = repeat_heads(&keys, repeats)?;
                let scores = relative.scores(&queries, &keys, distances)?;
                weigh(&scores, &repeat_heads(&values, repeats)?, bias, scale)?
            }
            _ => attend(&queries, &keys, &values, bias, scale)?,
        };
        Ok(attended)
    }

    /// Queries, keys and values side by side, `[B, T, 3 * heads * head_dim]`, where they have a gradient and
    /// attention reads them as their maps write them.
    fn joined(
        &self,
        norm: Option<&Norm>,
        input: &Tensor,
        positions: &Positions,
    ) -> Result<Option<Tensor>> {
        let is_changed = positions.turn.is_some()
            || self.relative.is_some()
            || self.clip.is_some()
            || self.query_key_norms.is_some();
        match &self.query_key_value {
            QueryKeyValue::Apart(Maps::Stacked(maps)) if !is_changed => maps.joined(norm, input),
            _ => Ok(None),
        }
    }

    /// Queries `[B, heads, T, head_dim]`, keys and values of as many heads as there are.
    fn queries_keys_values(&self, norm: Option<&Norm>, input: &Tensor) -> Result<[Tensor; 3]> {
        let maps = match &self.query_key_value {
            QueryKeyValue::Apart(maps) => maps,
            QueryKeyValue::InHeads(map) => {
                let (batch, tokens, _) = input.dims3()?;
                let all = match norm {
                    Some(norm) => map.of_normal(norm, input)?,
                    None => map.forward(input)?,
                };
                let all = all.reshape((batch, tokens, self.heads, 3, ()))?;
                let part = |index: usize| -> Result<Tensor> {
                    let part = all.narrow(3, index, 1)?.squeeze(3)?; // [B, T, heads, head_dim]
                    Ok(part.transpose(1, 2)?)
                };
                return Ok([part(0)?, part(1)?, part(2)?]);
            }
        };
        if let (Maps::Stacked(maps), Some(norm)) = (maps, norm)
            && self.clip.is_none()
            && self.query_key_norms.is_none()
        {
            return maps.heads(norm, input, self.heads);
        }
        let normal = match norm {
            Some(norm) => norm.forward(input)?,
            None => input.clone(),
        };
        let [mut queries, mut keys, values] = maps.forward(&normal)?;
        let clip = |tensor: Tensor| -> Result<Tensor> {
            Ok(match self.clip {
                Some(most) => tensor.clamp(-most as f32, most as f32)?,
                None => tensor,
            })
        };
        (queries, keys) = (clip(queries)?, clip(keys)?);
        if let Some([query_norm, key_norm]) = &self.query_key_norms {
            (queries, keys) = (query_norm.forward(&queries)?, key_norm.forward(&keys)?);
        }
        Ok([
            split_heads(&queries, self.heads)?,
            split_heads(&keys, self.key_value_heads)?,
            split_heads(&clip(values)?, self.key_value_heads)?,
        ])
    }

    /// `residual` plus what the feed-forward part makes of `input`, normalised by `norm` or before.
    fn feed_forward(
        &self,
        norm: Option<&Norm>,
        input: &Tensor,
        residual: &Tensor,
    ) -> Result<Tensor> {
        let part = FeedForward {
            norm,
            gate: self.gate.as_ref(),
            rise: &self.rise,
            activation: self.activation,
            fall: &self.fall,
        };
        part.added_to(residual, input, None)
    }
}

/// Added under the root of a norm where a configuration does not say.
const DEFAULT_EPSILON: f64 = 1e-5;

/// The norm of a family.
pub(super) fn norm(
    config: &LanguageConfig,
    parameters: &mut ParameterStore,
    name: &str,
) -> Result<Norm> {
    let width = config.width;
    let epsilon = config.norm_epsilon.unwrap_or(DEFAULT_EPSILON) as f32;
    Ok(match config.family {
        Family::Chinchilla | Family::Llama => {
            Norm::RootMeanSquare(RmsNorm::new(parameters, name, width, epsilon)?)
        }
        Family::Mpt | Family::MosaicGpt => {
            Norm::Layer(LayerNorm::with(parameters, name, width, epsilon, false)?)
        }
        Family::GptNeox | Family::Opt | Family::Gpt2 | Family::GptJ => {
            Norm::Layer(LayerNorm::with(parameters, name, width, epsilon, true)?)
        }
    })
}
