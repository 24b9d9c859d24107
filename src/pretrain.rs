//! Pairs to a pretrained vision encoder: pictures and captions in, checkpoints and retrieval out.
//!
//! A run's directory is that of [`crate::trainer`] with `pretrain.toml` in place of `train.toml`, and
//! `retrieval.json`: how the encoders of the newest checkpoint find held-out pairs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use candle_core::{Device, Tensor};
use m3w_model::{
    Compute, ContrastiveConfig, ContrastiveTrainer, DeviceName, Pairs, Precision, PretrainConfig,
    Retrieval,
};
use m3w_shards::{
    Batch, LoaderConfig, Mixture, Schedule, SpecialIds, WeightedBatch, write_atomically,
};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::build::Stopped;
use crate::progress::Progress;
use crate::run_directory::{InTraining, Keep, RunDirectory, RunSettings};
use crate::step_lines::StepLines;
use crate::trainer::{DatasetConfig, datasets, first_and_last, is_usual, tokenizer_of};

mod held_out;

use held_out::HeldOut;
pub use held_out::HeldOutConfig;

/// Steps without a single pair after which there is none to be expected.
const MOST_EMPTY_STEPS: usize = 1000;

/// A pretraining configuration, as in `configs/pretrain-tiny.toml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PretrainFile {
    /// Sizes of the encoders; the vocabulary comes from the shards' tokenizer.
    pub encoders: ContrastiveConfig,
    /// How they are trained.
    pub train: PretrainConfig,
    /// How long, and what is kept.
    pub run: PretrainRun,
    /// Which pairs are kept from training, to look for.
    #[serde(default)]
    pub held_out: HeldOutConfig,
    /// How rows become batches.
    #[serde(default)]
    pub loader: LoaderConfig,
    /// What is trained on, if not the one corpus that the command names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub datasets: Vec<DatasetConfig>,
}

/// How long a pretraining goes and what it leaves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PretrainRun {
    /// Updates in all.
    pub steps: usize,
    /// Seed of the first weights.
    pub seed: u64,
    /// Steps between checkpoints; there is one at the end in any case.
    pub checkpoint_every: usize,
    /// Checkpoints that are kept, the newest; at least one.
    pub keep_last: usize,
    /// Steps of which each checkpoint is kept as well; 0 for none.
    pub keep_every: usize,
    /// In which order several datasets are visited.
    pub schedule: Schedule,
    /// The numbers that flow through the encoders.
    #[serde(skip_serializing_if = "is_usual")]
    pub precision: Precision,
}

impl Default for PretrainRun {
    fn default() -> Self {
        Self {
            steps: 1000,
            seed: 0,
            checkpoint_every: 500,
            keep_last: 2,
            keep_every: 0,
            schedule: Schedule::default(),
            precision: Precision::default(),
        }
    }
}

/// Settings that a run may be given anew: they do not change what is learned.
const MAY_CHANGE: [&str; 4] = [
    "run.steps",
    "run.checkpoint_every",
    "run.keep_last",
    "run.keep_every",
];

/// What a pretraining run is asked to do.
#[derive(Debug, Clone)]
pub struct PretrainOptions {
    /// The configuration.
    pub file: PretrainFile,
    /// Directory of the corpus; `None` where the configuration names datasets.
    pub data: Option<PathBuf>,
    /// Directory of the run.
    pub out: PathBuf,
    /// Where to compute.
    pub device: DeviceName,
    /// Whether to keep silent about progress.
    pub is_quiet: bool,
}

/// What a pretraining run did.
#[derive(Debug, Clone, PartialEq)]
pub struct PretrainResult {
    /// Updates in all, earlier calls included.
    pub steps: usize,
    /// Mean loss of the first and of the last tenth of this call's steps, in nats; `None` if there
    /// was nothing left to do.
    pub losses: Option<(f64, f64)>,
    /// How the held-out pairs are found; `None` where none was held out.
    pub retrieval: Option<Retrieval>,
}

/// One line of `metrics.jsonl`.
#[derive(Debug, Serialize)]
struct Metrics<'a> {
    step: usize,
    /// The mean of the losses of the step's batches, by weight.
    loss: f64,
    /// The loss of each dataset, before weighting.
    losses: BTreeMap<&'a str, f64>,
    gradient_norm: f64,
    learning_rate: f64,
    temperature: f64,
    is_skipped: bool,
    /// The rows of a step that was skipped: one of them gave no finite loss.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    skipped_rows: Vec<&'a str>,
}

