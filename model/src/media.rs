//! What the images of a batch hold for the gated blocks, computed once.

use candle_core::Tensor;

use crate::Result;
use crate::gated_xattn::{GatedBlock, MediaKeysValues};
use crate::media_mask::MediaMask;

/// The keys and values of a batch's images in every gated block.
///
/// Holds 2 * B * N * R * heads * head_dim numbers of four bytes for each block.
#[derive(Clone)]
pub(crate) struct Media {
    /// For each layer with a gated block, the keys and values there.
    keys_values: Vec<Option<MediaKeysValues>>,
    images: usize,
    latents: usize,
}

impl Media {
    /// What `blocks` read from latents `[B, N, R, width]`.
    pub(crate) fn new(blocks: &[Option<GatedBlock>], latents: &Tensor) -> Result<Self> {
        let keys_values = blocks.iter().map(|block| {
            let block = block.as_ref();
            block.map(|block| block.keys_values(latents)).transpose()
        });
        Ok(Self {
            keys_values: keys_values.collect::<Result<_>>()?,
            images: latents.dim(1)?,
            latents: latents.dim(2)?,
        })
    }

    /// Images of each row (N).
    pub(crate) fn images(&self) -> usize {
        self.images
    }

    /// Those of these rows, `[B]` u32.
    pub(crate) fn select(&self, rows: &Tensor) -> Result<Self> {
        self.map(self.images, |keys_values| keys_values.select(rows))
    }

    /// Of each row one image only, by its number from 0.
    pub(crate) fn of_images(&self, images: &[usize]) -> Result<Self> {
        self.map(1, |keys_values| keys_values.of_images(images, self.latents))
    }

    fn map(
        &self,
        images: usize,
        change: impl Fn(&MediaKeysValues) -> Result<MediaKeysValues>,
    ) -> Result<Self> {
        let blocks = self.keys_values.iter();
        Ok(Self {
            keys_values: blocks
                .map(|block| block.as_ref().map(&change).transpose())
                .collect::<Result<_>>()?,
            images,
            latents: self.latents,
        })
    }
}

/// The media that the tokens of one call attend to.
pub(crate) struct Attended<'a> {
    pub(crate) media: &'a Media,
    /// Over `[rows of the media, rows_per_media * T]` tokens.
    pub(crate) mask: MediaMask,
    /// Rows of text that share a row of the media: beams, or candidates.
    pub(crate) rows_per_media: usize,
}

impl Attended<'_> {
    /// What a gated block makes of text `[B, T, width]`.
    pub(crate) fn read(&self, layer: usize, block: &GatedBlock, text: &Tensor) -> Result<Tensor> {
        let keys_values = self.media.keys_values[layer].as_ref();
        let (batch, length, width) = text.dims3()?;
        let rows = batch / self.rows_per_media;
        // Rows of text over the same images are one long text to cross-attention.
        let joined = text.reshape((rows, self.rows_per_media * length, width))?;
        let read = block.forward(&joined, keys_values.map(|media| (media, &self.mask)))?;
        Ok(read.reshape((batch, length, width))?)
    }
}
