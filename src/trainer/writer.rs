//! What the first process of a run writes down.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use m3w_model::train::Trainer;
use m3w_shards::{Dataset, Part, Share, Tokenizer};

use super::config::{RunConfig, TrainFile, named_datasets};
use super::held_out::{Samples, evaluate};
use super::is_due;
use super::record::{Record, StepLine, TimeLine};
use crate::run_directory::RunDirectory;

/// Metrics, evaluations and samples.
pub(super) struct Writer {
    record: Record,
    evaluation: Vec<Dataset>,
    samples: Option<Samples>,
    tokenizer: Arc<Tokenizer>,
    config: RunConfig,
}

impl Writer {
    pub(super) fn open(
        run: &RunDirectory,
        file: &TrainFile,
        datasets: &[Dataset],
        tokenizer: &Arc<Tokenizer>,
        steps: usize,
    ) -> Result<Self> {
        let config = file.run.clone();
        let mut evaluation = named_datasets(&file.evaluation, &file.loader)?;
        for dataset in &mut evaluation {
            dataset.config.part = Part::Whole;
        }
        if config.evaluate_share > 0.0 {
            let own = |dataset: &Dataset| datasets.iter().any(|other| other.name == dataset.name);
            if let Some(dataset) = evaluation.iter().find(|dataset| own(dataset)) {
                bail!(
                    "[[evaluation]] `{}` has the name of a dataset of which run.evaluate_share holds \
                     documents out: give it another",
                    dataset.name
                );
            }
            evaluation.extend(datasets.iter().cloned().map(|mut dataset| {
                dataset.config.part = Part::HeldOut(config.evaluate_share);
                dataset
            }));
        }
        for dataset in &mut evaluation {
            // The first process evaluates alone.
            dataset.config.share = Share::default();
        }
        if config.evaluate_every > 0 && evaluation.is_empty() {
            bail!(
                "run.evaluate_every is set, and there is nothing to evaluate on: give [[evaluation]] \
                 or run.evaluate_share"
            );
        }
        if config.evaluate_every > 0 && config.evaluate_batches == 0 {
            bail!("run.evaluate_every is set, and run.evaluate_batches is 0: set it to 1 or more");
        }
        let of = evaluation.first().unwrap_or(&datasets[0]);
        let samples = match config.sample_every {
            0 => None,
            _ => Some(Samples::choose(run, of, config.samples)?),
        };
        Ok(Self {
            record: Record::open(run, steps)?,
            evaluation,
            samples,
            tokenizer: tokenizer.clone(),
            config,
        })
    }

    pub(super) fn step(&mut self, line: &StepLine, took: Duration, waited: Duration) -> Result<()> {
        let seconds = took.as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "a number of tokens")]
        let tokens = line.tokens as f64;
        let time = TimeLine {
            step: line.step,
            seconds,
            waited_seconds: waited.as_secs_f64(),
            tokens_per_second: tokens / seconds.max(1e-9),
        };
        self.record.step(line, &time)
    }

    /// Evaluates and asks where that is due, and at the end.
    pub(super) fn hold_out(&mut self, trainer: &Trainer, is_last: bool) -> Result<()> {
        let steps = trainer.steps();
        let is_due = |every| every > 0 && (is_last || is_due(steps, every));
        if is_due(self.config.evaluate_every) {
            let batches = self.config.evaluate_batches;
            let line = evaluate(trainer, &self.evaluation, batches, &self.tokenizer)?;
            self.record.evaluation(&line)?;
        }
        if let Some(samples) = &self.samples
            && is_due(self.config.sample_every)
        {
            let lines = samples.ask(trainer, &self.tokenizer)?;
            self.record.samples(&lines)?;
        }
        Ok(())
    }
}
