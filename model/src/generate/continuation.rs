//! Prompts of a batch, continued token by token.

use std::sync::Arc;

use candle_core::{D, Device, Tensor};

use crate::config::Attend;
use crate::flamingo::Flamingo;
use crate::inputs::last_image_before;
use crate::language::LayerCache;
use crate::media::{Attended, Media};
use crate::{Error, Result};

/// A batch of prompts on the way: what has been read is kept, so that each further token costs the
/// work of one token.
///
/// Prompts of different length stand behind padding that nothing attends to. Pictures are encoded
/// once, and so are their keys and values in each gated block. All state is here, none in the
/// model, so several continuations may go on at once.
///
/// Holds one key and one value per layer and token of each row, and the pictures' keys and values
/// once for all rows of a prompt.
pub struct Continuation<'m> {
    model: &'m Flamingo,
    media: Option<Media>,
    /// For each row the image its next token belongs to, among those of `media`.
    image_index: Vec<u8>,
    /// Whether the next tokens count images anew (`written_images_restart_count`).
    restarts_count: bool,
    /// Padding before each row.
    padding: Vec<usize>,
    rows_per_prompt: usize,
    caches: Vec<LayerCache>,
    seen: usize,
}

impl<'m> Continuation<'m> {
    /// Reads `prompts`, each of whose `<image>` tokens stands for the next of its row in `pixels`
    /// (`[B, N, F, 3, H, W]`; `None` for text alone), and gives the scores `[B, V]` of the token
    /// behind each.
    ///
    /// # Errors
    /// A prompt is empty, too long, or names more images than there are slots in `pixels`.
    pub fn start(
        model: &'m Flamingo,
        prompts: &[Vec<u32>],
        pixels: Option<&Tensor>,
    ) -> Result<(Self, Tensor)> {
        let special = model.special_tokens();
        let images = pixels.map_or(Ok(0), |pixels| pixels.dim(1))?;
        for prompt in prompts {
            check_prompt(prompt, special.image, images)?;
        }
        let length = prompts.iter().map(Vec::len).max().unwrap_or_default();
        let padding: Vec<usize> = prompts.iter().map(|prompt| length - prompt.len()).collect();
        let mut tokens = Vec::with_capacity(prompts.len() * length);
        let mut image_index = Vec::with_capacity(prompts.len());
        for (prompt, padding) in prompts.iter().zip(&padding) {
            let mut row = vec![special.pad; *padding];
            let mut index = vec![0; *padding];
            index.extend(last_image_before(prompt, special.image));
            row.extend(prompt);
            tokens.extend(row);
            image_index.push(index);
        }
        let tokens = Tensor::from_vec(tokens, (prompts.len(), length), &Device::Cpu)?;
        let media = pixels
            .map(|pixels| model.media(pixels, &image_index))
            .transpose()?;
        let attended = media
            .as_ref()
            .map(|media| -> Result<_> {
                Ok(Attended {
                    media,
                    mask: model.mask(&image_index, media.images())?,
                    rows_per_media: 1,
                })
            })
            .transpose()?;
        let language = model.language();
        let mut caches: Vec<LayerCache> = Vec::new();
        caches.resize_with(language.layer_count(), LayerCache::default);
        let positions = Arc::new(language.positions(0, length, &padding)?);
        let caches_here = Some(caches.as_mut_slice());
        let nothing = &mut |_, _: &Tensor| {};
        let hidden = model.run(&tokens, &positions, attended.as_ref(), caches_here, nothing)?;
        let scores = language
            .logits(&hidden.narrow(1, length - 1, 1)?)?
            .squeeze(1)?;
        let last: Vec<u8> = image_index
            .iter()
            .filter_map(|index| index.last().copied())
            .collect();
        let (media, image_index) = match media {
            Some(media) => {
                let (media, index) = own_image_only(model, media, last)?;
                (Some(media), index)
            }
            None => (None, last),
        };
        let continuation = Self {
            model,
            media,
            image_index,
            restarts_count: false,
            padding,
            rows_per_prompt: 1,
            caches,
            seen: length,
        };
        Ok((continuation, scores))
    }

