//! The Perceiver Resampler (Alayrac et al. 2022, section 2.1 and figure 5): any number of patch
//! tokens of an image or clip become a fixed number of latents.
//!
//! Tensor names and the order of operations are OpenFlamingo's: keys and values come from the
//! normalised patches and the normalised latents together, queries from the latents.

use candle_core::Tensor;

use crate::config::{NormKind, ResamplerConfig};
use crate::feed_forward::NewFeedForward;
use crate::init::{Init, ParameterStore};
use crate::linear::{Linear, Stacked};
use crate::norm::{HeadNorms, LayerNorm, Norm, RowNorm};
use crate::ops::{attend, attend_to, score_scale, split_heads};
use crate::{Error, Result};

/// The resampler: `[B, N, F, patches, width]` to `[B, N, latents, width]`.
pub struct Resampler {
    latents: Tensor,
    frames: Option<Tensor>,
    images: Option<Tensor>,
    layers: Vec<Layer>,
    norm: LayerNorm,
}

struct Layer {
    media_norm: LayerNorm,
    latents_norm: LayerNorm,
    queries: Linear,
    keys_values: Stacked<2>,
    /// Keys and values of the latents, where they have maps of their own.
    latent_maps: Option<Stacked<2>>,
    head_norms: Option<HeadNorms>,
    output: Linear,
    feed_forward: NewFeedForward,
    heads: usize,
}

impl Resampler {
    /// Builds the resampler for patch tokens of `width` channels from parameters under `prefix`
    /// (ends in a dot, or is empty).
    ///
    /// # Errors
    /// A parameter is missing or has another shape.
    pub fn new(
        config: &ResamplerConfig,
        width: usize,
        parameters: &mut ParameterStore,
        prefix: &str,
    ) -> Result<Self> {
        let latents = parameters.get(
            &format!("{prefix}latents"),
            &[config.latents, width],
            Init::Normal { deviation: 1.0 },
        )?;
        let frames = (config.max_frames > 0)
            .then(|| {
                parameters.get(
                    &format!("{prefix}frame_embs"),
                    &[config.max_frames, width],
                    Init::Normal { deviation: 1.0 },
                )
            })
            .transpose()?;
        let images = (config.max_images > 0)
            .then(|| {
                parameters.get(
                    &format!("{prefix}media_time_embs"),
                    &[config.max_images, 1, width],
                    Init::Normal { deviation: 1.0 },
                )
            })
            .transpose()?;
        let layers = (0..config.layers)
            .map(|layer| {
                Layer::new(
                    config,
                    width,
                    parameters,
                    &format!("{prefix}layers.{layer}"),
                )
            })
            .collect::<Result<_>>()?;
        Ok(Self {
            latents,
            frames,
            images,
            layers,
            norm: LayerNorm::new(parameters, &format!("{prefix}norm"), width)?,
        })
    }

    /// Patch tokens `[B, N, F, patches, width]` to latents `[B, N, R, width]`.
    ///
    /// # Errors
    /// There are more images than embeddings of their number.
    pub fn forward(&self, tokens: &Tensor) -> Result<Tensor> {
        let (batch, images, frames, patches, width) = tokens.dims5()?;
        let mut tokens = tokens.clone();
        if let Some(embeddings) = &self.frames {
            let embeddings = frame_embeddings(embeddings, frames)?;
            let embeddings = embeddings.reshape((1, 1, frames, 1, width))?;
            tokens = tokens.broadcast_add(&embeddings.to_dtype(tokens.dtype())?)?;
        }
        if let Some(embeddings) = &self.images {
            let known = embeddings.dim(0)?;
            if images > known {
                return Err(Error::Input {
                    what: "images",
                    expected: format!("at most {known}, the resampler's embeddings of them"),
                    found: images.to_string(),
                });
            }
            let embeddings = embeddings.narrow(0, 0, images)?;
            let embeddings = embeddings.reshape((1, images, 1, 1, width))?;
            tokens = tokens.broadcast_add(&embeddings.to_dtype(tokens.dtype())?)?;
        }
        let media = tokens.reshape((batch * images, frames * patches, width))?;
        // All images begin with the same latents, so the first layer asks once for all of them.
        let mut latents = self.latents.unsqueeze(0)?.to_dtype(media.dtype())?; // [1, R, width]
        for layer in &self.layers {
            latents = layer.forward(&media, &latents)?; // [M, R, width]
        }
        let known = (batch * images, self.latents.dim(0)?, width);
        let latents = latents.broadcast_as(known)?.contiguous()?;
        let latents = self.norm.forward(&latents)?;
        Ok(latents.reshape((batch, images, (), width))?)
    }
}

/// Time embeddings `[known, width]` of `frames` frames: the first ones, or, of a longer clip, their
/// course stretched linearly from first to last (as the paper does from 8 to 30 frames).
fn frame_embeddings(embeddings: &Tensor, frames: usize) -> Result<Tensor> {
    let known = embeddings.dim(0)?;
    if frames <= known {
        return Ok(embeddings.narrow(0, 0, frames)?);
    }
    let mut shares = vec![0.0_f32; frames * known];
    for (frame, shares) in shares.chunks_mut(known).enumerate() {
        let place = frame as f32 * (known - 1) as f32 / (frames - 1) as f32;
        let before = (place as usize).min(known - 1);
        let share = place - before as f32;
        shares[before] = 1.0 - share;
        if share > 0.0 {
            shares[(before + 1).min(known - 1)] += share;
        }
    }
    let shares = Tensor::from_vec(shares, (frames, known), embeddings.device())?;
    Ok(shares.matmul(embeddings)?)
}

