//! Sizes and choices of a model, read from TOML.
//!
//! One set of modules covers two houses. The `openflamingo` setting is what the published
//! checkpoints use: exact GELU everywhere, 8 heads of 64, gated blocks before layers n-1, 2n-1, …
//! The `paper` setting follows Alayrac et al. 2022 (arXiv 2204.14198, appendix A.1): squared ReLU
//! in the new layers and the first gated block before layer 0. They differ only in values here.

use serde::{Deserialize, Serialize};

use crate::language::LanguageConfig;
use crate::{Error, Result};

/// A whole model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The picture encoder.
    pub vision: VisionConfig,
    /// The Perceiver Resampler.
    pub resampler: ResamplerConfig,
    /// The gated blocks between the language model's layers.
    pub cross_attention: CrossAttentionConfig,
    /// The language model.
    pub language: LanguageConfig,
}

/// The picture encoder: a CLIP-type vision transformer (Radford et al. 2021), or an NFNet (Brock et
/// al. 2021) where `nfnet` is given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VisionConfig {
    /// Side of the square picture, in pixels.
    pub image_side_px: usize,
    /// Channels of a patch token.
    pub width: usize,
    /// Side of a square patch, in pixels. What is over at the picture's right and lower edge is not
    /// looked at.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub patch_side_px: usize,
    /// Transformer layers.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub layers: usize,
    /// Attention heads; divide `width`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub heads: usize,
    /// Width of the hidden feed-forward layer, as a multiple of `width`, rounded down.
    #[serde(default = "four_times")]
    pub feed_forward_multiple: f64,
    /// `quick_gelu` for OpenAI's weights, `gelu` for most of open_clip's.
    #[serde(default)]
    pub activation: Activation,
    /// Whether a class token takes part in attention (dropped from the result), as in CLIP. SigLIP has
    /// none.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub class_token: bool,
    /// Whether the map of patches has a bias, as in SigLIP.
    #[serde(default, skip_serializing_if = "is_false")]
    pub patch_bias: bool,
    /// Whether a norm stands before the first layer, as in CLIP. SigLIP has none.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub norm_before: bool,
    /// Whether the norm behind the last layer is applied to patch tokens. OpenFlamingo's models were
    /// trained without.
    #[serde(default, skip_serializing_if = "is_false")]
    pub norm_after: bool,
    /// Added under the root of a norm; 1e-5, as in CLIP, where it is not given. 1e-6 in SigLIP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub norm_epsilon: Option<f64>,
    /// Sizes of an NFNet; patches, layers and heads are not given then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nfnet: Option<NfnetConfig>,
}

/// An NFNet-F (Brock et al. 2021, table 1), up to its last stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NfnetConfig {
    /// Blocks in each stage: 1, 2, 6 and 3 times one more than the F's number.
    pub depths: Vec<usize>,
    /// Channels of each stage; the last is `width`.
    #[serde(default = "nfnet_widths")]
    pub widths: Vec<usize>,
    /// Channels of the stem's last convolution, an eighth, a quarter and half of them before.
    #[serde(default = "nfnet_stem_width")]
    pub stem_width: usize,
    /// Channels of a group in the 3 x 3 convolutions.
    #[serde(default = "nfnet_group_width")]
    pub group_width: usize,
}

impl NfnetConfig {
    /// F0 to F6.
    #[must_use]
    pub fn f(number: usize) -> Self {
        Self {
            depths: [1, 2, 6, 3].map(|depth| depth * (number + 1)).to_vec(),
            widths: nfnet_widths(),
            stem_width: nfnet_stem_width(),
            group_width: nfnet_group_width(),
        }
    }
}

fn nfnet_widths() -> Vec<usize> {
    vec![256, 512, 1536, 1536]
}

fn nfnet_stem_width() -> usize {
    128
}

fn nfnet_group_width() -> usize {
    128
}

fn four_times() -> f64 {
    4.0
}

impl VisionConfig {
    /// Width of a transformer's hidden feed-forward layer.
    #[must_use]
    pub fn feed_forward_channels(&self) -> usize {
        (self.width as f64 * self.feed_forward_multiple) as usize
    }

    /// Tokens that come of one picture.
    #[must_use]
    pub fn tokens(&self) -> usize {
        let side = match &self.nfnet {
            None => self.image_side_px / self.patch_side_px.max(1),
            // The stem halves twice, each stage but the first once more, rounding up.
            Some(nfnet) => {
                (0..nfnet.depths.len() + 1).fold(self.image_side_px, |side, _| side.div_ceil(2))
            }
        };
        side * side
    }

