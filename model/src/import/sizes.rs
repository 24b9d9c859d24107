//! Sizes of a model, read from the shapes of its tensors.

use std::collections::BTreeMap;

use candle_core::Tensor;

use crate::config::{
    Activation, Attend, Config, CrossAttentionConfig, NormKind, Placement, ResamplerConfig,
    VisionConfig,
};
use crate::language::{Decoder, LanguageConfig};
use crate::{Error, Result};

/// Channels of a head in OpenFlamingo's new layers and in CLIP's.
const HEAD_DIM: usize = 64;

type Tensors = BTreeMap<String, Tensor>;

/// A vision transformer's sizes from its tensors under `vision_encoder.`, its heads of 64 channels. With
/// a class token its choices are those of OpenAI's CLIP, without one SigLIP's.
///
/// # Errors
/// A tensor is missing or has an impossible shape.
pub fn vision_sizes(tensors: &Tensors) -> Result<VisionConfig> {
    let [width, _, side, _] = shape(tensors, "vision_encoder.conv1.weight")?;
    let [places, _] = shape(tensors, "vision_encoder.positional_embedding")?;
    let first = "vision_encoder.transformer.resblocks.0.mlp.c_fc.weight";
    let [inner, _] = shape(tensors, first)?;
    let has = |name: &str| tensors.contains_key(&format!("vision_encoder.{name}"));
    let class_token = has("class_embedding");
    let patches = places.saturating_sub(usize::from(class_token));
    let grid = (patches as f64).sqrt() as usize;
    let is_whole = inner.is_multiple_of(width.max(1));
    Ok(VisionConfig {
        image_side_px: grid * side,
        width,
        patch_side_px: side,
        layers: count(tensors, "vision_encoder.transformer.resblocks."),
        heads: width / HEAD_DIM,
        // Rounded down, it gives exactly this width again.
        feed_forward_multiple: if is_whole {
            (inner / width.max(1)) as f64
        } else {
            (inner as f64 + 0.5) / width as f64
        },
        activation: if class_token {
            Activation::QuickGelu
        } else {
            Activation::GeluTanh
        },
        class_token,
        keeps_class_token: false,
        patch_bias: has("conv1.bias"),
        norm_before: has("ln_pre.weight"),
        norm_after: false,
        norm_epsilon: (!class_token).then_some(1e-6),
        nfnet: None,
    })
}

/// The sizes of a whole model from tensors under their names here.
pub(super) fn whole(
    tensors: &Tensors,
    mut language: LanguageConfig,
    vision: Option<VisionConfig>,
) -> Result<Config> {
    let vision = match vision {
        Some(vision) => vision,
        None => vision_sizes(tensors)?,
    };
    let [latents, width] = shape(tensors, "perceiver.latents")?;
    let [inner, _] = shape(tensors, "perceiver.layers.0.0.to_q.weight")?;
    let [hidden, _] = shape(tensors, "perceiver.layers.0.1.1.weight")?;
    let frames = tensors.get("perceiver.frame_embs");
    let resampler = ResamplerConfig {
        latents,
        layers: count(tensors, "perceiver.layers."),
        heads: inner / HEAD_DIM,
        head_dim: HEAD_DIM,
        feed_forward_multiple: hidden / width.max(1),
        activation: Activation::Gelu,
        max_frames: frames.map_or(Ok(0), |frames| frames.dim(0))?,
        max_images: 0,
        own_latent_maps: false,
        query_key_norm: false,
    };
    let layers = format!("lang_encoder.{}.", Decoder::layers_path(language.family));
    let first = tensors.keys().filter_map(|name| {
        let (layer, rest) = name.strip_prefix(&layers)?.split_once('.')?;
        rest.starts_with("gated_cross_attn_layer.")
            .then_some(layer)?
            .parse::<usize>()
            .ok()
    });
    let first = first
        .min()
        .ok_or_else(|| missing("the first gated block"))?;
    let block = format!("{layers}{first}.gated_cross_attn_layer");
    let [inner, text_width] = shape(tensors, &format!("{block}.attn.to_q.weight"))?;
    let [hidden, _] = shape(tensors, &format!("{block}.ff.1.weight"))?;
    let cross_attention = CrossAttentionConfig {
        every: first + 1,
        placement: Placement::Last,
        heads: inner / HEAD_DIM,
        head_dim: HEAD_DIM,
        feed_forward_multiple: hidden / text_width.max(1),
        feed_forward_width: None,
        gated_feed_forward: false,
        norm: NormKind::Layer,
        norm_epsilon: None,
        query_key_norm: false,
        gate_per_channel: false,
        activation: Activation::Gelu,
        attend: Attend::Own,
        text_before_images_averages_all: false,
        text_without_image_averages_all: false,
        written_images_restart_count: false,
        reads_text_width: false,
        initial_gate: 0.0,
    };
    // The table has grown by the new tokens.
    let table = format!("{}.weight", Decoder::embeddings_path(language.family));
    let [vocabulary, _] = shape(tensors, &format!("lang_encoder.{table}"))?;
    language.vocabulary = vocabulary;
    Ok(Config {
        vision,
        resampler,
        cross_attention,
        language,
    })
}

/// How many numbers from 0 stand behind `prefix`.
fn count(tensors: &Tensors, prefix: &str) -> usize {
    let numbers = tensors.keys().filter_map(|name| {
        let (number, _) = name.strip_prefix(prefix)?.split_once('.')?;
        number.parse::<usize>().ok()
    });
    numbers.max().map_or(0, |last| last + 1)
}

fn shape<const N: usize>(tensors: &Tensors, name: &str) -> Result<[usize; N]> {
    let tensor = tensors.get(name).ok_or_else(|| missing(name))?;
    tensor.dims().try_into().map_err(|_| Error::Input {
        what: "weights",
        expected: format!("`{name}` with {N} dimensions"),
        found: format!("{:?}", tensor.dims()),
    })
}

fn missing(name: &str) -> Error {
    Error::MissingTensor {
        file: "the files given".to_owned(),
        name: name.to_owned(),
    }
}
