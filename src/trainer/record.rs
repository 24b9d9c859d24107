//! What a run writes down while it goes on.
//!
//! Lines of JSON, which a run that goes on cuts back to its checkpoint: each step stands in them
//! once. What depends on the machine (`times.jsonl`) is kept from what does not. The same numbers go
//! into event files for TensorBoard.

use std::collections::BTreeMap;

use anyhow::Result;
use serde::{Deserialize, Deserializer, Serialize};

use super::events::Events;
use crate::run_directory::RunDirectory;
use crate::step_lines::StepLines;

/// One line of `metrics.jsonl`: a step.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct StepLine {
    /// Its number, from 1.
    pub(crate) step: usize,
    /// The mean of the losses of the step's batches, by weight.
    #[serde(deserialize_with = "number")]
    pub(crate) loss: f64,
    /// The loss of each dataset in nats a token, before weighting.
    #[serde(deserialize_with = "numbers")]
    pub(crate) losses: BTreeMap<String, f64>,
    #[serde(deserialize_with = "number")]
    pub(crate) gradient_norm: f64,
    #[serde(deserialize_with = "number")]
    pub(crate) learning_rate: f64,
    #[serde(deserialize_with = "number")]
    pub(crate) mean_gate: f64,
    /// How far the two gates of each gated block are open, by its layer: attention, feed-forward.
    #[serde(default, deserialize_with = "pairs")]
    pub(crate) gates: BTreeMap<usize, [f32; 2]>,
    /// Tokens whose prediction the losses are the mean of.
    #[serde(default)]
    pub(crate) tokens: usize,
    pub(crate) is_skipped: bool,
    /// The rows of a step that was skipped: one of them gave no finite loss.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) skipped_rows: Vec<String>,
}

// JSON has no word for what is not finite: it is written as `null`, and read as NaN.

fn number<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or(f64::NAN))
}

fn numbers<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, f64>, D::Error> {
    let found = BTreeMap::<String, Option<f64>>::deserialize(from)?.into_iter();
    Ok(found
        .map(|(name, value)| (name, value.unwrap_or(f64::NAN)))
        .collect())
}

fn pairs<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<usize, [f32; 2]>, D::Error> {
    let found = BTreeMap::<usize, [Option<f32>; 2]>::deserialize(from)?.into_iter();
    Ok(found
        .map(|(layer, pair)| (layer, pair.map(|value| value.unwrap_or(f32::NAN))))
        .collect())
}

/// One line of `times.jsonl`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct TimeLine {
    pub(crate) step: usize,
    /// From the end of the step before.
    pub(crate) seconds: f64,
    /// Of these, those in which the model waited for the loader.
    pub(crate) waited_seconds: f64,
    pub(crate) tokens_per_second: f64,
}

/// One line of `evaluation.jsonl`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct EvaluationLine {
    pub(crate) step: usize,
    /// Loss in nats a token, by dataset.
    #[serde(deserialize_with = "numbers")]
    pub(crate) losses: BTreeMap<String, f64>,
}

/// One line of `samples.jsonl`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct SampleLine {
    pub(crate) step: usize,
    /// The picture, below the run's directory.
    pub(crate) picture: String,
    /// What the corpus says behind it.
    pub(crate) expected: String,
    /// What the model says.
    pub(crate) generated: String,
}

/// The files of a run that grow.
pub(super) struct Record {
    steps: StepLines,
    times: StepLines,
    evaluations: StepLines,
    samples: StepLines,
    events: Events,
}

impl Record {
    /// Goes on behind the first `steps` steps: what was written of later ones is taken again.
    pub(super) fn open(run: &RunDirectory, steps: usize) -> Result<Self> {
        let open = |name: &str| StepLines::open(run.path(name), steps);
        Ok(Self {
            steps: open("metrics.jsonl")?,
            times: open("times.jsonl")?,
            evaluations: open("evaluation.jsonl")?,
            samples: open("samples.jsonl")?,
            events: Events::create(&run.path("events"), steps)?,
        })
    }

    pub(super) fn step(&mut self, line: &StepLine, time: &TimeLine) -> Result<()> {
        self.steps.write(line)?;
        self.times.write(time)?;
        let mut values = vec![
            ("loss".to_owned(), line.loss),
            ("gradient_norm".to_owned(), line.gradient_norm),
            ("learning_rate".to_owned(), line.learning_rate),
            ("tokens_per_second".to_owned(), time.tokens_per_second),
        ];
        let losses = line.losses.iter();
        values.extend(losses.map(|(name, loss)| (format!("loss/{name}"), *loss)));
        for (layer, [attention, feed_forward]) in &line.gates {
            let gates = [("attention", attention), ("feed_forward", feed_forward)];
            values.extend(
                gates.map(|(which, gate)| (format!("gates/{layer}/{which}"), f64::from(*gate))),
            );
        }
        self.scalars(line.step, &values)
    }

    pub(super) fn evaluation(&mut self, line: &EvaluationLine) -> Result<()> {
        self.evaluations.write(line)?;
        let losses = line.losses.iter();
        let values: Vec<_> = losses
            .map(|(name, loss)| (format!("evaluation/{name}"), *loss))
            .collect();
        self.scalars(line.step, &values)
    }

    pub(super) fn samples(&mut self, lines: &[SampleLine]) -> Result<()> {
        for line in lines {
            self.samples.write(line)?;
            self.events
                .text(line.step, &line.picture, &line.generated)?;
        }
        self.events.flush()
    }

    fn scalars(&mut self, step: usize, values: &[(String, f64)]) -> Result<()> {
        let values = values.iter().map(|(name, value)| (name.as_str(), *value));
        self.events.scalars(step, values)?;
        self.events.flush()
    }
}

/// Means of the first and of the last tenth.
pub(crate) fn first_and_last(losses: &[f64]) -> Option<(f64, f64)> {
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
    fn what_was_not_finite_is_read_again() {
        let line = StepLine {
            step: 2,
            loss: f64::NAN,
            losses: BTreeMap::from([("m3w".to_owned(), f64::INFINITY), ("align".to_owned(), 2.5)]),
            gradient_norm: f64::NAN,
            gates: BTreeMap::from([(1, [f32::NAN, 0.5])]),
            is_skipped: true,
            ..StepLine::default()
        };
        let read: StepLine = serde_json::from_str(&serde_json::to_string(&line).unwrap()).unwrap();
        assert!(read.loss.is_nan() && read.gradient_norm.is_nan());
        assert!(read.losses["m3w"].is_nan());
        assert_eq!((read.losses["align"], read.gates[&1][1]), (2.5, 0.5));
        let evaluation = r#"{"step": 3, "losses": {"m3w": null}}"#;
        let evaluation: EvaluationLine = serde_json::from_str(evaluation).unwrap();
        assert!(evaluation.losses["m3w"].is_nan());
    }

    #[test]
    fn means_are_of_the_first_and_last_tenth() {
        let losses: Vec<f64> = (0..20).map(f64::from).collect();
        assert_eq!(first_and_last(&losses), Some((0.5, 18.5)));
        assert_eq!(first_and_last(&[3.0]), Some((3.0, 3.0)));
        assert_eq!(first_and_last(&[]), None);
    }
}