    pub(crate) fn validate(&self) -> Result<()> {
        require(
            self.image_side_px > 0 && self.width > 0,
            "vision.width",
            self.width,
            "it and vision.image_side_px must be at least 1",
        )?;
        if let Some(nfnet) = &self.nfnet {
            let fits = nfnet.widths.len() == nfnet.depths.len()
                && nfnet.widths.last() == Some(&self.width)
                && nfnet
                    .depths
                    .iter()
                    .chain(&nfnet.widths)
                    .all(|size| *size > 0);
            require(
                fits && nfnet.stem_width >= 8,
                "vision.nfnet.widths",
                format!("{:?}", nfnet.widths),
                "there must be one for each of vision.nfnet.depths, the last vision.width, and a \
                 stem of 8 channels or more",
            )?;
            let group = nfnet.group_width;
            let fits = nfnet
                .widths
                .iter()
                .all(|width| group > 0 && width / 2 >= group);
            return require(
                fits,
                "vision.nfnet.group_width",
                group,
                "it must be at least 1 and at most half of each of vision.nfnet.widths",
            );
        }
        for (setting, value) in [
            ("vision.patch_side_px", self.patch_side_px),
            ("vision.layers", self.layers),
            ("vision.heads", self.heads),
        ] {
            require(value > 0, setting, value, "it must be at least 1")?;
        }
        require(
            self.feed_forward_multiple.is_finite() && self.feed_forward_channels() > 0,
            "vision.feed_forward_multiple",
            self.feed_forward_multiple,
            "it must leave a hidden layer of at least one channel",
        )?;
        require(
            self.patch_side_px <= self.image_side_px,
            "vision.patch_side_px",
            self.patch_side_px,
            "it must be at most vision.image_side_px",
        )?;
        let epsilon = self.norm_epsilon.unwrap_or(1e-5);
        require(
            epsilon > 0.0 && epsilon.is_finite(),
            "vision.norm_epsilon",
            epsilon,
            "it must be above 0",
        )?;
        require(
            self.width.is_multiple_of(self.heads),
            "vision.heads",
            self.heads,
            "it must divide vision.width",
        )
    }
}

/// The Perceiver Resampler: any number of patch tokens in, `latents` tokens out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResamplerConfig {
    /// Output tokens per image or clip (R; 64 in the paper).
    pub latents: usize,
    /// Layers (6 in the paper).
    pub layers: usize,
    /// Attention heads (8 in OpenFlamingo, 16 in the paper).
    pub heads: usize,
    /// Channels of a head (64 in OpenFlamingo, 96 in the paper).
    pub head_dim: usize,
    /// Width of the hidden feed-forward layer, as a multiple of the vision width.
    #[serde(default = "four")]
    pub feed_forward_multiple: usize,
    /// `gelu` in OpenFlamingo, `squared_relu` in the paper.
    #[serde(default)]
    pub activation: Activation,
    /// How many frames have a learnt time embedding (8 in the paper); 0 for none, which fits
    /// still pictures. A clip of more frames gets them interpolated linearly.
    #[serde(default)]
    pub max_frames: usize,
    /// How many images of a row have a learnt embedding of their number; 0 for none, as in every
    /// published checkpoint.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub max_images: usize,
    /// Patches and latents have maps to keys and values of their own, instead of one for both. The
    /// paper does not say which; its 194M parameters have room for both.
    #[serde(default, skip_serializing_if = "is_false")]
    pub own_latent_maps: bool,
}

/// The gated cross-attention blocks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CrossAttentionConfig {
    /// A gated block stands before every n-th layer.
    pub every: usize,
    /// Which of n layers gets it.
    #[serde(default)]
    pub placement: Placement,
    /// Attention heads (8 in OpenFlamingo).
    pub heads: usize,
    /// Channels of a head (64 in OpenFlamingo, 128 in the paper).
    pub head_dim: usize,
    /// Width of the hidden feed-forward layer, as a multiple of the language model's width.
    #[serde(default = "four")]
    pub feed_forward_multiple: usize,
    /// `gelu` in OpenFlamingo, `squared_relu` in the paper.
    #[serde(default)]
    pub activation: Activation,
    /// Which images a text token sees.
    #[serde(default)]
    pub attend: Attend,
    /// Compatibility with checkpoints trained under `attend = "all_previous"` in OpenFlamingo,
    /// where text before the first image averages over every image of the row, later ones
    /// included. False, our rule: such text attends to nothing.
    #[serde(default)]
    pub text_before_images_averages_all: bool,
    /// Compatibility with OpenFlamingo where the model itself writes an `<image>`: all rows that are
    /// written together count images anew from there, so that a row which wrote one goes on with
    /// the prompt's first picture and the others with none. False, our rule: what is written
    /// belongs to the prompt's last image.
    #[serde(default, skip_serializing_if = "is_false")]
    pub written_images_restart_count: bool,
    /// Latents are mapped to the language model's width once, and the blocks read the result. Not
    /// so in OpenFlamingo; the paper's parameter counts have keys and values of that width.
    #[serde(default, skip_serializing_if = "is_false")]
    pub reads_text_width: bool,
    /// What the gates begin at, before tanh. 0, as in the paper, leaves a pretrained language model
    /// as it was; where nothing is pretrained there is nothing to protect, and with open gates
    /// pictures are learned from as early as words.
    #[serde(default)]
    pub initial_gate: f64,
}

