//! How likely given continuations are.

use candle_core::Tensor;

use crate::flamingo::Flamingo;
use crate::generate::{Continuation, log_probabilities};
use crate::{Error, Result};

/// Rows scored at once: enough to fill a matrix product, few enough that their caches stay small.
const ROWS_AT_ONCE: usize = 64;

/// Log-probabilities, in nats, of each token of each of `candidates` behind each of `prompts`:
/// `[prompts][candidates][tokens]`. Prompts and `pixels` are those of
/// [`generate_batch`](crate::generate_batch).
///
/// Prompts are read once, whatever the number of candidates. Memory beyond theirs is that of 64
/// rows of caches and scores, or of one row for each prompt where those are more.
///
/// # Errors
/// A prompt or a candidate is empty or too long, or a prompt names more images than `pixels`
/// holds.
pub fn score_candidates(
    model: &Flamingo,
    prompts: &[Vec<u32>],
    pixels: Option<&Tensor>,
    candidates: &[Vec<u32>],
) -> Result<Vec<Vec<Vec<f32>>>> {
    if prompts.is_empty() {
        return Ok(Vec::new());
    }
    if let Some(empty) = candidates.iter().position(Vec::is_empty) {
        return Err(Error::Input {
            what: "candidates",
            expected: "at least one token in each".to_owned(),
            found: format!("none in number {empty}"),
        });
    }
    let vocabulary = model.config().language.vocabulary;
    if let Some(token) = candidates
        .iter()
        .flatten()
        .find(|token| **token as usize >= vocabulary)
    {
        return Err(Error::Input {
            what: "candidates",
            expected: format!("ids below {vocabulary}, the model's vocabulary"),
            found: format!("id {token}"),
        });
    }
    let (context, scores) = Continuation::start(model, prompts, pixels)?;
    let first = log_probabilities(&scores)?;
    let mut results: Vec<Vec<Vec<f32>>> = first
        .iter()
        .map(|scores| {
            let candidates = candidates.iter();
            candidates
                .map(|tokens| vec![scores[tokens[0] as usize]])
                .collect()
        })
        .collect();
    // Of like length together, so that little is computed for nothing.
    let mut order: Vec<usize> = (0..candidates.len()).collect();
    order.retain(|candidate| candidates[*candidate].len() > 1);
    order.sort_by_key(|candidate| candidates[*candidate].len());
    for chunk in order.chunks((ROWS_AT_ONCE / prompts.len()).max(1)) {
        let length = chunk
            .iter()
            .map(|candidate| candidates[*candidate].len() - 1);
        let length = length.max().unwrap_or_default();
        let pad = model.special_tokens().pad;
        let rows: Vec<Vec<u32>> = (0..prompts.len())
            .flat_map(|_| chunk)
            .map(|candidate| {
                let tokens = &candidates[*candidate];
                let mut row = tokens[..tokens.len() - 1].to_vec();
                // Behind the candidate, where no token of it looks.
                row.resize(length, pad);
                row
            })
            .collect();
        let mut here = context.copy()?;
        here.repeat(chunk.len())?;
        let scores = log_probabilities(&here.advance(&rows)?)?;
        for (row, scores) in scores.chunks(length).enumerate() {
            let candidate = chunk[row % chunk.len()];
            let found = &mut results[row / chunk.len()][candidate];
            let tokens = candidates[candidate].iter().skip(1);
            found.extend(
                tokens
                    .zip(scores)
                    .map(|(token, scores)| scores[*token as usize]),
            );
        }
    }
    Ok(results)
}
