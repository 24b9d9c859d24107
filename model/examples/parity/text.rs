//! Whole models: what they write, and how they rank.

use std::path::Path;

use candle_core::{Device, Tensor};
use m3w_model::{
    Continuation, Flamingo, GenerateOptions, generate_batch, log_probabilities, score_candidates,
};
use serde_json::Value;

use crate::compare::{Comparison, OUTPUT};
use crate::flamingo::{load, model, rows, tensor};
use crate::{Outcome, Tensors, number};

/// Prompts without the padding before them, and the length with it.
fn prompts(tensors: &Tensors) -> Outcome<(Vec<Vec<u32>>, usize)> {
    let tokens = rows(tensors, "input.lang_x")?;
    let mask = rows(tensors, "input.attention_mask")?;
    let length = tokens[0].len();
    let text = |(row, mask): (Vec<u32>, Vec<u32>)| {
        let kept = row.into_iter().zip(mask).filter(|(_, mask)| *mask != 0);
        kept.map(|(token, _)| token).collect()
    };
    Ok((tokens.into_iter().zip(mask).map(text).collect(), length))
}

pub(crate) fn generate(path: &Path, weights: &Path, config: &Value) -> Outcome<Comparison> {
    let tensors = load(path)?;
    let model = model(weights, config, &[])?;
    let (prompts, length) = prompts(&tensors)?;
    let pixels = tensor(&tensors, "input.vision_x")?;
    let pad = number(config, "pad", 0) as u32;
    let stop = number(config, "eos_token_id", number(config, "eoc", 0)) as u32;
    let mut comparison = Comparison::default();
    let searches = tensors
        .keys()
        .filter_map(|name| name.strip_prefix("expected.")?.strip_suffix(".sequences"));
    for search in searches {
        let (beams, length_penalty) = search_options(search)?;
        let options = GenerateOptions {
            max_new_tokens: number(config, "max_new_tokens", 0),
            beams,
            length_penalty,
            stop_tokens: Some(vec![stop]),
            banned_tokens: Some(vec![]),
            ..GenerateOptions::default()
        };
        let generated = generate_batch(&model, &prompts, Some(pixels), &options, |_, _| {})?;
        let expected = rows(&tensors, &format!("expected.{search}.sequences"))?;
        for (row, (generated, expected)) in generated.iter().zip(&expected).enumerate() {
            let mut found = generated.tokens.clone();
            found.extend(generated.stop);
            // Recorded rows are as long as the longest one.
            found.resize(expected.len() - length, pad);
            let expected = &expected[length..];
            comparison.require(found == expected, || {
                format!("{search}, row {row}: {found:?}, expected {expected:?}")
            });
        }
        let scores: Vec<f32> = generated.iter().map(|row| row.score as f32).collect();
        if let Some(expected) = tensors.get(&format!("expected.{search}.sequences_scores")) {
            let count = scores.len();
            let scores = Tensor::from_vec(scores, count, &Device::Cpu)?;
            comparison.add(&format!("{search}: scores"), &scores, expected, OUTPUT)?;
        }
        if let Some(expected) = tensors.get(&format!("expected.{search}.step_logprobs")) {
            let sequences = rows(&tensors, &format!("expected.{search}.sequences"))?;
            let new = sequences.iter().map(|row| row[length..].to_vec());
            let new: Vec<Vec<u32>> = new.collect();
            steps(
                &mut comparison,
                &model,
                &prompts,
                pixels,
                &new,
                stop,
                expected,
            )?;
        }
    }
    Ok(comparison)
}

/// `greedy`, or `beam3_lp1` for three beams under a length penalty of 1.
fn search_options(name: &str) -> Outcome<(usize, f64)> {
    if name == "greedy" {
        return Ok((1, 0.0));
    }
    let parts = name
        .strip_prefix("beam")
        .and_then(|rest| rest.split_once("_lp"));
    let (beams, penalty) = parts.ok_or_else(|| format!("unknown search `{name}`"))?;
    Ok((beams.parse()?, penalty.parse()?))
}

/// The whole distribution at each step, the recorded tokens fed one by one. A row counts up to its
/// stop token.
fn steps(
    comparison: &mut Comparison,
    model: &Flamingo,
    prompts: &[Vec<u32>],
    pixels: &Tensor,
    new: &[Vec<u32>],
    stop: u32,
    expected: &Tensor,
) -> Outcome<()> {
    let expected: Vec<Vec<Vec<f32>>> = expected.to_vec3()?;
    let (mut continuation, scores) = Continuation::start(model, prompts, Some(pixels))?;
    let mut scores = log_probabilities(&scores)?;
    let (mut found_steps, mut expected_steps) = (Vec::new(), Vec::new());
    for step in 0..new[0].len() {
        for (row, tokens) in new.iter().enumerate() {
            if !tokens[..step].contains(&stop) {
                found_steps.extend_from_slice(&scores[row]);
                expected_steps.extend_from_slice(&expected[row][step]);
            }
        }
        if step + 1 < new[0].len() {
            let fed: Vec<Vec<u32>> = new.iter().map(|tokens| vec![tokens[step]]).collect();
            scores = log_probabilities(&continuation.advance(&fed)?)?;
        }
    }
    let count = found_steps.len();
    let found = Tensor::from_vec(found_steps, count, &Device::Cpu)?;
    let expected = Tensor::from_vec(expected_steps, count, &Device::Cpu)?;
    comparison.add("log-probabilities of steps", &found, &expected, OUTPUT)
}

pub(crate) fn rank(path: &Path, weights: &Path, config: &Value) -> Outcome<Comparison> {
    let tensors = load(path)?;
    let model = model(weights, config, &[])?;
    let (prompts, _) = prompts(&tensors)?;
    let pixels = tensor(&tensors, "input.vision_x")?;
    let mut candidates = Vec::new();
    while let Some(candidate) = tensors.get(&format!("input.candidate.{}", candidates.len())) {
        let tokens: Vec<i64> = candidate.to_vec1()?;
        let tokens = tokens.into_iter().map(u32::try_from);
        candidates.push(tokens.collect::<Result<Vec<u32>, _>>()?);
    }
    let scores = score_candidates(&model, &prompts, Some(pixels), &candidates)?;
    let mut comparison = Comparison::default();
    for (at, candidate) in candidates.iter().enumerate() {
        let tokens: Vec<Vec<f32>> = scores.iter().map(|row| row[at].clone()).collect();
        let sums: Vec<f32> = tokens.iter().map(|row| row.iter().sum()).collect();
        let count = candidate.len() as f32;
        let means: Vec<f32> = sums.iter().map(|sum| sum / count).collect();
        let found = [
            ("token_logprobs", Tensor::new(tokens, &Device::Cpu)?),
            ("sum", Tensor::new(sums, &Device::Cpu)?),
            ("mean", Tensor::new(means, &Device::Cpu)?),
        ];
        for (what, found) in found {
            let name = format!("expected.candidate.{at}.{what}");
            comparison.add(&name, &found, tensor(&tensors, &name)?, OUTPUT)?;
        }
    }
    Ok(comparison)
}