/// Where gated blocks stand among the language model's layers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Placement {
    /// Before layers 0, n, 2n, … as in the paper.
    First,
    /// Before layers n-1, 2n-1, … as in OpenFlamingo.
    #[default]
    Last,
}

/// Which images a text token attends to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Attend {
    /// Only the one its image index names, as in the paper.
    #[default]
    Own,
    /// That one and all before it.
    AllPrevious,
}

/// The non-linearity of a feed-forward layer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// `x * Phi(x)` with the exact error function.
    #[default]
    Gelu,
    /// GELU with the distribution approximated by tanh, as in GPT-2's released code.
    GeluTanh,
    /// `x * sigmoid(1.702 x)`, OpenAI's CLIP.
    QuickGelu,
    /// `max(x, 0)`.
    Relu,
    /// `x * sigmoid(x)`.
    Silu,
    /// `max(x, 0)^2` (So et al. 2021), the paper's new layers.
    SquaredRelu,
}

fn yes() -> bool {
    true
}

fn is_true(value: &bool) -> bool {
    *value
}

fn is_zero(value: &usize) -> bool {
    *value == 0
}

fn is_false(value: &bool) -> bool {
    !value
}

fn four() -> usize {
    4
}

impl Config {
    /// The same model with `vocabulary` rows in its embedding table.
    #[must_use]
    pub fn with_vocabulary(mut self, vocabulary: usize) -> Self {
        self.language.vocabulary = vocabulary;
        self
    }

    /// Layers of the language model that a gated block stands before, ascending.
    #[must_use]
    pub fn gated_layers(&self) -> Vec<usize> {
        let every = self.cross_attention.every;
        (0..self.language.layers)
            .filter(|layer| match self.cross_attention.placement {
                Placement::First => layer % every == 0,
                Placement::Last => (layer + 1) % every == 0,
            })
            .collect()
    }

    /// Checks what the types cannot hold.
    ///
    /// # Errors
    /// [`Error::Setting`] names the first setting that cannot be built.
    pub fn validate(&self) -> Result<()> {
        let (vision, resampler) = (&self.vision, &self.resampler);
        let (gated, language) = (&self.cross_attention, &self.language);
        for (setting, value) in [
            ("resampler.latents", resampler.latents),
            ("resampler.layers", resampler.layers),
            ("resampler.heads", resampler.heads),
            ("resampler.head_dim", resampler.head_dim),
            (
                "resampler.feed_forward_multiple",
                resampler.feed_forward_multiple,
            ),
            ("cross_attention.every", gated.every),
            ("cross_attention.heads", gated.heads),
            ("cross_attention.head_dim", gated.head_dim),
            (
                "cross_attention.feed_forward_multiple",
                gated.feed_forward_multiple,
            ),
        ] {
            require(value > 0, setting, value, "it must be at least 1")?;
        }
        require(
            gated.initial_gate.is_finite(),
            "cross_attention.initial_gate",
            gated.initial_gate,
            "it must be a number",
        )?;
        vision.validate()?;
        language.validate()?;
        require(
            resampler.max_images == 0,
            "resampler.max_images",
            resampler.max_images,
            "it must be 0 in a whole model, where images of a row are encoded one by one",
        )?;
        require(
            gated.every <= language.layers,
            "cross_attention.every",
            gated.every,
            "it must not exceed language.layers, or no layer sees an image",
        )
    }
}

pub(crate) fn require(holds: bool, setting: &str, found: impl ToString, must: &str) -> Result<()> {
    if holds {
        return Ok(());
    }
    Err(Error::Setting {
        setting: setting.to_owned(),
        found: found.to_string(),
        must: must.to_owned(),
    })
}
