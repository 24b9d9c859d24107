//! The first weights of a run: drawn from its seed, or those of a model that is there already.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use candle_core::Tensor;
use m3w_model::train::{Checkpoint, Trainer};
use m3w_model::{Compute, Flamingo, ParameterStore, VisionConfig, read_vision, read_weights};
use m3w_shards::{SpecialIds, Tokenizer};

use super::config::TrainFile;
use super::special_tokens;

/// The sizes that a configuration leaves to the model which it starts from.
///
/// # Errors
///
/// If the model's own sizes cannot be read.
pub(super) fn model_of(directory: &Path) -> Result<m3w_model::Config> {
    let checkpoint = Checkpoint::read(&directory.join("checkpoint"));
    let checkpoint = checkpoint.with_context(|| {
        format!(
            "cannot start from {}: give the --out of an `m3w train` or an `m3w import`",
            directory.display()
        )
    })?;
    Ok(checkpoint.model)
}

/// A trainer before its first step.
///
/// # Errors
///
/// If the configuration cannot be built, or the model that is started from has another tokenizer,
/// another shape, or parts that the configuration has no place for.
pub(super) fn first_trainer(
    file: &TrainFile,
    tokenizer: &Tokenizer,
    compute: &Compute,
) -> Result<Trainer> {
    let seed = file.run.seed;
    let special = special_tokens(&tokenizer.special_ids());
    let placed = |store: ParameterStore| store.on(compute).trainable(&file.train.trainable);
    let mut weights = BTreeMap::new();
    let mut origins = Vec::new();
    if let Some(directory) = &file.initial.model {
        check_tokenizer(directory, tokenizer)?;
        let path = directory.join("checkpoint/model.safetensors");
        weights.extend(read_weights(&path)?);
        origins.push(path.display().to_string());
    }
    if let Some(path) = &file.initial.vision {
        weights.extend(vision_weights(path, &file.model.vision)?);
        origins.push(path.display().to_string());
    }
    if origins.is_empty() {
        let store = placed(ParameterStore::seeded(seed));
        let model = Flamingo::new(&file.model, special, store)?;
        return Ok(Trainer::new(model, file.train.clone())?);
    }
    let origin = origins.join(" and ");
    let names: Vec<String> = weights.keys().cloned().collect();
    let store = ParameterStore::from_tensors(weights, origin.clone());
    store.check_finite()?;
    let model = Flamingo::new(&file.model, special, placed(store.or_seeded(seed)))?;
    let parameters = model.parameters();
    let without_place: Vec<&String> = names
        .iter()
        .filter(|name| !parameters.contains_key(*name))
        .collect();
    if let Some(first) = without_place.first() {
        bail!(
            "{} of the {} tensors in {origin} have no place in [model], `{first}` first: make it the \
             model that they are from, or leave [model] out",
            without_place.len(),
            names.len()
        );
    }
    tracing::info!(
        "starting from {origin}: {} tensors taken, {} drawn from the seed",
        names.len(),
        parameters.len() - names.len()
    );
    Ok(Trainer::new(model, file.train.clone())?)
}

/// The vision encoder of a run or of published weights.
fn vision_weights(path: &Path, config: &VisionConfig) -> Result<BTreeMap<String, Tensor>> {
    let checkpoint = path.join("checkpoint");
    let place = match checkpoint.is_dir() {
        true => &checkpoint,
        false => path,
    };
    read_vision(place, config).context("cannot begin with the weights of `initial.vision`")
}

/// Token ids mean what they meant to the model.
fn check_tokenizer(directory: &Path, tokenizer: &Tokenizer) -> Result<()> {
    let path = directory.join("tokenizer.json");
    let own = Tokenizer::from_file(&path)?;
    let ids = |tokenizer: &Tokenizer| -> SpecialIds { tokenizer.special_ids() };
    ensure!(
        own.sha256() == tokenizer.sha256() && ids(&own) == ids(tokenizer),
        "the corpus was built with another tokenizer than the model that is started from: build it \
         with --tokenizer {}",
        path.display()
    );
    Ok(())
}
