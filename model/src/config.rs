//! Sizes and choices of a model, read from TOML.
//!
//! One set of modules covers three houses. The `openflamingo` setting is what the published
//! checkpoints use: exact GELU everywhere, 8 heads of 64, gated blocks before layers n-1, 2n-1, …
//! The `paper` setting follows Alayrac et al. 2022 (arXiv 2204.14198, appendix A.1): squared ReLU
//! in the new layers and the first gated block before layer 0. Idefics' (Laurençon et al. 2023, arXiv
//! 2306.16527) has blocks of LLaMA's kind. They differ only in values here.

mod vision;

use serde::{Deserialize, Serialize};

use crate::language::{LanguageConfig, MOST_CHANNELS, MOST_LAYERS};
use crate::{Error, Result};

pub use vision::{NfnetConfig, VisionConfig};

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
    /// The queries and the keys of each head pass a layer norm over its channels, as in Idefics.
    #[serde(default, skip_serializing_if = "is_false")]
    pub query_key_norm: bool,
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
    /// Width of the hidden feed-forward layer where it is no multiple of that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub feed_forward_width: Option<usize>,
    /// What passes the non-linearity comes out of a map of its own and multiplies the hidden layer, as
    /// in LLaMA and Idefics.
    #[serde(default, skip_serializing_if = "is_false")]
    pub gated_feed_forward: bool,
    /// `gelu` in OpenFlamingo, `squared_relu` in the paper, `silu` in Idefics.
    #[serde(default)]
    pub activation: Activation,
    /// What stands before both parts; `root_mean_square` in Idefics.
    #[serde(default, skip_serializing_if = "is_layer_norm")]
    pub norm: NormKind,
    /// Added under the root of a norm, where it is not 1e-5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub norm_epsilon: Option<f64>,
    /// The queries and the keys of each head pass a norm of that kind over its channels, as in Idefics.
    #[serde(default, skip_serializing_if = "is_false")]
    pub query_key_norm: bool,
    /// Gates are numbers for each channel of text instead of one for all.
    #[serde(default, skip_serializing_if = "is_false")]
    pub gate_per_channel: bool,
    /// Which images a text token sees.
    #[serde(default)]
    pub attend: Attend,
    /// Compatibility with checkpoints trained under `attend = "all_previous"` in OpenFlamingo,
    /// where text before the first image averages over every image of the row, later ones
    /// included. False, our rule: such text attends to nothing.
    #[serde(default)]
    pub text_before_images_averages_all: bool,
    /// Compatibility with `transformers` before 4.36, where in Idefics all text that belongs to no image
    /// averages over every slot of its row, empty ones included. False, our rule: such text attends to
    /// nothing.
    #[serde(default, skip_serializing_if = "is_false")]
    pub text_without_image_averages_all: bool,
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

impl CrossAttentionConfig {
    /// Width of the hidden feed-forward layer beside text of `width` channels.
    #[must_use]
    pub fn feed_forward_channels(&self, width: usize) -> usize {
        let multiple = width * self.feed_forward_multiple;
        self.feed_forward_width.unwrap_or(multiple)
    }
}

/// How channels are brought to one scale.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NormKind {
    /// To mean 0 and variance 1, then scaled and shifted.
    #[default]
    Layer,
    /// Divided by their root mean square, then scaled (Zhang and Sennrich 2019).
    RootMeanSquare,
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

fn is_layer_norm(kind: &NormKind) -> bool {
    *kind == NormKind::Layer
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
        // Before products of these are taken, and lists of so many made.
        language.validate()?;
        for (setting, value, most) in [
            ("resampler.latents", resampler.latents, MOST_CHANNELS),
            ("resampler.layers", resampler.layers, MOST_LAYERS),
            ("resampler.heads", resampler.heads, MOST_CHANNELS),
            ("resampler.head_dim", resampler.head_dim, MOST_CHANNELS),
            ("cross_attention.heads", gated.heads, MOST_CHANNELS),
            ("cross_attention.head_dim", gated.head_dim, MOST_CHANNELS),
            ("vision.layers", vision.layers, MOST_LAYERS),
            ("vision.width", vision.width, MOST_CHANNELS),
        ] {
            let must = format!("it must be at most {most}");
            require(value <= most, setting, value, &must)?;
        }
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
            (
                "cross_attention.feed_forward_width",
                gated.feed_forward_channels(language.width.max(1)),
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
        let epsilon = gated.norm_epsilon.unwrap_or(1e-5);
        require(
            epsilon > 0.0 && epsilon.is_finite(),
            "cross_attention.norm_epsilon",
            epsilon,
            "it must be a number above 0",
        )?;
        vision.validate()?;
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