    /// The same, to go on in another way.
    ///
    /// # Errors
    /// Allocation by candle fails.
    pub fn copy(&self) -> Result<Self> {
        let caches = self.caches.iter().map(LayerCache::copy);
        Ok(Self {
            model: self.model,
            media: self.media.clone(),
            image_index: self.image_index.clone(),
            restarts_count: self.restarts_count,
            padding: self.padding.clone(),
            rows_per_prompt: self.rows_per_prompt,
            caches: caches.collect::<Result<_>>()?,
            seen: self.seen,
        })
    }

    /// Rows: as many for each prompt as [`Self::repeat`] made.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.padding.len()
    }

    /// How many more tokens the language model's positions have room for.
    #[must_use]
    pub fn room(&self) -> usize {
        self.model.language().max_positions() - self.seen
    }

    /// Reads T further tokens of each row, `[rows][T]`, and gives the scores `[rows, T, V]` of the
    /// tokens behind each.
    ///
    /// # Errors
    /// Rows differ in number or length, or reach beyond the model's positions.
    pub fn advance(&mut self, tokens: &[Vec<u32>]) -> Result<Tensor> {
        let length = tokens.first().map_or(0, Vec::len);
        if tokens.len() != self.rows() || tokens.iter().any(|row| row.len() != length) {
            return Err(Error::Input {
                what: "tokens",
                expected: format!("{} rows of equal length", self.rows()),
                found: format!("{} rows", tokens.len()),
            });
        }
        let index = self.image_index_of(tokens);
        let language = self.model.language();
        let positions = Arc::new(language.positions(self.seen, length, &self.padding)?);
        let tokens = Tensor::from_vec(tokens.concat(), (self.rows(), length), &Device::Cpu)?;
        let rows_per_media = self.rows_per_prompt;
        let attended = self
            .media
            .as_ref()
            .map(|media| -> Result<_> {
                let prompts = index.chunks(rows_per_media);
                let index: Vec<Vec<u8>> = prompts.map(<[Vec<u8>]>::concat).collect();
                Ok(Attended {
                    media,
                    mask: self.model.mask(&index, media.images())?,
                    rows_per_media,
                })
            })
            .transpose()?;
        let caches = Some(self.caches.as_mut_slice());
        let nothing = &mut |_, _: &Tensor| {};
        let hidden = self
            .model
            .run(&tokens, &positions, attended.as_ref(), caches, nothing)?;
        self.seen += length;
        language.logits(&hidden)
    }

    /// Takes note of tokens that the reference would read together with the next ones, but whose
    /// row is not among ours any more.
    pub(crate) fn read_beside(&mut self, tokens: &[u32]) {
        let gated = &self.model.config().cross_attention;
        let image = self.model.special_tokens().image;
        self.restarts_count |= gated.written_images_restart_count && tokens.contains(&image);
    }

    /// The images that further tokens of each row belong to.
    fn image_index_of(&mut self, tokens: &[Vec<u32>]) -> Vec<Vec<u8>> {
        for row in tokens {
            self.read_beside(row);
        }
        if std::mem::take(&mut self.restarts_count) {
            let image = self.model.special_tokens().image;
            let rows = tokens.iter().map(|row| last_image_before(row, image));
            let rows: Vec<Vec<u8>> = rows.collect();
            self.image_index = rows.iter().filter_map(|row| row.last().copied()).collect();
            return rows;
        }
        let rows = self.image_index.iter().zip(tokens);
        rows.map(|(index, row)| vec![*index; row.len()]).collect()
    }

    /// Makes `count` rows of each prompt's only row, one behind the other.
    ///
    /// # Errors
    /// Allocation by candle fails.
    pub fn repeat(&mut self, count: usize) -> Result<()> {
        let rows: Vec<usize> = (0..self.rows())
            .flat_map(|row| std::iter::repeat_n(row, count))
            .collect();
        self.reorder(&rows)?;
        self.image_index = rows.iter().map(|row| self.image_index[*row]).collect();
        self.rows_per_prompt *= count;
        Ok(())
    }

    /// Puts in each row's place the row of this number. As many rows of each prompt must stay.
    ///
    /// # Errors
    /// A row is not there.
    pub fn reorder(&mut self, rows: &[usize]) -> Result<()> {
        let is_same = rows.len() == self.rows() && rows.iter().enumerate().all(|(a, b)| a == *b);
        if is_same {
            return Ok(());
        }
        let places = self.indices(rows)?;
        for cache in &mut self.caches {
            *cache = cache.select(&places)?;
        }
        self.padding = rows.iter().map(|row| self.padding[*row]).collect();
        // Rows of a prompt belong to one image, or, where they restart their count, stay with what
        // was counted in their place, as OpenFlamingo's do.
        Ok(())
    }

    /// Goes on with these prompts only, all their rows, in this order.
    ///
    /// # Errors
    /// A prompt is not there.
    pub fn keep(&mut self, prompts: &[usize]) -> Result<()> {
        let count = self.rows_per_prompt;
        let rows = prompts
            .iter()
            .flat_map(|prompt| prompt * count..(prompt + 1) * count);
        let rows: Vec<usize> = rows.collect();
        self.reorder(&rows)?;
        self.image_index = rows.iter().map(|row| self.image_index[*row]).collect();
        let places = self.indices(prompts)?;
        if let Some(media) = &self.media {
            self.media = Some(media.select(&places)?);
        }
        Ok(())
    }

    /// Numbers of rows, where the model computes.
    fn indices(&self, rows: &[usize]) -> Result<Tensor> {
        let rows: Vec<u32> = rows.iter().map(|row| *row as u32).collect();
        let count = rows.len();
        Ok(Tensor::from_vec(
            rows,
            count,
            self.model.compute().device(),
        )?)
    }
}

