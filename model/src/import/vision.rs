//! The weights of a vision encoder by themselves.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::Tensor;

use super::read_weights;
use crate::Result;
use crate::config::VisionConfig;
use crate::init::ParameterStore;
use crate::vision::VisionEncoder;

/// How names of a vision encoder begin here.
const PREFIX: &str = "vision_encoder.";

/// Reads the weights of a vision encoder, by their names here: out of a checkpoint of
/// [`ContrastiveTrainer`](crate::ContrastiveTrainer) or [`Trainer`](crate::train::Trainer), or from
/// published files (see [`read_weights`]) under the names of open_clip, timm, or `transformers`' CLIP and
/// SigLIP. What else is there is left alone.
///
/// # Errors
/// There is no such file, one is damaged, or a weight of the encoder is missing or has another
/// shape.
pub fn read_vision(path: &Path, config: &VisionConfig) -> Result<BTreeMap<String, Tensor>> {
    config.validate()?;
    let tensors = named(read_weights(&weights_in(path))?)?;
    let mut store = ParameterStore::from_tensors(tensors, path.display().to_string());
    VisionEncoder::new(config, &mut store, "vision_encoder")?;
    Ok(store.into_parts().0)
}

/// A checkpoint holds its optimiser too, which is as large as the weights.
fn weights_in(path: &Path) -> std::path::PathBuf {
    let model = path.join(crate::train::MODEL_FILE);
    if model.is_file() {
        model
    } else {
        path.to_owned()
    }
}

/// The same tensors by their names here, out of files with the names of open_clip, timm,
/// `transformers` or ours.
pub(super) fn named(tensors: BTreeMap<String, Tensor>) -> Result<BTreeMap<String, Tensor>> {
    let begins = |prefix: &str| tensors.keys().any(|name| name.starts_with(prefix));
    if begins(PREFIX) {
        return Ok(tensors);
    }
    if begins(TRANSFORMERS_PREFIX) {
        return from_transformers(&tensors);
    }
    let name = |name: String| format!("{PREFIX}{}", name.strip_prefix("visual.").unwrap_or(&name));
    Ok(tensors
        .into_iter()
        .map(|(key, tensor)| (name(key), tensor))
        .collect())
}

/// How names of a vision encoder begin in `transformers`' files of CLIP and SigLIP.
const TRANSFORMERS_PREFIX: &str = "vision_model.";

/// Parts of a vision transformer in `transformers` and here (the misspelling is theirs).
const PARTS: [(&str, &str); 6] = [
    ("embeddings.class_embedding", "class_embedding"),
    ("embeddings.patch_embedding", "conv1"),
    (
        "embeddings.position_embedding.weight",
        "positional_embedding",
    ),
    ("pre_layrnorm", "ln_pre"),
    ("post_layernorm", "ln_post"),
    ("encoder.layers", "transformer.resblocks"),
];

/// Parts of a layer in `transformers` and here.
const LAYER_PARTS: [(&str, &str); 5] = [
    ("layer_norm1", "ln_1"),
    ("layer_norm2", "ln_2"),
    ("self_attn.out_proj", "attn.out_proj"),
    ("mlp.fc1", "mlp.c_fc"),
    ("mlp.fc2", "mlp.c_proj"),
];

/// The names in `transformers` of the tensors that one of a vision transformer here is, one on the
/// other.
pub(super) fn in_transformers(name: &str) -> Vec<String> {
    let part = name.strip_prefix(PREFIX).unwrap_or(name);
    let renamed = |name: &str, parts: &[(&str, &str)]| {
        let found = parts.iter().find_map(|(theirs, ours)| {
            let rest = name.strip_prefix(ours)?;
            let is_whole = rest.is_empty() || rest.starts_with('.');
            is_whole.then(|| format!("{theirs}{rest}"))
        });
        found.unwrap_or_else(|| name.to_owned())
    };
    let layer = part
        .strip_prefix("transformer.resblocks.")
        .and_then(|rest| rest.split_once('.'));
    let Some((number, part)) = layer else {
        return vec![format!("{TRANSFORMERS_PREFIX}{}", renamed(part, &PARTS))];
    };
    let layer = format!("{TRANSFORMERS_PREFIX}encoder.layers.{number}");
    match part.strip_prefix("attn.in_proj_") {
        Some(kind) => ["q", "k", "v"]
            .map(|letter| format!("{layer}.self_attn.{letter}_proj.{kind}"))
            .to_vec(),
        None => vec![format!("{layer}.{}", renamed(part, &LAYER_PARTS))],
    }
}

/// Maps to queries, keys and values stand one on the other here. What has no place here, such as
/// SigLIP's attention to one vector, is left out.
fn from_transformers(tensors: &BTreeMap<String, Tensor>) -> Result<BTreeMap<String, Tensor>> {
    let renamed = |name: &str, parts: &[(&str, &str)]| {
        parts.iter().find_map(|(theirs, ours)| {
            let rest = name.strip_prefix(theirs)?;
            let is_whole = rest.is_empty() || rest.starts_with('.');
            is_whole.then(|| format!("{ours}{rest}"))
        })
    };
    let mut named = BTreeMap::new();
    for (name, tensor) in tensors {
        let part = name.strip_prefix(TRANSFORMERS_PREFIX);
        let Some(part) = part.and_then(|part| renamed(part, &PARTS)) else {
            continue;
        };
        let layer = part
            .strip_prefix("transformer.resblocks.")
            .and_then(|rest| rest.split_once('.'));
        let Some((number, part)) = layer else {
            named.insert(format!("{PREFIX}{part}"), tensor.clone());
            continue;
        };
        let layer = format!("{PREFIX}transformer.resblocks.{number}");
        if let Some(part) = renamed(part, &LAYER_PARTS) {
            named.insert(format!("{layer}.{part}"), tensor.clone());
        } else if let Some(kind) = part.strip_prefix("self_attn.q_proj.") {
            let of = |letter: &str| {
                let theirs = format!(
                    "{TRANSFORMERS_PREFIX}encoder.layers.{number}.self_attn.{letter}_proj.{kind}"
                );
                tensors.get(&theirs)
            };
            if let [Some(queries), Some(keys), Some(values)] = ["q", "k", "v"].map(of) {
                let stacked = Tensor::cat(&[queries, keys, values], 0)?;
                named.insert(format!("{layer}.attn.in_proj_{kind}"), stacked);
            }
        }
    }
    Ok(named)
}
