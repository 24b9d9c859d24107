//! The whole model: pictures through encoder and resampler, text through the language model with
//! a gated block before some of its layers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use candle_core::{DType, Tensor, Var};

use crate::Result;
use crate::compute::Compute;
use crate::config::Config;
use crate::gated_xattn::GatedBlock;
use crate::group::Group;
use crate::init::ParameterStore;
use crate::inputs::Inputs;
use crate::language::{Decoder, LanguageModel, LayerCache, Positions};
use crate::linear::Linear;
use crate::loss::cross_entropy;
use crate::media::{Attended, Media};
use crate::media_mask::{MediaMask, seen_images};
use crate::recomputed::RecomputedLayer;
use crate::resampler::Resampler;
use crate::special_tokens::SpecialTokens;
use crate::table::Table;
use crate::vision::VisionEncoder;

/// Where the language model stands among the parameters.
const LANGUAGE_PREFIX: &str = "lang_encoder.";

/// The map from latents to the width of text.
const LATENT_MAP: &str = "lang_encoder.gated_cross_attn_layer.latent_map";

/// A Flamingo.
///
/// Holds each parameter once, on the device it computes on. Inputs may lie anywhere. All state of a
/// call lives in its arguments, so calls from several threads do not disturb each other.
pub struct Flamingo {
    config: Config,
    special: SpecialTokens,
    compute: Compute,
    parameters: BTreeMap<String, Tensor>,
    variables: BTreeMap<String, Var>,
    vision: VisionEncoder,
    resampler: Resampler,
    /// From latents to the width of text, where the gated blocks read that.
    latent_map: Option<Linear>,
    /// One place for each layer of the language model.
    gated_blocks: Vec<Option<GatedBlock>>,
    language: Arc<dyn LanguageModel>,
    /// Layers of the language model keep no activations for the backward pass.
    recomputes: bool,
}

/// A place in the forward pass, shown by [`Flamingo::forward_observed`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Behind the gated block that stands before this layer, `[B, L, width]`.
    GatedBlock(usize),
    /// Behind this layer of the language model, `[B, L, width]`.
    Layer(usize),
}

impl Flamingo {
    /// Builds a model, all of it frozen; a [`crate::train::Trainer`] makes variables of the groups
    /// it trains.
    ///
    /// # Errors
    /// The configuration cannot be built, or the store does not hold what it asks for.
    pub fn new(
        config: &Config,
        special: SpecialTokens,
        mut parameters: ParameterStore,
    ) -> Result<Self> {
        config.validate()?;
        special.check(config.language.vocabulary)?;
        let store = &mut parameters;
        let vision = VisionEncoder::new(&config.vision, store, "vision_encoder")?;
        let width = config.vision.width;
        let resampler = Resampler::new(&config.resampler, width, store, "perceiver.")?;
        let language = Decoder::new(&config.language, store, LANGUAGE_PREFIX)?;
        let text_width = config.language.width;
        let latent_map = config
            .cross_attention
            .reads_text_width
            .then(|| Linear::without_bias(store, LATENT_MAP, [text_width, width], 1.0))
            .transpose()?;
        let media_width = latent_map.as_ref().map_or(width, |_| text_width);
        let gated_layers = config.gated_layers();
        let path = Decoder::layers_path(config.language.family);
        let gated_blocks = (0..config.language.layers)
            .map(|layer| {
                let prefix = format!("{LANGUAGE_PREFIX}{path}.{layer}.gated_cross_attn_layer.");
                let widths = [text_width, media_width];
                gated_layers
                    .contains(&layer)
                    .then(|| GatedBlock::new(&config.cross_attention, widths, store, &prefix))
                    .transpose()
            })
            .collect::<Result<_>>()?;
        let compute = parameters.compute().clone();
        let (parameters, variables) = parameters.into_parts();
        Ok(Self {
            config: config.clone(),
            special,
            compute,
            parameters,
            variables,
            vision,
            resampler,
            latent_map,
            gated_blocks,
            language: Arc::new(language),
            recomputes: false,
        })
    }

    /// The same weights, those of `groups` as variables with gradients and all others frozen.
    ///
    /// # Errors
    /// The model computes in 16 bits, and the weights of a group were rounded to them when it was built.
    pub(crate) fn with_trainable(self, groups: &[Group]) -> Result<Self> {
        let rows = self.special.trained_rows();
        let store = ParameterStore::from_tensors(self.parameters, "model")
            .trainable(groups)
            .rows_alone(&rows)
            .on(&self.compute);
        store.check_unrounded()?;
        Self::new(&self.config, self.special, store)
    }