/// Where a token sees only its own image, further tokens need only the prompt's last one.
fn own_image_only(model: &Flamingo, media: Media, last: Vec<u8>) -> Result<(Media, Vec<u8>)> {
    let gated = &model.config().cross_attention;
    let sees_others = gated.attend != Attend::Own
        || gated.written_images_restart_count
        || gated.text_without_image_averages_all;
    if sees_others || media.images() == 1 {
        return Ok((media, last));
    }
    let images: Vec<usize> = last
        .iter()
        .map(|index| usize::from(index.saturating_sub(1)))
        .collect();
    let media = media.of_images(&images)?;
    Ok((media, last.into_iter().map(|index| index.min(1)).collect()))
}

fn check_prompt(prompt: &[u32], image: u32, images: usize) -> Result<()> {
    if prompt.is_empty() {
        return Err(Error::Input {
            what: "prompt",
            expected: "at least one token".to_owned(),
            found: "none".to_owned(),
        });
    }
    let named = prompt.iter().filter(|token| **token == image).count();
    if named > images {
        return Err(Error::Input {
            what: "prompt",
            expected: format!("at most {images} `<image>`, the pictures given"),
            found: named.to_string(),
        });
    }
    Ok(())
}

/// Logarithms of the probabilities under scores `[.., V]`, row by row.
///
/// # Errors
/// The scores are not f32.
pub fn log_probabilities(scores: &Tensor) -> Result<Vec<Vec<f32>>> {
    let width = scores.dim(D::Minus1)?;
    let rows: Vec<Vec<f32>> = scores.reshape(((), width))?.to_vec2()?;
    Ok(rows.into_iter().map(|row| log_softmax(&row)).collect())
}

fn log_softmax(scores: &[f32]) -> Vec<f32> {
    let most = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    // In f64: a vocabulary is long enough for f32 sums to lose a digit.
    let sum: f64 = scores
        .iter()
        .map(|score| f64::from(score - most).exp())
        .sum();
    let logarithm = sum.ln() as f32;
    scores
        .iter()
        .map(|score| score - most - logarithm)
        .collect()
}
