//! Whole models: what a few training steps make of them.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use m3w_model::train::{Schedule, TrainConfig, Trainer};
use m3w_model::{Inputs, chunk_targets};
use serde_json::Value;

use crate::compare::{Comparison, OUTPUT, TRAINED};
use crate::flamingo::{TRAINABLE, load, model, rows, special_tokens, tensor};
use crate::{Outcome, Tensors, compute, number};

/// Which tokens of a row are targets under a recorded label rule.
pub(crate) fn targets(rule: &str, row: &[u32], config: &Value) -> Vec<u8> {
    let special = special_tokens(config);
    match rule {
        "interleaved" => chunk_targets(row, &special),
        _ => row
            .iter()
            .map(|token| u8::from(*token != special.pad && *token != special.image))
            .collect(),
    }
}

pub(crate) fn train(path: &Path, weights: &Path, config: &Value) -> Outcome<Comparison> {
    let tensors = load(path)?;
    let settings = &config["train"];
    let value = |name: &str, default: f64| settings[name].as_f64().unwrap_or(default);
    let steps = number(settings, "steps", 0);
    let schedule = match settings["schedule"].as_str().unwrap_or("constant") {
        "constant" => Schedule::Constant,
        "linear" => Schedule::Linear,
        "cosine" => Schedule::Cosine,
        other => return Err(format!("unknown schedule `{other}`").into()),
    };
    let options = TrainConfig {
        trainable: TRAINABLE.to_vec(),
        gradient_checkpointing: false,
        learning_rate: value("lr", 1e-4),
        warmup_steps: number(settings, "warmup", 0),
        schedule,
        schedule_steps: steps,
        weight_decay: value("weight_decay", 0.1),
        decay_norms_and_gates: true,
        clip_norm: value("clip", 1.0),
        betas: [0.9, 0.999],
        epsilon: 1e-8,
    };
    let before = model(weights, config, &[])?;
    let mut trainer = Trainer::new(model(weights, config, &[])?, options)?;
    let mut reports = Vec::new();
    for step in 0..steps {
        let pair = inputs(&tensors, step, "pair", config)?;
        let interleaved = inputs(&tensors, step, "interleaved", config)?;
        reports.push(trainer.step(&[
            (&pair, value("pair_multiplier", 1.0)),
            (&interleaved, value("interleaved_multiplier", 1.0)),
        ])?);
    }
    let mut comparison = Comparison::default();
    let column = |read: &dyn Fn(usize) -> f64| -> Outcome<Tensor> {
        let values: Vec<f32> = (0..steps).map(|step| read(step) as f32).collect();
        Ok(Tensor::from_vec(values, steps, &Device::Cpu)?)
    };
    for (name, found, bounds) in [
        (
            "loss_pair",
            column(&|step| reports[step].losses[0])?,
            TRAINED,
        ),
        (
            "loss_interleaved",
            column(&|step| reports[step].losses[1])?,
            TRAINED,
        ),
        (
            "grad_norm_before_clip",
            column(&|step| reports[step].gradient_norm)?,
            TRAINED,
        ),
        ("lr", column(&|step| reports[step].learning_rate)?, OUTPUT),
    ] {
        let expected = tensor(&tensors, &format!("expected.{name}"))?;
        comparison.add(name, &found, &expected.to_dtype(DType::F32)?, bounds)?;
    }
    let parameters = trainer.model().parameters();
    let has_distances = has_distances(&tensors, before.parameters())?;
    if !has_distances {
        comparison.note = "  (recorded distances are all 0, recorded tensors moved: distances not \
                           compared)"
            .to_owned();
    }
    for (name, expected) in &tensors {
        let find = |name: &str| parameters.get(name).ok_or_else(|| format!("no `{name}`"));
        let norm = |tensor: &Tensor| tensor.sqr()?.sum_all()?.sqrt();
        let found = if name == "expected.final.embedding_rows_image_eoc" {
            let special = trainer.model().special_tokens();
            let rows = [special.image, special.end_of_chunk];
            let rows = Tensor::new(&rows, compute().device())?;
            let table = parameters
                .iter()
                .find(|(name, _)| m3w_model::Group::of(name) == m3w_model::Group::Embeddings);
            let (_, table) = table.ok_or("no embeddings")?;
            table.index_select(&rows, 0)?
        } else if let Some(name) = name.strip_prefix("expected.final.") {
            find(name)?.clone()
        } else if let Some(name) = name.strip_prefix("expected.final_norm.") {
            norm(find(name)?)?
        } else if let Some(name) = name.strip_prefix("expected.final_delta_norm.")
            && has_distances
        {
            norm(&(find(name)? - &before.parameters()[name])?)?
        } else {
            continue;
        };
        comparison.add(name, &found, expected, TRAINED)?;
    }
    Ok(comparison)
}

/// Whether the recorded distances travelled are such: a recorder that compares a tensor with itself
/// writes zeros, beside tensors that did move.
fn has_distances(tensors: &Tensors, before: &BTreeMap<String, Tensor>) -> Outcome<bool> {
    let mut distances = tensors
        .iter()
        .filter(|(name, _)| name.starts_with("expected.final_delta_norm."));
    if distances.any(|(_, distance)| distance.to_scalar::<f32>().is_ok_and(|norm| norm != 0.0)) {
        return Ok(true);
    }
    for (name, after) in tensors {
        let before = name
            .strip_prefix("expected.final.")
            .and_then(|name| before.get(name));
        let Some(before) = before else { continue };
        let moved = (after - before.to_device(after.device())?)?
            .abs()?
            .max_all()?
            .to_scalar::<f32>()?;
        if moved > 0.0 {
            return Ok(false);
        }
    }
    Ok(true)
}

fn inputs(tensors: &Tensors, step: usize, rule: &str, config: &Value) -> Outcome<Inputs> {
    let prefix = format!("input.step{step}.{rule}");
    let tokens = rows(tensors, &format!("{prefix}.lang_x"))?;
    let size = (tokens.len(), tokens[0].len());
    let counted: Vec<u8> = tokens
        .iter()
        .flat_map(|row| targets(rule, row, config))
        .collect();
    Ok(Inputs::new(
        Tensor::from_vec(tokens.concat(), size, &Device::Cpu)?,
        None,
        tensor(tensors, &format!("{prefix}.vision_x"))?.clone(),
        Some(Tensor::from_vec(counted, size, &Device::Cpu)?),
    )?)
}
