//! Sizes and choices of a language model.

use serde::{Deserialize, Serialize};

use crate::config::{Activation, require};
use crate::{Error, Result};

/// A decoder-only language model.
///
/// One description covers all families: they differ in what their weights are called and how those
/// are laid out, which [`Family`] says, and in the values here. For published weights
/// [`LanguageConfig::from_hugging_face`] reads it from the `config.json` beside them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LanguageConfig {
    /// Whose weights these are.
    #[serde(default, skip_serializing_if = "is_default")]
    pub family: Family,
    /// Rows of the embedding table. The tokenizer decides it: leave it out of the file and set it
    /// by [`Config::with_vocabulary`](crate::Config::with_vocabulary).
    #[serde(default)]
    pub vocabulary: usize,
    /// Channels of a token.
    pub width: usize,
    /// Layers.
    pub layers: usize,
    /// Attention heads; divide `width` where `head_dim` is not given.
    pub heads: usize,
    /// Heads of keys and values where they are fewer (Ainslie et al. 2023); divide `heads`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub key_value_heads: Option<usize>,
    /// Channels of a head where they are not `width / heads`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub head_dim: Option<usize>,
    /// Width of the hidden feed-forward layer, as a multiple of `width`.
    #[serde(default = "four")]
    pub feed_forward_multiple: usize,
    /// Width of the hidden feed-forward layer where it is no multiple of `width`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub feed_forward_width: Option<usize>,
    /// The longest sequence, in tokens.
    #[serde(default = "default_positions")]
    pub max_positions: usize,
    /// Base of the rotary wavelengths (10 000 in Su et al. 2021).
    #[serde(default = "default_rotary_base")]
    pub rotary_base: f64,
    /// Channels of a head that turn with the position, where it is not all of them.
    #[serde(default, skip_serializing_if = "is_default")]
    pub rotary_channels: Option<usize>,
    /// Attention scores depend on the distance of two tokens through a learnt map of it (Dai et al.
    /// 2019, as in Chinchilla) instead of turned channels; our own decoder only.
    #[serde(default, skip_serializing_if = "is_default")]
    pub relative_positions: bool,
    /// Positions are divided by this before channels turn (`rope_scaling` of type `linear`).
    #[serde(default, skip_serializing_if = "is_default")]
    pub rotary_stretch: Option<f64>,
    /// The steepest slope of ALiBi is 2 to the minus this over the number of heads (8 in Press et
    /// al. 2022); without it there is no ALiBi.
    #[serde(default, skip_serializing_if = "is_default")]
    pub alibi_bias_max: Option<f64>,
    /// The output layer is the embedding table.
    #[serde(default = "yes")]
    pub tied_output: bool,
    /// The non-linearity of the feed-forward layer; the gate's where there is one.
    #[serde(default, skip_serializing_if = "is_default")]
    pub activation: Activation,
    /// Added under the root of a norm, where it is not 1e-5.
    #[serde(default, skip_serializing_if = "is_default")]
    pub norm_epsilon: Option<f64>,
    /// Attention and feed-forward part read the same input and are summed (Wang and Komatsuzaki
    /// 2021).
    #[serde(default, skip_serializing_if = "is_default")]
    pub parallel_residual: bool,
    /// Norms stand behind the parts instead of before them (OPT-350M).
    #[serde(default, skip_serializing_if = "is_default")]
    pub norms_last: bool,
    /// Which of the layers' linear maps have biases.
    #[serde(default, skip_serializing_if = "is_default")]
    pub biases: Biases,
    /// Layer norm over all channels of queries and of keys (MPT-1B).
    #[serde(default, skip_serializing_if = "is_default")]
    pub query_key_norm: bool,
    /// Queries, keys and values are cut to at most this size.
    #[serde(default, skip_serializing_if = "is_default")]
    pub query_key_value_clip: Option<f64>,
    /// Factor of attention scores where it is not `head_dim^-1/2`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub attention_scale: Option<f64>,
    /// Channels of an embedding row where maps lead from it and back to it (OPT-350M).
    #[serde(default, skip_serializing_if = "is_default")]
    pub embedding_width: Option<usize>,
    /// Low-rank updates beside frozen maps, for fine-tuning; the group `lora` trains them.
    #[serde(default, skip_serializing_if = "is_default")]
    pub lora: Option<LoraConfig>,
}