    /// Writes rows of embedding tables that are trained alone into their tables; to be called when they
    /// have changed.
    pub(crate) fn write_trained_rows(&self) -> Result<()> {
        for (name, variable) in &self.variables {
            match self.parameters.get(name) {
                Some(table) if table.dims() != variable.dims() => {
                    Table::write(table, &self.special.trained_rows(), variable)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The same model, whose language model's layers are computed again in the backward pass instead
    /// of being kept for it. They must be frozen.
    pub(crate) fn recomputing(mut self) -> Self {
        self.recomputes = true;
        self
    }

    /// The sizes it was built with.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The token ids it was built with.
    #[must_use]
    pub fn special_tokens(&self) -> &SpecialTokens {
        &self.special
    }

    /// Where it computes.
    #[must_use]
    pub fn compute(&self) -> &Compute {
        &self.compute
    }

    /// Every parameter by its name.
    #[must_use]
    pub fn parameters(&self) -> &BTreeMap<String, Tensor> {
        &self.parameters
    }

    /// The parameters that are trained, by name.
    #[must_use]
    pub fn variables(&self) -> &BTreeMap<String, Var> {
        &self.variables
    }

    /// For each gated block, by its layer: how far its attention gate and its feed-forward gate
    /// are open (tanh of the gate).
    ///
    /// # Errors
    /// A gate cannot be read.
    pub fn gate_openings(&self) -> Result<Vec<(usize, [f32; 2])>> {
        let blocks = self.gated_blocks.iter().enumerate();
        blocks
            .filter_map(|(layer, block)| Some((layer, block.as_ref()?)))
            .map(|(layer, block)| Ok((layer, block.openings()?)))
            .collect()
    }

    /// Latents `[M, latents, vision width]` of M pictures or clips `[M, F, 3, H, W]`, where the model
    /// computes.
    ///
    /// # Errors
    /// The pictures have another size than the encoder.
    pub fn encode_images(&self, pixels: &Tensor) -> Result<Tensor> {
        let (count, frames, channels, height, width) = pixels.dims5()?;
        let pictures = pixels.reshape((count * frames, channels, height, width))?;
        let pictures = self.compute.take(&pictures)?;
        let tokens = self.vision.forward(&pictures)?; // [M * F, patches, width]
        let (_, patches, width) = tokens.dims3()?;
        let tokens = tokens.reshape((1, count, frames, patches, width))?;
        Ok(self.resampler.forward(&tokens)?.squeeze(0)?)
    }

    /// What the frozen vision encoder says of M pictures or clips `[M, F, 3, H, W]` as a whole: the
    /// mean over frames and patches, brought to length 1, `[M, vision width]`. Pictures alike have a
    /// product near 1; so examples for a prompt are found that are like its picture (RICES, Yang et
    /// al. 2022).
    ///
    /// # Errors
    /// The pictures have another size than the encoder.
    pub fn vision_features(&self, pixels: &Tensor) -> Result<Tensor> {
        let (count, frames, channels, height, width) = pixels.dims5()?;
        let pictures = pixels.reshape((count * frames, channels, height, width))?;
        let pictures = self.compute.take(&pictures)?;
        let tokens = self.vision.forward(&pictures)?; // [M * F, patches, width]
        let tokens = tokens.to_dtype(DType::F32)?;
        let (_, patches, width) = tokens.dims3()?;
        let means = tokens.reshape((count, frames * patches, width))?.mean(1)?; // [M, width]
        let lengths = means.sqr()?.sum_keepdim(1)?.sqrt()?; // [M, 1]
        Ok(means.broadcast_div(&(lengths + 1e-12)?)?)
    }

    /// Scores over the vocabulary, `[B, L, V]` f32, where the model computes.
    ///
    /// # Errors
    /// The inputs do not fit the configuration.
    pub fn forward(&self, inputs: &Inputs) -> Result<Tensor> {
        self.language.logits(&self.hidden(inputs)?)
    }

    /// Mean cross entropy over the targets of `inputs`, in nats; a scalar, 0 where there is no
    /// target. Scores are computed only where a target is predicted.
    ///
    /// # Errors
    /// The inputs do not fit the configuration.
    pub fn loss(&self, inputs: &Inputs) -> Result<Tensor> {
        self.loss_of(inputs, Tensor::clone)
    }

    /// As [`Self::loss`], without what a backward pass would need of the scores.
    pub(crate) fn loss_alone(&self, inputs: &Inputs) -> Result<Tensor> {
        self.loss_of(inputs, Tensor::detach)
    }

    fn loss_of(&self, inputs: &Inputs, kept: impl Fn(&Tensor) -> Tensor) -> Result<Tensor> {
        let (positions, targets) = inputs.targets(&self.special)?;
        if targets.is_empty() {
            return cross_entropy(&Tensor::zeros_like(&inputs.pixels)?, &targets);
        }
        let hidden = self.hidden(inputs)?.flatten(0, 1)?; // [B * L, width]
        let count = positions.len();
        let positions = Tensor::from_vec(positions, count, hidden.device())?;
        let hidden = hidden.index_select(&positions, 0)?; // [T, width]
        Ok(self.language.losses(&kept(&hidden), &targets)?.mean_all()?)
    }

    /// As [`Self::forward`], handing every intermediate result to `observe`.
    ///
    /// # Errors
    /// The inputs do not fit the configuration.
    pub fn forward_observed(
        &self,
        inputs: &Inputs,
        mut observe: impl FnMut(Place, &Tensor),
    ) -> Result<Tensor> {
        self.language
            .logits(&self.hidden_observed(inputs, &mut observe)?)
    }

    /// The last layer's output, `[B, L, width]`.
    fn hidden(&self, inputs: &Inputs) -> Result<Tensor> {
        self.hidden_observed(inputs, &mut |_, _| {})
    }

    fn hidden_observed(
        &self,
        inputs: &Inputs,
        observe: &mut dyn FnMut(Place, &Tensor),
    ) -> Result<Tensor> {
        let image_index = inputs.image_indices(&self.special)?;
        let media = self.media(&inputs.pixels, &image_index)?;
        let (_, length) = inputs.size();
        let positions = Arc::new(self.language.positions(0, length, &[])?);
        let attended = Attended {
            media: &media,
            mask: self.mask(&image_index, media.images())?,
            rows_per_media: 1,
        };
        self.run(&inputs.tokens, &positions, Some(&attended), None, observe)
    }

    /// What the gated blocks read from pixels `[B, N, F, 3, H, W]`. Slots that no token of these
    /// image indices attends to are not encoded: their latents are zeros that nothing reads.
    pub(crate) fn media(&self, pixels: &Tensor, image_index: &[Vec<u8>]) -> Result<Media> {
        let (batch, images) = (pixels.dim(0)?, pixels.dim(1)?);
        let gated = &self.config.cross_attention;
        let used: BTreeSet<usize> = image_index
            .iter()
            .enumerate()
            .flat_map(|(row, index)| {
                let distinct: BTreeSet<usize> = index.iter().map(|i| usize::from(*i)).collect();
                distinct.into_iter().flat_map(move |index| {
                    seen_images(index, images, gated).map(move |image| row * images + image)
                })
            })
            .collect();
        let (latents, width) = (self.config.resampler.latents, self.config.vision.width);
        let device = self.compute.device();
        let nothing = Tensor::zeros((1, latents, width), self.compute.dtype(), device)?;
        let slots = batch * images;
        let (known, place) = if used.is_empty() {
            (nothing, vec![0_u32; slots])
        } else {
            let chosen: Vec<u32> = used.iter().map(|slot| *slot as u32).collect();
            let chosen = Tensor::from_vec(chosen, used.len(), pixels.device())?;
            let pixels = pixels.flatten(0, 1)?.index_select(&chosen, 0)?;
            let encoded = self.encode_images(&pixels)?; // [used, R, width]
            let mut place = vec![used.len() as u32; slots];
            for (at, slot) in used.iter().enumerate() {
                place[*slot] = at as u32;
            }
            (Tensor::cat(&[encoded, nothing], 0)?, place)
        };
        let place = Tensor::from_vec(place, slots, device)?;
        let latents = known
            .index_select(&place, 0)?
            .reshape((batch, images, latents, width))?;
        let latents = match &self.latent_map {
            Some(map) => map.forward(&latents)?,
            None => latents,
        };
        Media::new(&self.gated_blocks, &latents)
    }

    /// The mask for image indices `[B][T]` over `images` images.
    pub(crate) fn mask(&self, image_index: &[Vec<u8>], images: usize) -> Result<MediaMask> {
        let gated = &self.config.cross_attention;
        let mask = MediaMask::new(image_index, images, self.config.resampler.latents, gated)?;
        mask.to_device(self.compute.device())
    }

    /// Tokens `[B, T]` to the last layer's output `[B, T, width]`.
    pub(crate) fn run(
        &self,
        tokens: &Tensor,
        positions: &Arc<Positions>,
        attended: Option<&Attended<'_>>,
        mut caches: Option<&mut [LayerCache]>,
        observe: &mut dyn FnMut(Place, &Tensor),
    ) -> Result<Tensor> {
        let mut hidden = self.language.embed(tokens, positions)?;
        for (layer, block) in self.gated_blocks.iter().enumerate() {
            if let Some(block) = block {
                hidden = match attended {
                    Some(attended) => attended.read(layer, block, &hidden)?,
                    None => block.forward(&hidden, None)?,
                };
                observe(Place::GatedBlock(layer), &hidden);
            }
            let cache = caches.as_deref_mut().map(|caches| &mut caches[layer]);
            hidden = if self.recomputes && cache.is_none() && hidden.track_op() {
                hidden.contiguous()?.apply_op1(RecomputedLayer {
                    language: Arc::clone(&self.language),
                    layer,
                    positions: Arc::clone(positions),
                })?
            } else {
                self.language.layer(layer, &hidden, positions, cache)?
            };
            observe(Place::Layer(layer), &hidden);
        }
        Ok(hidden)
    }

    /// The language model, for scores of single positions.
    pub(crate) fn language(&self) -> &dyn LanguageModel {
        self.language.as_ref()
    }
}
