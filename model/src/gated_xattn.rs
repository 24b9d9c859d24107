//! Gated cross-attention (Alayrac et al. 2022, section 2.2 and figure 4): text attends to the
//! latents of its image, and the result enters the language model through gates that start
//! closed.

use candle_core::Tensor;

use crate::Result;
use crate::config::CrossAttentionConfig;
use crate::feed_forward::NewFeedForward;
use crate::init::{Init, ParameterStore};
use crate::linear::{Linear, Stacked};
use crate::media_mask::MediaMask;
use crate::norm::{HeadNorms, Norm};
use crate::ops::{attend, score_scale, split_heads};
use crate::resampler::keys_and_values;

/// The keys and values of a batch's images in one block, computed once and used at every
/// decoding step.
#[derive(Clone)]
pub struct MediaKeysValues {
    keys: Tensor,
    values: Tensor,
}

impl MediaKeysValues {
    /// Those of these rows, `[B]` u32.
    pub(crate) fn select(&self, rows: &Tensor) -> Result<Self> {
        Ok(Self {
            keys: self.keys.contiguous()?.index_select(rows, 0)?,
            values: self.values.contiguous()?.index_select(rows, 0)?,
        })
    }

    /// Of each row one of its images, by its number from 0, `[B]`.
    pub(crate) fn of_images(&self, images: &[usize], latents: usize) -> Result<Self> {
        let pick = |tensor: &Tensor| -> Result<Tensor> {
            let rows = images.iter().enumerate().map(|(row, image)| {
                tensor
                    .narrow(0, row, 1)?
                    .narrow(2, image * latents, latents)
            });
            let rows: Vec<Tensor> = rows.collect::<candle_core::Result<_>>()?;
            Ok(Tensor::cat(&rows, 0)?.contiguous()?)
        };
        Ok(Self {
            keys: pick(&self.keys)?,
            values: pick(&self.values)?,
        })
    }
}

/// Attention of text to latents, without gate or residual.
pub struct MaskedCrossAttention {
    norm: Norm,
    queries: Linear,
    keys_values: Stacked<2>,
    head_norms: Option<HeadNorms>,
    output: Linear,
    heads: usize,
}

impl MaskedCrossAttention {
    /// Builds the layer for text of `width` and latents of `media_width` channels from parameters
    /// under `prefix` (ends in a dot, or is empty).
    ///
    /// # Errors
    /// A parameter is missing or has another shape.
    pub fn new(
        config: &CrossAttentionConfig,
        [width, media_width]: [usize; 2],
        parameters: &mut ParameterStore,
        prefix: &str,
    ) -> Result<Self> {
        let inner = config.heads * config.head_dim;
        let name = |part: &str| format!("{prefix}{part}");
        let keys_values = keys_and_values(parameters, &name("to_kv"), inner, media_width)?;
        let (kind, epsilon) = (config.norm, config.norm_epsilon);
        let head_norms = config
            .query_key_norm
            .then(|| HeadNorms::new(kind, parameters, prefix, config.head_dim, epsilon))
            .transpose()?;
        Ok(Self {
            norm: Norm::new(kind, parameters, &name("norm"), width, epsilon)?,
            head_norms,
            queries: Linear::without_bias(parameters, &name("to_q"), [inner, width], 1.0)?,
            keys_values,
            output: Linear::without_bias(parameters, &name("to_out"), [width, inner], 1.0)?,
            heads: config.heads,
        })
    }

    /// Keys and values of latents `[B, N, R, media_width]`.
    ///
    /// # Errors
    /// The latents have another width.
    pub fn keys_values(&self, media: &Tensor) -> Result<MediaKeysValues> {
        let media = media.flatten(1, 2)?; // [B, N * R, media_width]
        let [keys, values] = self.keys_values.heads(&media, self.heads)?;
        let keys = HeadNorms::of_keys(self.head_norms.as_ref(), keys)?;
        Ok(MediaKeysValues { keys, values })
    }

    /// Text `[B, L, width]` to what it reads from the images, `[B, L, width]`: exact zeros where
    /// the mask lets a token see none.
    ///
    /// # Errors
    /// Shapes do not fit together.
    pub fn forward(
        &self,
        text: &Tensor,
        media: &MediaKeysValues,
        mask: &MediaMask,
    ) -> Result<Tensor> {
        self.output.forward(&self.attended(text, media, mask)?)
    }