/// Low-rank updates of a layer's linear maps (Hu et al. 2021, arXiv 2106.09685, section 4.1): a map
/// `W` of `x` gives `W x + alpha / rank * B A x`. `B` begins at zero, and so the model as it was.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoraConfig {
    /// Rows of `A` and columns of `B`.
    pub rank: usize,
    /// What an update counts, times the rank.
    pub alpha: f64,
    /// Which maps have one.
    #[serde(default = "queries_keys_values")]
    pub targets: Vec<LoraTarget>,
}

/// Linear maps of a layer. Maps that a family stores as one have one update together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LoraTarget {
    /// To queries, keys and values.
    QueryKeyValue,
    /// From what attention found back to the width of text.
    AttentionOutput,
    /// All of the feed-forward part.
    FeedForward,
}

fn queries_keys_values() -> Vec<LoraTarget> {
    vec![LoraTarget::QueryKeyValue]
}

/// Whose weights a language model has: their names, and how they are laid out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// Our own, of Chinchilla's type (Hoffmann et al. 2022): RMS norms, rotary positions, GELU, no
    /// biases.
    #[default]
    Chinchilla,
    /// GPT-NeoX, Pythia, RedPajama-INCITE.
    GptNeox,
    /// MPT as in Hugging Face's `transformers` (MPT-7B).
    Mpt,
    /// MPT under the names of MosaicML's own code (MPT-1B).
    MosaicGpt,
    /// OPT.
    Opt,
    /// LLaMA, Mistral, Qwen 2.
    Llama,
    /// GPT-2.
    Gpt2,
    /// GPT-J.
    GptJ,
}

/// Which linear maps of a layer have biases.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Biases {
    /// None has, nor have layer norms.
    #[default]
    None,
    /// All have.
    All,
    /// Those of attention have.
    Attention,
    /// Those to queries, keys and values have.
    QueryKeyValue,
    /// Those of the feed-forward part have.
    FeedForward,
}

impl Biases {
    pub(super) fn on_query_key_value(self) -> bool {
        matches!(self, Self::All | Self::Attention | Self::QueryKeyValue)
    }

    pub(super) fn on_attention_output(self) -> bool {
        matches!(self, Self::All | Self::Attention)
    }

    pub(super) fn on_feed_forward(self) -> bool {
        matches!(self, Self::All | Self::FeedForward)
    }
}

impl LanguageConfig {
    /// Channels of a head.
    #[must_use]
    pub fn head_channels(&self) -> usize {
        self.head_dim.unwrap_or(self.width / self.heads.max(1))
    }

    /// Heads of keys and values.
    #[must_use]
    pub fn key_value_head_count(&self) -> usize {
        self.key_value_heads.unwrap_or(self.heads)
    }

    /// Width of the hidden feed-forward layer.
    #[must_use]
    pub fn feed_forward_channels(&self) -> usize {
        self.feed_forward_width
            .unwrap_or(self.width * self.feed_forward_multiple)
    }

    /// Channels of a head that turn with the position; 0 where positions are told otherwise.
    pub(super) fn turning_channels(&self) -> usize {
        match self.family {
            Family::Mpt | Family::MosaicGpt | Family::Opt | Family::Gpt2 => 0,
            Family::Chinchilla if self.relative_positions => 0,
            Family::Chinchilla | Family::GptNeox | Family::Llama | Family::GptJ => {
                self.rotary_channels.unwrap_or(self.head_channels())
            }
        }
    }

