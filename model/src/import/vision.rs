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
/// published files (see [`read_weights`]) under open_clip's or timm's names. What else is there is left
/// alone.
///
/// # Errors
/// There is no such file, one is damaged, or a weight of the encoder is missing or has another
/// shape.
pub fn read_vision(path: &Path, config: &VisionConfig) -> Result<BTreeMap<String, Tensor>> {
    config.validate()?;
    let tensors = named(read_weights(&weights_in(path))?);
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

/// The same tensors by their names here.
fn named(tensors: BTreeMap<String, Tensor>) -> BTreeMap<String, Tensor> {
    let is_ours = tensors.keys().any(|name| name.starts_with(PREFIX));
    if is_ours {
        return tensors;
    }
    let name = |name: String| format!("{PREFIX}{}", name.strip_prefix("visual.").unwrap_or(&name));
    tensors
        .into_iter()
        .map(|(key, tensor)| (name(key), tensor))
        .collect()
}
