//! Which pictures a token sees.

use candle_core::{Device, Tensor};

use crate::Result;
use crate::config::{Attend, CrossAttentionConfig};
use crate::ops::MASKED_SCORE;

/// Which latents each token may attend to.
///
/// Holds B * L * N * R numbers of four bytes.
pub struct MediaMask {
    /// `[B, 1, L, N * R]`: 0 where a token sees a latent, else a score that weighs nothing.
    pub(crate) bias: Tensor,
    /// `[B, L, 1]`: 1 for a token that sees some image, 0 for one that sees none; `None` where
    /// all see some.
    pub(crate) sees_any: Option<Tensor>,
    /// `[B, 1, L, 1]`, factors of the queries: 0 for a token that averages over everything.
    pub(crate) query_scale: Option<Tensor>,
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
