//! What a run writes down of each step.

use std::collections::BTreeMap;

use m3w_shards::WeightedBatch;
use serde::Serialize;

/// One line of `metrics.jsonl`.
#[derive(Debug, Serialize)]
pub(super) struct Metrics<'a> {
    pub(super) step: usize,
    /// The mean of the losses of the step's batches, by weight.
    pub(super) loss: f64,
    /// The loss of each dataset in nats a token, before weighting.
    pub(super) losses: BTreeMap<&'a str, f64>,
    pub(super) gradient_norm: f64,
    pub(super) learning_rate: f64,
    pub(super) mean_gate: f64,
    pub(super) is_skipped: bool,
    /// The rows of a step that was skipped: one of them gave no finite loss.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) skipped_rows: Vec<&'a str>,
}

/// The rows of a step, if it was skipped.
pub(super) fn skipped_rows(is_skipped: bool, batches: &[WeightedBatch]) -> Vec<&str> {
    let rows = batches.iter().flat_map(|batch| &batch.batch.ids);
    rows.filter(|_| is_skipped).map(String::as_str).collect()
}

/// Means of the first and of the last tenth.
pub(super) fn first_and_last(losses: &[f64]) -> Option<(f64, f64)> {
    let count = losses.len().div_ceil(10);
    #[expect(clippy::cast_precision_loss, reason = "a number of steps")]
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
    let first = losses.get(..count).filter(|part| !part.is_empty())?;
    Some((mean(first), mean(&losses[losses.len() - count..])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_are_of_the_first_and_last_tenth() {
        let losses: Vec<f64> = (0..20).map(f64::from).collect();
        assert_eq!(first_and_last(&losses), Some((0.5, 18.5)));
        assert_eq!(first_and_last(&[3.0]), Some((3.0, 3.0)));
        assert_eq!(first_and_last(&[]), None);
    }
}