impl InTraining for ContrastiveTrainer {
    fn load(directory: &Path, compute: &Compute) -> m3w_model::Result<Self> {
        Self::load(directory, compute)
    }

    fn save_with(&self, directory: &Path, more: &[(&str, &[u8])]) -> m3w_model::Result<()> {
        Self::save_with(self, directory, more)
    }

    fn steps(&self) -> usize {
        Self::steps(self)
    }
}

/// Pretrains two encoders, or goes on with a run that was begun. `stop` turning true ends it early,
/// with a checkpoint.
///
/// Held-out pairs are in memory, encoded, all the while.
///
/// # Errors
///
/// [`Stopped`]; otherwise if the shards or a checkpoint cannot be read, a row is no pair, the
/// directory holds a run of another configuration, or the disk refuses.
pub fn pretrain(options: &PretrainOptions, stop: &watch::Receiver<bool>) -> Result<PretrainResult> {
    let mut file = options.file.clone();
    let compute = Compute::new(options.device, file.run.precision)?;
    file.held_out.check()?;
    let datasets = datasets(&file.loader, &file.datasets, options.data.as_deref())?;
    let several = datasets
        .iter()
        .find(|each| each.config.frames_per_image > 1);
    if let Some(dataset) = several {
        bail!(
            "`frames_per_image` of the dataset `{}` is {}: pretraining looks at one frame, set it \
             to 1",
            dataset.name,
            dataset.config.frames_per_image
        );
    }
    let (tokenizer, tokenizer_bytes) = tokenizer_of(&datasets)?;
    let special = tokenizer.special_ids();
    file.encoders = file.encoders.with_vocabulary(tokenizer.vocabulary_size());
    let settings = RunSettings {
        file: "pretrain.toml",
        table: toml::Table::try_from(&file).context("cannot write the configuration")?,
        may_change: &MAY_CHANGE,
    };
    let keep = Keep {
        last: file.run.keep_last,
        every: file.run.keep_every,
    };
    let run = RunDirectory::open(&options.out, &settings, &tokenizer_bytes, keep, true)?;
    let (mut trainer, state) = match run.newest_checkpoint(true, &compute)? {
        Some((trainer, state)) => (trainer, Some(state)),
        None => {
            let PretrainFile {
                encoders, train, ..
            } = &file;
            let seed = file.run.seed;
            let trainer = ContrastiveTrainer::new(encoders, train.clone(), seed, &compute)?;
            (trainer, None)
        }
    };
    let held_out = HeldOut::read(&datasets, &tokenizer, &file.held_out)?;
    let mut mixture = Mixture::open(&datasets, file.run.schedule, &tokenizer, state.as_ref())?;
    let mut metrics = StepLines::open(run.path("metrics.jsonl"), trainer.steps())?;
    let total = file.run.steps as u64;
    let progress = Progress::new("steps", trainer.steps() as u64, total, options.is_quiet);
    let mut losses = Vec::new();
    let mut empty_steps = 0;
    while trainer.steps() < file.run.steps {
        if *stop.borrow() {
            run.save(&trainer, &mixture)?;
            return Err(Stopped.into());
        }
        let Some(batches) = mixture.next_step()? else {
            break;
        };
        let mut used = Vec::with_capacity(batches.len());
        for batch in &batches {
            if let Some(pairs) = pairs(&batch.batch, &special, &file.held_out)? {
                used.push((batch, pairs));
            }
        }
        if used.is_empty() {
            empty_steps += 1;
            ensure!(
                empty_steps < MOST_EMPTY_STEPS,
                "every pair is held out: give more rows, or a smaller held_out.share"
            );
            continue;
        }
        empty_steps = 0;
        let weighted: Vec<_> = used
            .iter()
            .map(|(batch, pairs)| (pairs, batch.weight))
            .collect();
        let report = trainer.step(&weighted)?;
        let named = used.iter().map(|(batch, _)| *batch).zip(&report.losses);
        let total_weight: f64 = used.iter().map(|(batch, _)| batch.weight).sum();
        let weigh = |(batch, loss): (&WeightedBatch, &f64)| batch.weight * loss / total_weight;
        let loss = named.clone().map(weigh).sum();
        losses.push(loss);
        let rows = batches.iter().flat_map(|batch| &batch.batch.ids);
        let line = Metrics {
            step: report.step,
            loss,
            losses: named
                .map(|(batch, loss)| (batch.name.as_str(), *loss))
                .collect(),
            gradient_norm: report.gradient_norm,
            learning_rate: report.learning_rate,
            temperature: report.temperature,
            is_skipped: report.skipped,
            skipped_rows: rows
                .filter(|_| report.skipped)
                .map(String::as_str)
                .collect(),
        };
        metrics.write(&line)?;
        progress.step(|| format!("loss {loss:.3}, temperature {:.3}", report.temperature));
        let is_due = trainer
            .steps()
            .is_multiple_of(file.run.checkpoint_every.max(1));
        if is_due && trainer.steps() < file.run.steps {
            run.save(&trainer, &mixture)?;
            tell(&options.out, &trainer, &held_out)?;
        }
    }
    progress.finish();
    if !losses.is_empty() {
        run.save(&trainer, &mixture)?;
    }
    Ok(PretrainResult {
        steps: trainer.steps(),
        losses: first_and_last(&losses),
        retrieval: tell(&options.out, &trainer, &held_out)?,
    })
}

