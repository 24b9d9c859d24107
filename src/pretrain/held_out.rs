//! Pairs that are kept from training, and how often they are found among each other.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use candle_core::{Device, Tensor};
use m3w_document::Sha256;
use m3w_model::{DualEncoder, Retrieval, retrieval};
use m3w_shards::{Dataset, EncodedLoader, LoaderConfig, Tokenizer, picture_pixels};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{caption, one_picture};

/// Pictures that are encoded at one time.
const AT_ONCE: usize = 32;

/// Which pairs are kept from training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HeldOutConfig {
    /// The share of all pairs, chosen by the digests of their ids. A batch is that much smaller.
    pub share: f64,
    /// Most pairs that are looked for; they are held in memory as they are stored.
    pub most_pairs: usize,
}

impl Default for HeldOutConfig {
    fn default() -> Self {
        Self {
            share: 0.02,
            most_pairs: 1000,
        }
    }
}

impl HeldOutConfig {
    /// Refuses values with which nothing can be trained.
    ///
    /// # Errors
    ///
    /// Names the key and what it may be.
    pub fn check(&self) -> Result<()> {
        ensure!(
            (0.0..=0.5).contains(&self.share),
            "`held_out.share` is {}: set it to 0 to 0.5",
            self.share
        );
        Ok(())
    }

    /// Whether the row of this id is held out.
    pub(super) fn holds(&self, id: &str) -> bool {
        let mut first = [0; 8];
        for (byte, of) in first.iter_mut().zip(Sha256::of(id.as_bytes()).0) {
            *byte = of;
        }
        #[expect(clippy::cast_precision_loss, reason = "a share needs no last bits")]
        let place = u64::from_be_bytes(first) as f64 / u64::MAX as f64;
        place < self.share
    }
}

/// The pairs that are looked for.
pub(super) struct HeldOut {
    pairs: Vec<Pair>,
}

struct Pair {
    id: String,
    caption: Vec<u32>,
    /// Encoded, and copied: a part of a shard would keep all that was read with it.
    picture: Vec<u8>,
    /// Which dataset it is of, for how its pictures become pixels.
    config: Arc<LoaderConfig>,
}

impl HeldOut {
    /// Reads the first pairs of the datasets that are held out, up to as many of each.
    pub(super) fn read(
        datasets: &[Dataset],
        tokenizer: &Arc<Tokenizer>,
        config: &HeldOutConfig,
    ) -> Result<Self> {
        let special = tokenizer.special_ids();
        let mut pairs = Vec::new();
        let most_each = config.most_pairs / datasets.len().max(1);
        for dataset in datasets.iter().filter(|_| config.share > 0.0) {
            let in_order = LoaderConfig {
                epochs: Some(1),
                shuffle_buffer: 0,
                ..dataset.config.clone()
            };
            let of_dataset = Arc::new(dataset.config.clone());
            let mut loader = EncodedLoader::open(&dataset.directory, &in_order, tokenizer)?;
            let most = pairs.len() + most_each;
            while pairs.len() < most
                && let Some(batch) = loader.next_batch()?
            {
                let (length, images) = (batch.shape.l, batch.shape.n);
                let mut pictures = batch.pictures.iter();
                for (row, id) in batch.ids.iter().enumerate() {
                    one_picture(id, &batch.frames[row * images..(row + 1) * images])?;
                    let picture = pictures.next().context("a batch lacks a picture")?;
                    let tokens = row * length..(row + 1) * length;
                    let caption = caption(
                        &batch.tokens[tokens.clone()],
                        &batch.loss_mask[tokens],
                        &special,
                    );
                    if config.holds(id) && !caption.is_empty() && pairs.len() < most {
                        pairs.push(Pair {
                            id: id.clone(),
                            caption,
                            picture: picture.to_vec(),
                            config: Arc::clone(&of_dataset),
                        });
                    }
                }
            }
        }
        if pairs.is_empty() && config.share > 0.0 {
            tracing::warn!(
                "no pair is held out, so nothing will be looked for: there are too few rows for a \
                 held_out.share of {}",
                config.share
            );
        }
        Ok(Self { pairs })
    }

    /// How often each is found among all; `None` where there is none.
    pub(super) fn retrieval(&self, model: &DualEncoder) -> Result<Option<Retrieval>> {
        if self.pairs.is_empty() {
            return Ok(None);
        }
        let (mut pictures, mut captions) = (Vec::new(), Vec::new());
        for pairs in self.pairs.chunks(AT_ONCE) {
            pictures.push(model.embed_pictures(&pixels(pairs)?)?);
            let words: Vec<Vec<u32>> = pairs.iter().map(|pair| pair.caption.clone()).collect();
            captions.push(model.embed_captions(&words)?);
        }
        let (pictures, captions) = (Tensor::cat(&pictures, 0)?, Tensor::cat(&captions, 0)?);
        // Captions are the same where the encoder reads the same of them.
        let most = model.config().text.max_tokens;
        let mut known: HashMap<&[u32], usize> = HashMap::new();
        let labels: Vec<usize> = self
            .pairs
            .iter()
            .map(|pair| {
                let next = known.len();
                let read = &pair.caption[..pair.caption.len().min(most)];
                *known.entry(read).or_insert(next)
            })
            .collect();
        let pictures = pictures.detach();
        Ok(Some(retrieval(&pictures, &captions.detach(), &labels)?))
    }
}

/// Pixels `[B, 3, H, W]` of stored pictures.
fn pixels(pairs: &[Pair]) -> Result<Tensor> {
    let decoded: Vec<Result<Vec<f32>>> = pairs
        .par_iter()
        .map(|pair| {
            picture_pixels(&pair.picture, &pair.config)
                .map_err(|problem| anyhow::anyhow!("the picture of the row {}: {problem}", pair.id))
        })
        .collect();
    let mut values = Vec::new();
    for picture in decoded {
        values.extend(picture?);
    }
    let side = pairs.first().map_or(0, |pair| pair.config.image_side_px) as usize;
    Ok(Tensor::from_vec(
        values,
        (pairs.len(), 3, side, side),
        &Device::Cpu,
    )?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn about_the_share_asked_for_is_held_out() {
        let held = |share| {
            let config = HeldOutConfig {
                share,
                ..HeldOutConfig::default()
            };
            (0..4000)
                .filter(|number| config.holds(&format!("row-{number}")))
                .count()
        };
        assert_eq!(held(0.0), 0);
        assert!((300..500).contains(&held(0.1)), "{}", held(0.1));
    }
}
