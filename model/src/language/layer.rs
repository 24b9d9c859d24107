//! One layer of a decoder: causal attention and a feed-forward part.

use candle_core::Tensor;

use super::config::{Biases, Family, LanguageConfig, LoraTarget};
use super::names::{Names, QueryKeyValueNames};
use super::positions::Distances;
use super::{LayerCache, Positions};
use crate::config::Activation;
use crate::feed_forward::FeedForward;
use crate::init::{Init, ParameterStore};
use crate::linear::{Linear, Stacked};
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

/// What distance means to attention (Dai et al. 2019, section 3.3): the score of a query and a key
/// is `(query + content) * key + (query + place) * map(distance)`.
struct RelativePositions {
    map: Linear,
    /// `[heads, 1, head_dim]`, as is `place`.
    content: Tensor,
    place: Tensor,
}

impl RelativePositions {
    fn new(config: &LanguageConfig, parameters: &mut ParameterStore, name: &str) -> Result<Self> {
        let (heads, channels) = (config.heads, config.head_channels());
        let shape = [heads * channels, config.width];
        let mut bias = |part: &str| -> Result<Tensor> {
            let name = format!("{name}.self_attn.{part}");
            let bias = parameters.get(&name, &[heads, channels], Init::Zeros)?;
            Ok(bias.unsqueeze(1)?)
        };
        let (content, place) = (bias("r_w_bias")?, bias("r_r_bias")?);
        let name = format!("{name}.self_attn.r_proj");
        Ok(Self {
            map: Linear::without_bias(parameters, &name, shape, 1.0)?,
            content,
            place,
        })
    }

    /// Products of queries `[B, H, T, D]` and keys `[B, H, S, D]`, `[B, H, T, S]`.
    fn scores(&self, queries: &Tensor, keys: &Tensor, distances: &Distances) -> Result<Tensor> {
        let (batch, heads, count, _) = queries.dims4()?;
        let total = keys.dim(2)?;
        let (queries, keys) = (queries.contiguous()?, keys.contiguous()?);
        let as_queries = |bias: &Tensor| bias.to_dtype(queries.dtype());
        let content = queries.broadcast_add(&as_queries(&self.content)?)?;
        let content = content.matmul(&keys.t()?)?;
        let waves = self
            .map
            .forward(&as_queries(&distances.waves.unsqueeze(0)?)?)?;
        let waves = split_heads(&waves, heads)?.contiguous()?; // [1, H, distances, D]
        let placed = queries.broadcast_add(&as_queries(&self.place)?)?;
        let by_distance = placed.broadcast_matmul(&waves.t()?)?; // [B, H, T, distances]
        let shape = (batch, heads, count, total);
        let of = distances.of.broadcast_as(shape)?.contiguous()?;
        Ok((content + by_distance.contiguous()?.gather(&of, 3)?)?)
    }
}

/// Maps to queries, keys and values.
enum QueryKeyValue {
    Apart(Maps),
    /// For each head its queries, keys and values.
    InHeads(Linear),
}

/// Three maps, one behind the other.
enum Maps {
    Separate([Linear; 3]),
    Stacked(Stacked<3>),
}

impl Maps {
    /// What they make of normalised `[B, T, width]`, `[B, T, out]` each.
    fn forward(&self, normal: &Tensor) -> Result<[Tensor; 3]> {
        let [queries, keys, values] = match self {
            Self::Separate(maps) => maps,
            Self::Stacked(maps) => maps.parts(),
        };
        Ok([
            queries.forward(normal)?,
            keys.forward(normal)?,
            values.forward(normal)?,
        ])
    }
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

impl QueryKeyValue {
    fn new(
        config: &LanguageConfig,
        names: &Names,
        parameters: &mut ParameterStore,
        name: &str,
    ) -> Result<Self> {
        let width = config.width;
        let attended = config.heads * config.head_channels();
        let key_width = config.key_value_head_count() * config.head_channels();
        let has_bias = config.biases.on_query_key_value();
        let mut map = |part: &str, outputs| {
            let name = format!("{name}.{part}");
            let shape = [outputs, width];
            let mut linear = linear(config, parameters, &name, shape, 1.0, has_bias)?;
            let target = LoraTarget::QueryKeyValue;
            add_update(config, &mut linear, parameters, &name, shape, target)?;
            Ok::<_, Error>(linear)
        };
        match names.query_key_value {
            QueryKeyValueNames::Separate([queries, keys, values]) => {
                Ok(Self::Apart(Maps::Separate([
                    map(queries, attended)?,
                    map(keys, key_width)?,
                    map(values, key_width)?,
                ])))
            }
            QueryKeyValueNames::Stacked(part) => Ok(Self::Apart(Maps::Stacked(Stacked::thirds(
                map(part, 3 * attended)?,
            )?))),
            QueryKeyValueNames::StackedInHeads(part) => Ok(Self::InHeads(map(part, 3 * attended)?)),
        }
    }
}

/// A linear map of a layer. GPT-2 stores its weights as `[in, out]`.
fn linear(
    config: &LanguageConfig,
    parameters: &mut ParameterStore,
    name: &str,
    [outputs, inputs]: [usize; 2],
    scale: f64,
    has_bias: bool,
) -> Result<Linear> {
    let mut linear = if config.family == Family::Gpt2 {
        let init = Init::fan_in(inputs, scale);
        let weight = parameters.get_turned(&format!("{name}.weight"), &[inputs, outputs], init)?;
        Linear::new(weight, None)
    } else {
        Linear::without_bias(parameters, name, [outputs, inputs], scale)?
    };
    if has_bias {
        linear.add_bias(parameters, name)?;
    }
    Ok(linear)
}

/// The update of low rank that a configuration gives to maps of this kind.
fn add_update(
    config: &LanguageConfig,
    linear: &mut Linear,
    parameters: &mut ParameterStore,
    name: &str,
    [_, inputs]: [usize; 2],
    target: LoraTarget,
) -> Result<()> {
    match &config.lora {
        Some(lora) if lora.targets.contains(&target) => {
            linear.add_update(parameters, name, inputs, lora)
        }
        _ => Ok(()),
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