/// Writes how the held-out pairs are found.
fn tell(out: &Path, trainer: &ContrastiveTrainer, held_out: &HeldOut) -> Result<Option<Retrieval>> {
    let Some(retrieval) = held_out.retrieval(trainer.model())? else {
        return Ok(None);
    };
    let told = serde_json::json!({"step": trainer.steps(), "retrieval": retrieval});
    let mut text = serde_json::to_vec_pretty(&told).context("cannot describe the retrieval")?;
    text.push(b'\n');
    write_atomically(&out.join("retrieval.json"), &text)?;
    tracing::info!(
        "after {} steps, of {} held-out pairs: {:.3} of the captions and {:.3} of the pictures are \
         found first",
        trainer.steps(),
        retrieval.pairs,
        retrieval.caption_of_picture[0],
        retrieval.picture_of_caption[0]
    );
    Ok(Some(retrieval))
}

/// The pairs of a batch that are trained on; `None` where there is none. Rows without a word are left
/// out.
fn pairs(batch: &Batch, special: &SpecialIds, config: &HeldOutConfig) -> Result<Option<Pairs>> {
    let shape = batch.shape;
    let per_picture = 3 * shape.h * shape.w;
    let per_row = shape.n * shape.f * per_picture;
    let (mut values, mut captions) = (Vec::new(), Vec::new());
    for (row, id) in batch.ids.iter().enumerate() {
        one_picture(id, &batch.frames[row * shape.n..(row + 1) * shape.n])?;
        let tokens = row * shape.l..(row + 1) * shape.l;
        let caption = caption(
            &batch.tokens[tokens.clone()],
            &batch.loss_mask[tokens],
            special,
        );
        if config.holds(id) || caption.is_empty() {
            continue;
        }
        let first = row * per_row;
        values.extend_from_slice(&batch.pixels[first..first + per_picture]);
        captions.push(caption);
    }
    if captions.is_empty() {
        return Ok(None);
    }
    let shape = (captions.len(), 3, shape.h, shape.w);
    let pixels = Tensor::from_vec(values, shape, &Device::Cpu)?;
    Ok(Some(Pairs { pixels, captions }))
}

/// Refuses a row that is no pair.
fn one_picture(id: &str, frames: &[u8]) -> Result<()> {
    let pictures = frames.iter().filter(|count| **count > 0).count();
    ensure!(
        pictures == 1,
        "the row {id} has {pictures} pictures: pretraining reads pairs, as `m3w pairs` makes them"
    );
    Ok(())
}

/// The words of a row.
fn caption(tokens: &[u32], loss_mask: &[u8], special: &SpecialIds) -> Vec<u32> {
    let counted = tokens.iter().zip(loss_mask);
    counted
        .filter(|(id, counts)| **counts == 1 && !special.contains(**id))
        .map(|(id, _)| *id)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tiny_configuration_is_whole_and_fits_that_of_training() {
        let text = include_str!("../configs/pretrain-tiny.toml");
        let file: PretrainFile = toml::from_str(text).unwrap();
        let encoders = file.encoders.with_vocabulary(100);
        encoders.validate().unwrap();
        file.train.validate().unwrap();
        file.held_out.check().unwrap();
        let text = include_str!("../configs/train-tiny.toml");
        let train: crate::trainer::TrainFile = toml::from_str(text).unwrap();
        assert_eq!(encoders.vision, train.model.vision);
    }
}
