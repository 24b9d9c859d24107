//! The parts of a model that are trained or frozen, each as one.

use serde::{Deserialize, Serialize};

/// How names of embedding tables end. An output table of its own belongs to the language model, as in
/// OpenFlamingo; that of our decoder, whose rows for `<image>` and `<EOC>` nobody trained before,
/// is one of them.
const EMBEDDINGS: [&str; 4] = [
    ".embed_tokens.weight",
    ".embed_in.weight",
    ".wte.weight",
    ".model.lm_head.weight",
];

/// A part of the model that is trained or frozen as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Group {
    /// The vision encoder.
    Vision,
    /// The Perceiver Resampler.
    Resampler,
    /// The gated cross-attention blocks.
    GatedXattn,
    /// The embedding rows of `<image>` and `<EOC>`; every row where `language` is trained too.
    Embeddings,
    /// The language model's own layers and its output layer.
    Language,
    /// Low-rank updates beside the language model's maps, where it has them.
    Lora,
}

impl Group {
    /// All groups, in the order a picture meets them.
    pub const ALL: [Self; 6] = [
        Self::Vision,
        Self::Resampler,
        Self::GatedXattn,
        Self::Embeddings,
        Self::Language,
        Self::Lora,
    ];

    /// The group a parameter belongs to, by its name.
    #[must_use]
    pub fn of(name: &str) -> Self {
        if name.starts_with("vision_encoder.") {
            Self::Vision
        } else if name.starts_with("perceiver.") {
            Self::Resampler
        } else if name.contains(".gated_cross_attn_layer.") {
            Self::GatedXattn
        } else if name.contains(".lora_") {
            Self::Lora
        } else if EMBEDDINGS.iter().any(|ending| name.ends_with(ending)) {
            Self::Embeddings
        } else {
            Self::Language
        }
    }

    /// The name in configurations.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Vision => "vision",
            Self::Resampler => "resampler",
            Self::GatedXattn => "gated_xattn",
            Self::Embeddings => "embeddings",
            Self::Language => "language",
            Self::Lora => "lora",
        }
    }
}
