//! Sizes of the two encoders, and how they are trained.

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::config::{VisionConfig, require};
use crate::train::{Rates, Schedule};

/// Two encoders and the space they share.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContrastiveConfig {
    /// Channels of the space that pictures and captions are mapped to; 1376 in the paper.
    pub joint_width: usize,
    /// The picture encoder, as in a [`Config`](crate::Config).
    pub vision: VisionConfig,
    /// The encoder of captions.
    pub text: TextConfig,
}

/// A text encoder of BERT's type (Devlin et al. 2019, arXiv 1810.04805): every token sees every other,
/// learnt positions, a norm behind each part. BERT's second table, of which of two sentences a
/// token is in, has no use here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextConfig {
    /// Channels of a token; 768 in BERT-base.
    pub width: usize,
    /// Layers; 12 in BERT-base.
    pub layers: usize,
    /// Attention heads, which divide `width`; 12 in BERT-base.
    pub heads: usize,
    /// Tokens of a caption that are read; what goes beyond is left out.
    pub max_tokens: usize,
    /// Width of the hidden feed-forward layer, as a multiple of `width`.
    #[serde(default = "four")]
    pub feed_forward_multiple: usize,
    /// Tokens in the vocabulary; that of the tokenizer.
    #[serde(default)]
    pub vocabulary: usize,
}

fn four() -> usize {
    4
}

impl ContrastiveConfig {
    /// The same with `vocabulary` rows in the table of tokens.
    #[must_use]
    pub fn with_vocabulary(mut self, vocabulary: usize) -> Self {
        self.text.vocabulary = vocabulary;
        self
    }

    /// Checks what the types cannot hold.
    ///
    /// # Errors
    /// [`Error::Setting`](crate::Error::Setting) names the first setting that cannot be built.
    pub fn validate(&self) -> Result<()> {
        let text = &self.text;
        for (setting, value) in [
            ("joint_width", self.joint_width),
            ("text.width", text.width),
            ("text.layers", text.layers),
            ("text.heads", text.heads),
            ("text.max_tokens", text.max_tokens),
            ("text.feed_forward_multiple", text.feed_forward_multiple),
            ("text.vocabulary", text.vocabulary),
        ] {
            require(value > 0, setting, value, "it must be at least 1")?;
        }
        require(
            text.width.is_multiple_of(text.heads),
            "text.heads",
            text.heads,
            "it must divide text.width",
        )?;
        self.vision.validate()
    }
}

/// How the encoders are trained. Defaults are the paper's, but for the number of steps that the
/// learning rate falls over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PretrainConfig {
    /// Learning rate after the warm-up.
    pub learning_rate: f64,
    /// Steps over which the rate rises linearly from 0.
    pub warmup_steps: usize,
    /// What becomes of the rate after that.
    pub schedule: Schedule,
    /// The step at which a falling rate reaches 0; 1.2 million in the paper.
    pub schedule_steps: usize,
    /// The share of the target that is spread evenly over the batch.
    pub label_smoothing: f64,
    /// What similarities are divided by at the start. It is learnt, and stays at 0.01 or above (as
    /// in CLIP, Radford et al. 2021, section 2.5; its first value is 0.07).
    pub temperature: f64,
    /// The gradient of each output unit of an NFNet is scaled down to this share of the norm of the
    /// unit's weights (Brock et al. 2021, section 3).
    pub adaptive_clip: f64,
    /// The gradient of all that is not clipped by unit is scaled down to this norm.
    pub clip_norm: f64,
    /// Decay of matrices per step, times the learning rate. The paper names none.
    pub weight_decay: f64,
    /// Averaging of the gradient and of its square.
    pub betas: [f64; 2],
    /// Added to the root of the averaged square.
    pub epsilon: f64,
}

impl Default for PretrainConfig {
    fn default() -> Self {
        Self {
            learning_rate: 1e-3,
            warmup_steps: 0,
            schedule: Schedule::Constant,
            schedule_steps: 0,
            label_smoothing: 0.1,
            temperature: 0.07,
            adaptive_clip: 0.01,
            clip_norm: 10.0,
            weight_decay: 0.0,
            betas: [0.9, 0.999],
            epsilon: 1e-8,
        }
    }
}

impl PretrainConfig {
    pub(super) fn rates(&self) -> Rates {
        Rates {
            learning_rate: self.learning_rate,
            warmup_steps: self.warmup_steps,
            schedule: self.schedule,
            schedule_steps: self.schedule_steps,
        }
    }

    /// Checks what the types cannot hold.
    ///
    /// # Errors
    /// [`Error::Setting`](crate::Error::Setting) names the first setting that makes no sense.
    pub fn validate(&self) -> Result<()> {
        for (setting, value) in [
            ("train.learning_rate", self.learning_rate),
            ("train.temperature", self.temperature),
            ("train.adaptive_clip", self.adaptive_clip),
            ("train.clip_norm", self.clip_norm),
            ("train.epsilon", self.epsilon),
        ] {
            let holds = value > 0.0 && value.is_finite();
            require(holds, setting, value, "it must be above 0")?;
        }
        for (setting, value) in [
            ("train.label_smoothing", self.label_smoothing),
            ("train.betas", self.betas[0]),
            ("train.betas", self.betas[1]),
        ] {
            let holds = (0.0..1.0).contains(&value);
            require(holds, setting, value, "it must lie in [0, 1)")?;
        }
        let holds = self.weight_decay >= 0.0 && self.weight_decay.is_finite();
        let decay = self.weight_decay;
        require(holds, "train.weight_decay", decay, "it must be at least 0")?;
        require(
            self.schedule == Schedule::Constant || self.schedule_steps > self.warmup_steps,
            "train.schedule_steps",
            self.schedule_steps,
            "it must exceed train.warmup_steps where the rate falls",
        )
    }
}
