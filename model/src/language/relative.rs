//! Relative positions.

use candle_core::Tensor;

use super::config::LanguageConfig;
use super::positions::Distances;
use crate::Result;
use crate::init::{Init, ParameterStore};
use crate::linear::Linear;
use crate::ops::split_heads;

/// What distance means to attention (Dai et al. 2019, section 3.3): the score of a query and a key
/// is `(query + content) * key + (query + place) * map(distance)`.
pub(super) struct RelativePositions {
    map: Linear,
    /// `[heads, 1, head_dim]`, as is `place`.
    content: Tensor,
    place: Tensor,
}

impl RelativePositions {
    pub(super) fn new(
        config: &LanguageConfig,
        parameters: &mut ParameterStore,
        name: &str,
    ) -> Result<Self> {
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
    pub(super) fn scores(
        &self,
        queries: &Tensor,
        keys: &Tensor,
        distances: &Distances,
    ) -> Result<Tensor> {
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
