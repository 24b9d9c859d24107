//! Gated cross-attention (Alayrac et al. 2022, section 2.2 and figure 4): text attends to the
//! latents of its image, and the result enters the language model through gates that start
//! closed.

use candle_core::{Device, Tensor};

use crate::Result;
use crate::config::{Attend, CrossAttentionConfig};
use crate::feed_forward::NewFeedForward;
use crate::init::{Init, ParameterStore};
use crate::linear::{Linear, Stacked};
use crate::norm::{HeadNorms, Norm};
use crate::ops::{MASKED_SCORE, attend, score_scale, split_heads};
use crate::resampler::keys_and_values;

/// Which latents each token may attend to.
///
/// Holds B * L * N * R numbers of four bytes.
pub struct MediaMask {
    /// `[B, 1, L, N * R]`: 0 where a token sees a latent, else a score that weighs nothing.
    bias: Tensor,
    /// `[B, L, 1]`: 1 for a token that sees some image, 0 for one that sees none; `None` where
    /// all see some.
    sees_any: Option<Tensor>,
    /// `[B, 1, L, 1]`, factors of the queries: 0 for a token that averages over everything.
    query_scale: Option<Tensor>,
}

impl MediaMask {
    /// The mask for image indices `[B][L]` (1 for the first image; 0 or beyond `images` for
    /// none) over `images` slots of `latents` latents each, as `gated` says.
    ///
    /// Where index 0 averages over every image under [`Attend::AllPrevious`], it does so by queries of
    /// zeros, which is what OpenFlamingo's fully masked softmax comes to. Where every index of none does,
    /// as in Idefics of old, keys have gradients too: one large number is added to all its scores.
    ///
    /// # Errors
    /// Rows of unequal length.
    pub fn new(
        image_index: &[Vec<u8>],
        images: usize,
        latents: usize,
        gated: &CrossAttentionConfig,
    ) -> Result<Self> {
        let (batch, length) = (image_index.len(), image_index.first().map_or(0, Vec::len));
        let mut bias = Vec::with_capacity(batch * length * images * latents);
        let mut sees_any = Vec::with_capacity(batch * length);
        for index in image_index
            .iter()
            .flatten()
            .map(|index| usize::from(*index))
        {
            let seen = seen_images(index, images, gated);
            sees_any.push(if seen.is_empty() { 0.0_f32 } else { 1.0 });
            let has_none = index == 0 || index > images;
            for image in 0..images {
                let score = if !seen.contains(&image) {
                    MASKED_SCORE
                } else if has_none && gated.text_without_image_averages_all {
                    LEVELLED_SCORE
                } else {
                    0.0
                };
                bias.extend(std::iter::repeat_n(score, latents));
            }
        }
        let cpu = &Device::Cpu;
        // A query of zeros scores every key alike and passes no gradient to any.
        let averages = gated.text_before_images_averages_all
            && !gated.text_without_image_averages_all
            && gated.attend == Attend::AllPrevious;
        let query_scale = averages
            .then(|| {
                let scales = image_index.iter().flatten();
                let scales: Vec<f32> = scales.map(|index| f32::from((*index).min(1))).collect();
                Tensor::from_vec(scales, (batch, 1, length, 1), cpu)
            })
            .transpose()?;
        Ok(Self {
            bias: Tensor::from_vec(bias, (batch, 1, length, images * latents), cpu)?,
            sees_any: sees_any
                .contains(&0.0)
                .then(|| Tensor::from_vec(sees_any, (batch, length, 1), cpu))
                .transpose()?,
            query_scale,
        })
    }

    /// The same on a device.
    ///
    /// # Errors
    /// The device has no memory for it.
    pub fn to_device(&self, device: &Device) -> Result<Self> {
        let moved = |tensor: &Option<Tensor>| {
            let tensor = tensor.as_ref();
            tensor.map(|tensor| tensor.to_device(device)).transpose()
        };
        Ok(Self {
            bias: self.bias.to_device(device)?,
            sees_any: moved(&self.sees_any)?,
            query_scale: moved(&self.query_scale)?,
        })
    }

    /// A mask under which each of `batch` x `length` tokens sees all `sources` latents.
    ///
    /// # Errors
    /// Allocation by candle fails.
    pub fn everything(batch: usize, length: usize, sources: usize) -> Result<Self> {
        let f32 = candle_core::DType::F32;
        Ok(Self {
            bias: Tensor::zeros((batch, 1, length, sources), f32, &Device::Cpu)?,
            sees_any: None,
            query_scale: None,
        })
    }
}

/// A number beside which real scores are nothing, so that their softmax is the same for all.
const LEVELLED_SCORE: f32 = -MASKED_SCORE;

/// The images, counted from 0, that a token of this image index sees.
pub(crate) fn seen_images(
    index: usize,
    images: usize,
    gated: &CrossAttentionConfig,
) -> std::ops::Range<usize> {
    let averages_all = gated.text_without_image_averages_all;
    match (index, gated.attend) {
        _ if averages_all && (index == 0 || index > images) => 0..images,
        (0, Attend::AllPrevious) if gated.text_before_images_averages_all => 0..images,
        (0, _) => 0..0,
        _ if index > images => 0..0,
        (_, Attend::Own) => index - 1..index,
        (_, Attend::AllPrevious) => 0..index,
    }
}

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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn gated(attend: Attend) -> CrossAttentionConfig {
        CrossAttentionConfig {
            attend,
            ..toml::from_str("every = 1\nheads = 1\nhead_dim = 1").unwrap()
        }
    }

    proptest! {
        #[test]
        fn a_token_sees_only_images_up_to_its_own(
            index in 0_usize..300,
            images in 1_usize..8,
        ) {
            let own = seen_images(index, images, &gated(Attend::Own));
            let all = seen_images(index, images, &gated(Attend::AllPrevious));
            if index == 0 || index > images {
                prop_assert!(own.is_empty() && all.is_empty());
            } else {
                prop_assert_eq!(own, index - 1..index);
                prop_assert_eq!(all, 0..index);
            }
        }

        #[test]
        fn a_mask_is_open_exactly_over_the_seen_images(
            index in proptest::collection::vec(0_u8..6, 1..12),
            images in 1_usize..5,
            latents in 1_usize..4,
        ) {
            let length = index.len();
            let gated = gated(Attend::Own);
            let mask =
                MediaMask::new(std::slice::from_ref(&index), images, latents, &gated).unwrap();
            prop_assert_eq!(mask.bias.dims(), [1, 1, length, images * latents]);
            let bias: Vec<f32> = mask.bias.flatten_all().unwrap().to_vec1().unwrap();
            let sees_any: Vec<f32> = match mask.sees_any {
                Some(sees_any) => sees_any.flatten_all().unwrap().to_vec1().unwrap(),
                None => vec![1.0; length],
            };
            for (token, row) in bias.chunks(images * latents).enumerate() {
                let own = usize::from(index[token]);
                prop_assert_eq!(sees_any[token] == 1.0, (1..=images).contains(&own));
                for (latent, score) in row.iter().enumerate() {
                    prop_assert_eq!(*score == 0.0, latent / latents + 1 == own);
                }
            }
        }
    }
}