    /// Checks what the types cannot hold.
    pub(crate) fn validate(&self) -> Result<()> {
        // First, so that nothing below counts further than a number goes.
        for (setting, value, most) in [
            ("language.vocabulary", self.vocabulary, MOST_TOKENS),
            ("language.width", self.width, MOST_CHANNELS),
            ("language.layers", self.layers, MOST_LAYERS),
            ("language.heads", self.heads, MOST_CHANNELS),
            (
                "language.head_dim",
                self.head_dim.unwrap_or_default(),
                MOST_CHANNELS,
            ),
            (
                "language.feed_forward_width",
                self.feed_forward_width.unwrap_or_default(),
                MOST_CHANNELS,
            ),
            (
                "language.feed_forward_multiple",
                self.feed_forward_multiple,
                MOST_LAYERS,
            ),
        ] {
            let must = format!("it must be at most {most}");
            require(value <= most, setting, value, &must)?;
        }
        for (setting, value) in [
            ("language.vocabulary", self.vocabulary),
            ("language.width", self.width),
            ("language.layers", self.layers),
            ("language.heads", self.heads),
            ("language.key_value_heads", self.key_value_head_count()),
            ("language.head_dim", self.head_channels()),
            ("language.feed_forward_width", self.feed_forward_channels()),
            ("language.max_positions", self.max_positions),
        ] {
            require(value > 0, setting, value, "it must be at least 1")?;
        }
        require(
            self.head_dim.is_some() || self.width.is_multiple_of(self.heads),
            "language.heads",
            self.heads,
            "it must divide language.width",
        )?;
        let turning = self.turning_channels();
        require(
            turning.is_multiple_of(2) && turning <= self.head_channels(),
            "language.rotary_channels",
            turning,
            "it must be even and at most the channels of a head",
        )?;
        let is_possible = self.family == Family::Chinchilla && self.width.is_multiple_of(2);
        require(
            !self.relative_positions || is_possible,
            "language.relative_positions",
            self.relative_positions,
            "only our own decoder of even width has them",
        )?;
        require(
            self.heads.is_multiple_of(self.key_value_head_count()),
            "language.key_value_heads",
            self.key_value_head_count(),
            "it must divide language.heads",
        )?;
        require(
            self.rotary_base > 1.0 && self.rotary_base.is_finite(),
            "language.rotary_base",
            self.rotary_base,
            "it must be a number above 1",
        )?;
        for (setting, value) in [
            ("language.norm_epsilon", self.norm_epsilon),
            ("language.rotary_stretch", self.rotary_stretch),
            ("language.alibi_bias_max", self.alibi_bias_max),
            ("language.query_key_value_clip", self.query_key_value_clip),
            ("language.attention_scale", self.attention_scale),
        ] {
            let Some(value) = value else { continue };
            let holds = value > 0.0 && value.is_finite();
            require(holds, setting, value, "it must be a number above 0")?;
        }
        let Some(lora) = &self.lora else {
            return Ok(());
        };
        let (rank, alpha) = (lora.rank, lora.alpha);
        require(
            rank > 0 && rank <= self.width,
            "language.lora.rank",
            rank,
            "it must be at least 1 and at most language.width",
        )?;
        require(
            alpha > 0.0 && alpha.is_finite(),
            "language.lora.alpha",
            alpha,
            "it must be a number above 0",
        )?;
        require(
            !lora.targets.is_empty(),
            "language.lora.targets",
            "empty",
            "name at least one of query_key_value, attention_output and feed_forward",
        )
    }
}

/// Most layers: a file that says more was not made for any machine there is, and lists of layers are held.
pub(crate) const MOST_LAYERS: usize = 1 << 12;
/// Most channels, and most heads.
pub(crate) const MOST_CHANNELS: usize = 1 << 20;
/// Most tokens of a vocabulary.
const MOST_TOKENS: usize = 1 << 24;

impl Default for LanguageConfig {
    /// Our own decoder, its sizes still 0.
    fn default() -> Self {
        Self {
            family: Family::default(),
            vocabulary: 0,
            width: 0,
            layers: 0,
            heads: 0,
            key_value_heads: None,
            head_dim: None,
            feed_forward_multiple: four(),
            feed_forward_width: None,
            max_positions: default_positions(),
            rotary_base: default_rotary_base(),
            rotary_channels: None,
            relative_positions: false,
            rotary_stretch: None,
            alibi_bias_max: None,
            tied_output: yes(),
            activation: Activation::default(),
            norm_epsilon: None,
            parallel_residual: false,
            norms_last: false,
            biases: Biases::default(),
            query_key_norm: false,
            query_key_value_clip: None,
            attention_scale: None,
            embedding_width: None,
            lora: None,
        }
    }
}

impl std::str::FromStr for LanguageConfig {
    type Err = Error;

    /// Reads the text of a `config.json`.
    fn from_str(text: &str) -> Result<Self> {
        let value = serde_json::from_str(text).map_err(|cause| Error::Setting {
            setting: "config.json".to_owned(),
            found: "not JSON".to_owned(),
            must: cause.to_string(),
        })?;
        Self::from_hugging_face(&value)
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn four() -> usize {
    4
}

fn default_positions() -> usize {
    2048
}

fn default_rotary_base() -> f64 {
    10_000.0
}

fn yes() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_that_no_machine_holds_are_refused_before_anything_is_counted() {
        let config = |size: usize| LanguageConfig {
            vocabulary: 1000,
            width: 64,
            layers: size,
            heads: 2,
            ..LanguageConfig::default()
        };
        assert!(config(2).validate().is_ok());
        let wide = LanguageConfig {
            width: usize::MAX,
            ..config(2)
        };
        for config in [config(100_000_000_000), wide] {
            let message = config.validate().unwrap_err().to_string();
            assert!(message.contains("it must be at most"), "{message}");
        }
    }
}