impl Layer {
    fn new(
        config: &ResamplerConfig,
        width: usize,
        parameters: &mut ParameterStore,
        name: &str,
    ) -> Result<Self> {
        let attention = format!("{name}.0");
        let inner = config.heads * config.head_dim;
        let keys_values = keys_and_values(parameters, &format!("{attention}.to_kv"), inner, width)?;
        let latent_maps = config
            .own_latent_maps
            .then(|| {
                keys_and_values(
                    parameters,
                    &format!("{attention}.to_latent_kv"),
                    inner,
                    width,
                )
            })
            .transpose()?;
        let kind = NormKind::Layer;
        let head_norms = config
            .query_key_norm
            .then(|| {
                let prefix = format!("{attention}.");
                HeadNorms::new(kind, parameters, &prefix, config.head_dim, None)
            })
            .transpose()?;
        let inner_width = width * config.feed_forward_multiple;
        Ok(Self {
            media_norm: LayerNorm::new(parameters, &format!("{attention}.norm_media"), width)?,
            latents_norm: LayerNorm::new(parameters, &format!("{attention}.norm_latents"), width)?,
            queries: Linear::without_bias(
                parameters,
                &format!("{attention}.to_q"),
                [inner, width],
                1.0,
            )?,
            keys_values,
            latent_maps,
            head_norms,
            output: Linear::without_bias(
                parameters,
                &format!("{attention}.to_out"),
                [width, inner],
                1.0,
            )?,
            feed_forward: NewFeedForward::new(
                parameters,
                &format!("{name}.1"),
                [width, inner_width],
                config.activation,
                |parameters, name| Norm::new(kind, parameters, name, width, None),
                false,
            )?,
            heads: config.heads,
        })
    }

    /// Media `[M, S, width]` and latents `[M or 1, R, width]`, 1 where all are alike, to new
    /// latents `[M, R, width]`.
    fn forward(&self, media: &Tensor, latents: &Tensor) -> Result<Tensor> {
        let count = media.dim(0)?;
        let for_all = |latents: &Tensor| -> Result<Tensor> {
            let (_, tokens, width) = latents.dims3()?;
            Ok(latents.broadcast_as((count, tokens, width))?)
        };
        let of_latents = self.latent_maps.as_ref().unwrap_or(&self.keys_values);
        let maps = [&self.keys_values, of_latents];
        let norms = [&self.media_norm, &self.latents_norm];
        let queries = self.queries.of_normal(&self.latents_norm, latents)?;
        let head_norms = self.head_norms.as_ref();
        let joined = match head_norms {
            None => Stacked::joined_of_both(maps, norms, [media, latents])?,
            Some(_) => None,
        };
        let attended = if let Some(others) = joined {
            attend_to(&queries, &others, self.heads)?
        } else {
            let [keys, values] = Stacked::heads_of_both(maps, norms, [media, latents], self.heads)?;
            let keys = HeadNorms::of_keys(head_norms, keys)?;
            let queries = split_heads(&queries, self.heads)?;
            let queries = HeadNorms::of_queries(head_norms, queries)?;
            let (_, heads, tokens, channels) = queries.dims4()?;
            let queries = queries.broadcast_as((count, heads, tokens, channels))?;
            attend(&queries, &keys, &values, None, score_scale(&queries)?)?
        };
        let latents = self.output.added_to(&for_all(latents)?, &attended)?;
        self.feed_forward.added_to(&latents, None)
    }
}

/// The key and the value map of the one weight called `name`, which holds keys above values.
pub(crate) fn keys_and_values(
    parameters: &mut ParameterStore,
    name: &str,
    inner: usize,
    width: usize,
) -> Result<Stacked<2>> {
    let both = parameters.get_map(
        &format!("{name}.weight"),
        &[2 * inner, width],
        Init::fan_in(width, 1.0),
    )?;
    Stacked::halves(Linear::new(both, None))
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn time_embeddings_stretch_over_a_longer_clip() {
        let known: Vec<f32> = (0..8).map(|frame| (frame * frame) as f32).collect();
        let known = Tensor::from_vec(known, (8, 1), &Device::Cpu).unwrap();
        let stretched = |frames: usize| -> Vec<f32> {
            let embeddings = frame_embeddings(&known, frames).unwrap();
            embeddings.flatten_all().unwrap().to_vec1().unwrap()
        };
        assert_eq!(stretched(3), [0.0, 1.0, 4.0]);
        assert_eq!(stretched(8)[7], 49.0);
        // Fifteen frames: every second one is a known one, the others lie half way.
        let fifteen = stretched(15);
        assert_eq!(fifteen[..5], [0.0, 0.5, 1.0, 2.5, 4.0]);
        let thirty = stretched(30);
        assert_eq!((thirty[0], thirty[29]), (0.0, 49.0));
        assert!(thirty.windows(2).all(|pair| pair[0] < pair[1]));
    }
}