    /// As [`Self::forward`], before the output's map: `[B, L, heads * head_dim]`.
    fn attended(&self, text: &Tensor, media: &MediaKeysValues, mask: &MediaMask) -> Result<Tensor> {
        let queries = self.queries.of_normal(&self.norm, text)?;
        let queries = split_heads(&queries, self.heads)?;
        let mut queries = HeadNorms::of_queries(self.head_norms.as_ref(), queries)?;
        if let Some(scale) = &mask.query_scale {
            queries = queries.broadcast_mul(&scale.to_dtype(queries.dtype())?)?;
        }
        let scale = score_scale(&queries)?;
        let attended = attend(
            &queries,
            &media.keys,
            &media.values,
            Some(&mask.bias),
            scale,
        )?;
        // A row that is masked everywhere comes out of the softmax as an average; the factor
        // makes it nothing, in the gradient too.
        Ok(match &mask.sees_any {
            Some(sees_any) => attended.broadcast_mul(&sees_any.to_dtype(attended.dtype())?)?,
            None => attended,
        })
    }
}

/// Cross-attention and a feed-forward part, each behind a tanh gate and added to its input.
pub struct GatedBlock {
    attention: MaskedCrossAttention,
    attention_gate: Tensor,
    feed_forward: NewFeedForward,
    feed_forward_gate: Tensor,
}

impl GatedBlock {
    /// Builds the block from parameters under `prefix` (ends in a dot, or is empty); widths are
    /// those of text and latents.
    ///
    /// # Errors
    /// A parameter is missing or has another shape.
    pub fn new(
        config: &CrossAttentionConfig,
        widths: [usize; 2],
        parameters: &mut ParameterStore,
        prefix: &str,
    ) -> Result<Self> {
        let attention_prefix = format!("{prefix}attn.");
        let width = widths[0];
        let gate = Init::Constant {
            value: config.initial_gate,
        };
        let gates = if config.gate_per_channel { width } else { 1 };
        Ok(Self {
            attention: MaskedCrossAttention::new(config, widths, parameters, &attention_prefix)?,
            attention_gate: parameters.get(&format!("{prefix}attn_gate"), &[gates], gate)?,
            feed_forward: NewFeedForward::new(
                parameters,
                &format!("{prefix}ff"),
                [width, config.feed_forward_channels(width)],
                config.activation,
                |parameters, name| {
                    Norm::new(config.norm, parameters, name, width, config.norm_epsilon)
                },
                config.gated_feed_forward,
            )?,
            feed_forward_gate: parameters.get(&format!("{prefix}ff_gate"), &[gates], gate)?,
        })
    }

    /// Keys and values of latents `[B, N, R, media_width]`.
    ///
    /// # Errors
    /// The latents have another width.
    pub fn keys_values(&self, media: &Tensor) -> Result<MediaKeysValues> {
        self.attention.keys_values(media)
    }

    /// Text `[B, L, width]` to text of the same shape. Without media the attention part adds
    /// nothing; the feed-forward part runs all the same, as for any token that sees no image.
    ///
    /// # Errors
    /// Shapes do not fit together.
    pub fn forward(
        &self,
        text: &Tensor,
        media: Option<(&MediaKeysValues, &MediaMask)>,
    ) -> Result<Tensor> {
        let text = match media {
            Some((media, mask)) => {
                let attended = self.attention.attended(text, media, mask)?;
                let gate = self.attention_gate.tanh()?;
                self.attention.output.gated_onto(text, &attended, &gate)?
            }
            None => text.clone(),
        };
        let gate = self.feed_forward_gate.tanh()?;
        self.feed_forward.added_to(&text, Some(&gate))
    }

    /// How far the gates are open: tanh of the attention gate and of the feed-forward gate; where they
    /// are numbers for each channel, the mean of the tanhs' sizes.
    ///
    /// # Errors
    /// A gate cannot be read.
    pub fn openings(&self) -> Result<[f32; 2]> {
        let opening = |gate: &Tensor| -> Result<f32> {
            Ok(match gate.tanh()?.to_vec1::<f32>()?.as_slice() {
                [one] => *one,
                all => all.iter().map(|value| value.abs()).sum::<f32>() / all.len() as f32,
            })
        };
        Ok([
            opening(&self.attention_gate)?,
            opening(&self.feed_forward_gate)?,
        ])
    }
}
