//! What is read from files: weights, checkpoints, pictures.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use candle_core::{D, DType, Tensor};
use m3w_model::{Flamingo, ParameterStore, Picture, Preprocess, read_torch, reference_name};
use serde_json::Value;

use crate::compare::{Bounds, Comparison, OUTPUT};
use crate::flamingo::{load, model, sizes, special_tokens, tensor};
use crate::{Outcome, Tensors};

const EXACT: Bounds = Bounds {
    absolute: 0.0,
    relative: 0.0,
    of_largest: 0.0,
};

/// One step of 8 bits, normalised.
const ONE_STEP: f32 = 0.016;

/// A whole model from its file, under the file's own names.
pub(crate) fn weights(weights: &Path, config: &Value) -> Outcome<Comparison> {
    let tensors = load(weights)?;
    let model = model(weights, config, &[])?;
    let mut comparison = Comparison::default();
    for (name, found) in model.parameters() {
        comparison.add(name, found, tensor(&tensors, name)?, EXACT)?;
    }
    let read: BTreeSet<&str> = model.parameters().keys().map(String::as_str).collect();
    let rest: BTreeSet<&str> = tensors
        .keys()
        .map(String::as_str)
        .filter(|name| !read.contains(name))
        .map(|name| name.rsplit_once(".layers.").map_or(name, |(_, part)| part))
        .map(|name| name.trim_start_matches(|c: char| c.is_ascii_digit()))
        .collect();
    comparison.note = format!("  {} tensors read; not needed: {rest:?}", read.len());
    Ok(comparison)
}

/// A published checkpoint: the trained tensors; the rest comes from the base models. It holds the
/// weights beside it, or what the recorded training steps made of them.
pub(crate) fn checkpoint(
    path: &Path,
    weights: &Path,
    trained: &Path,
    config: &Value,
) -> Outcome<Comparison> {
    let mut merged: BTreeMap<String, Tensor> = load(weights)?.into_iter().collect();
    let trained = if trained.exists() {
        load(trained)?
    } else {
        Tensors::new()
    };
    let sizes = sizes(config)?;
    let mut comparison = Comparison::default();
    let found = read_torch(path)?;
    let count = found.len();
    let (mut as_before, mut as_trained, mut same_norm) = (0, 0, 0);
    for (name, found) in found {
        let name = reference_name(&name, sizes.language.family);
        let before = merged.get(&name);
        let before = before.ok_or_else(|| format!("no `{name}` in the weights"))?;
        let shape = before.dims();
        comparison.require(found.dims() == shape, || format!("{name}: shape {shape:?}"));
        let is_same = (&found - before)?.abs()?.max_all()?.to_scalar::<f32>()? == 0.0;
        if is_same {
            as_before += 1;
        } else if let Some(expected) = trained.get(&format!("expected.final.{name}")) {
            comparison.add(&name, &found, expected, EXACT)?;
            as_trained += 1;
        } else if let Some(norm) = trained.get(&format!("expected.final_norm.{name}")) {
            let found = found.sqr()?.sum_all()?.sqrt()?;
            comparison.add(&format!("norm of {name}"), &found, norm, OUTPUT)?;
            same_norm += 1;
        } else {
            comparison.failures.push(format!("{name}: other values"));
        }
        merged.insert(name, found);
    }
    let store = ParameterStore::from_tensors(merged, path.display().to_string());
    Flamingo::new(&sizes, special_tokens(config), store)?;
    comparison.note = format!(
        "  {count} tensors read: {as_before} as the weights; as after the recorded training \
         {as_trained}, by their norm {same_norm}"
    );
    Ok(comparison)
}

/// Pictures to pixels.
pub(crate) fn pictures(path: &Path, config: &Value) -> Outcome<Comparison> {
    let tensors = load(path)?;
    let channel_values = |name: &str| -> Outcome<[f32; 3]> {
        let values: Vec<f32> = serde_json::from_value(config[name].clone())?;
        Ok(values.as_slice().try_into()?)
    };
    let preprocess = Preprocess {
        side_px: crate::number(config, "size", 224),
        mean: channel_values("mean")?,
        deviation: channel_values("std")?,
        squeezed: false,
    };
    let mut comparison = Comparison::default();
    let (mut count, mut equal) = (0.0, 0.0);
    let mut at = 0;
    while let Some(picture) = tensors.get(&format!("input.{at}.pixels_hwc_u8")) {
        let (height, width, channels) = picture.dims3()?;
        let values: Vec<u8> = picture.flatten_all()?.to_vec1()?;
        let found = preprocess.pixels(Picture {
            values: &values,
            width,
            height,
            channels,
        })?;
        let expected = tensor(&tensors, &format!("expected.{at}.chw_f32"))?;
        let bounds = Bounds {
            absolute: ONE_STEP,
            relative: 0.0,
            of_largest: 0.0,
        };
        comparison.add(&format!("picture {at}"), &found, expected, bounds)?;
        let is_equal = (found - expected)?.abs()?.lt(1e-6)?;
        count += expected.elem_count() as f32;
        equal += is_equal
            .to_dtype(DType::F32)?
            .flatten_all()?
            .sum(D::Minus1)?
            .to_scalar::<f32>()?;
        at += 1;
    }
    let share = equal / count;
    comparison.require(share > 0.99, || {
        format!("only {share} of the values are equal")
    });
    comparison.note = format!("  {share} of the values equal");
    Ok(comparison)
}
