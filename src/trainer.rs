//! Shards to a trained model: the loader feeds, the model learns, checkpoints come and go.
//!
//! A run's directory:
//!
//! ```text
//! DIR/train.toml            the effective configuration
//! DIR/tokenizer.json        the tokenizer of the shards
//! DIR/metrics.jsonl         one line a step: losses, gradient norm, learning rate, gates
//! DIR/times.jsonl           one line a step: how long it took
//! DIR/evaluation.jsonl      losses on what is not trained on
//! DIR/samples.jsonl         what the model said of the pictures in DIR/samples/
//! DIR/events/               the same numbers and words for TensorBoard
//! DIR/checkpoints/step-N/   weights (safetensors), sizes, optimiser, position in the data
//! DIR/checkpoint            a link to the newest of them
//! DIR/skipped-step-N.safetensors   a batch that gave no finite loss, where the run ended by it
//! ```
//!
//! Several processes may train together (`RANK`, `WORLD_SIZE`, `MASTER_ADDR`, `MASTER_PORT`): each
//! takes its share of every batch, all make the same update, and process 0 writes.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use candle_core::{Device, Tensor};
use m3w_document::Sha256;
use m3w_model::train::{Collective, StepReport, Trainer};
use m3w_model::{Compute, DeviceName, Inputs, SpecialTokens};
use m3w_shards::{Batch, Dataset, MANIFEST_NAME, Mixture, SpecialIds, Tokenizer, WeightedBatch};
use tokio::sync::watch;

use crate::build::Stopped;
use crate::corpus::Corpus;
use crate::progress::Progress;
use crate::run_directory::{InTraining, Keep, RunDirectory, RunSettings};

mod config;
mod events;
mod held_out;
mod launch;
mod record;
mod start;
mod writer;

use config::MAY_CHANGE;
use start::first_trainer;
use writer::Writer;

pub(crate) use config::is_usual;
pub use config::{DatasetConfig, InitialConfig, RunConfig, TrainFile, datasets};
pub use launch::Launch;
pub(crate) use record::{EvaluationLine, SampleLine, StepLine, TimeLine, first_and_last};

/// What a training run is asked to do.
#[derive(Debug, Clone)]
pub struct TrainOptions {
    /// The configuration.
    pub file: TrainFile,
    /// Directory of the corpus; `None` where the configuration names datasets.
    pub data: Option<PathBuf>,
    /// Directory of the run.
    pub out: PathBuf,
    /// Which of several processes this is.
    pub launch: Launch,
    /// Where to compute.
    pub device: DeviceName,
    /// Whether to keep silent about progress.
    pub is_quiet: bool,
}

/// What a training run did.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainResult {
    /// Updates in all, earlier calls included.
    pub steps: usize,
    /// Mean loss of the first and of the last tenth of this call's steps, in nats a token; `None`
    /// if there was nothing left to do.
    pub losses: Option<(f64, f64)>,
}

/// Trains a model, or goes on with a run that was begun. `stop` turning true ends it early, with a
/// checkpoint.
///
/// # Errors
///
/// [`Stopped`]; otherwise if the shards or a checkpoint cannot be read, the directory holds a run
/// of another configuration, too many steps in a row have no finite loss, another process of the
/// launch is gone, or the disk refuses.
pub fn train(options: &TrainOptions, stop: &watch::Receiver<bool>) -> Result<TrainResult> {
    let launch = &options.launch;
    let mut file = options.file.clone();
    let compute = Compute::new(options.device, file.run.precision)?;
    file.loader.share = launch.share();
    file.loader.part = file.run.trained_part()?;
    let datasets = datasets(&file.loader, &file.datasets, options.data.as_deref())?;
    let (tokenizer, tokenizer_bytes) = tokenizer_of(&datasets)?;
    if file.initial.model.is_none() {
        // A model that is there already may have more rows than its tokenizer has tokens.
        file.model = file.model.with_vocabulary(tokenizer.vocabulary_size());
    }
    let settings = RunSettings {
        file: "train.toml",
        table: toml::Table::try_from(&file).context("cannot write the configuration")?,
        may_change: &MAY_CHANGE,
    };
    let keep = Keep {
        last: file.run.keep_last,
        every: file.run.keep_every,
    };
    let is_first = launch.is_first();
    let run = RunDirectory::open(&options.out, &settings, &tokenizer_bytes, keep, is_first)?;
    let (mut trainer, state) = match run.newest_checkpoint(is_first, &compute)? {
        Some((trainer, state)) => (trainer, Some(state)),
        None => (first_trainer(&file, &tokenizer, &compute)?, None),
    };
    let mut mixture = Mixture::open(&datasets, file.run.schedule, &tokenizer, state.as_ref())?;
    let mut same = format!("{} {}", toml::to_string(&file)?, trainer.steps());
    for dataset in &datasets {
        same.push_str(&manifest_digest(&dataset.directory)?);
    }
    let mut collective = launch.join(&same, &compute)?;
    let mut writer = match launch.is_first() {
        true => Some(Writer::open(
            &run,
            &file,
            &datasets,
            &tokenizer,
            trainer.steps(),
        )?),
        false => None,
    };
    let total = file.run.steps as u64;
    let is_quiet = options.is_quiet || !launch.is_first();
    let progress = Progress::new("steps", trainer.steps() as u64, total, is_quiet);
    let mut losses = Vec::new();
    let mut skipped_in_a_row = 0;
    let mut began = Instant::now();
    while trainer.steps() < file.run.steps {
        if is_stopped(*stop.borrow(), collective.as_mut())? {
            if writer.is_some() {
                run.save(&trainer, &mixture)?;
            }
            return Err(Stopped.into());
        }
        let asked = Instant::now();
        let Some(batches) = mixture.next_step()? else {
            break;
        };
        let waited = asked.elapsed();
        let report = take_step(&mut trainer, &batches, collective.as_mut())?;
        let line = step_line(&report, &batches);
        losses.push(line.loss);
        let (loss, mean_gate) = (line.loss, line.mean_gate);
        if let Some(writer) = &mut writer {
            writer.step(&line, began.elapsed(), waited)?;
        }
        progress.step(|| told(&line));
        skipped_in_a_row = if report.skipped {
            skipped_in_a_row + 1
        } else {
            0
        };
        if skipped_in_a_row > 0 && skipped_in_a_row == file.run.stop_after_skipped {
            let path = save_skipped(&run, launch, report.step, &batches)?;
            bail!(
                "{skipped_in_a_row} steps in a row had no finite loss (gates {mean_gate:.4}, loss \
                 {loss}): the batch of the last is {}, its rows are in metrics.jsonl; a lower \
                 train.learning_rate or a longer warm-up helps where the data is sound, and the run \
                 goes on from its last checkpoint",
                path.display()
            );
        }
        let is_last = trainer.steps() == file.run.steps;
        if let Some(writer) = &mut writer {
            writer.hold_out(&trainer, is_last)?;
            if !is_last && is_due(trainer.steps(), file.run.checkpoint_every.max(1)) {
                run.save(&trainer, &mixture)?;
            }
        }
        began = Instant::now();
    }
    progress.finish();
    if !losses.is_empty() && writer.is_some() {
        run.save(&trainer, &mixture)?;
    }
    Ok(TrainResult {
        steps: trainer.steps(),
        losses: first_and_last(&losses),
    })
}

/// The tokenizer of the datasets, and its file's bytes. All have the same, or the mixture refuses them.
///
/// # Errors
///
/// If there is no dataset, or the tokenizer of the first cannot be read.
pub fn tokenizer_of(datasets: &[Dataset]) -> Result<(Arc<Tokenizer>, Vec<u8>)> {
    let first = datasets.first().context("there is no dataset")?;
    let corpus = Corpus::at(&first.directory);
    corpus.manifest()?;
    let path = corpus.tokenizer_path();
    let bytes = fs::read(&path)
        .with_context(|| format!("cannot read the corpus's tokenizer {}", path.display()))?;
    let tokenizer = Tokenizer::from_bytes(&bytes, "the corpus's tokenizer")?;
    Ok((Arc::new(tokenizer), bytes))
}

/// What tells one corpus from another: a digest of its list of files and their digests.
fn manifest_digest(corpus: &Path) -> Result<String> {
    let path = corpus.join(MANIFEST_NAME);
    let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(Sha256::of(&bytes).to_string())
}

impl InTraining for Trainer {
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

fn is_due(steps: usize, every: usize) -> bool {
    every > 0 && steps.is_multiple_of(every)
}

/// Whether any process was asked to stop: then all do, before the same step.
fn is_stopped(stop: bool, collective: &mut dyn Collective) -> Result<bool> {
    let mut stops = [f32::from(u8::from(stop))];
    collective.sum(&mut stops)?;
    Ok(stops[0] > 0.0)
}

fn take_step(
    trainer: &mut Trainer,
    batches: &[WeightedBatch],
    collective: &mut dyn Collective,
) -> Result<StepReport> {
    let weighted = batches
        .iter()
        .map(|batch| Ok((inputs(&batch.batch)?, batch.weight)))
        .collect::<Result<Vec<_>>>()?;
    let weighted: Vec<_> = weighted
        .iter()
        .map(|(inputs, weight)| (inputs, *weight))
        .collect();
    Ok(trainer.step_together(&weighted, collective)?)
}

fn step_line(report: &StepReport, batches: &[WeightedBatch]) -> StepLine {
    let named = batches.iter().zip(&report.losses);
    let total_weight: f64 = batches.iter().map(|batch| batch.weight).sum();
    let weigh = |(batch, loss): (&WeightedBatch, &f64)| batch.weight * loss / total_weight;
    let gates: Vec<f64> = report
        .gates
        .iter()
        .flat_map(|(_, gates)| gates.map(|gate| f64::from(gate.abs())))
        .collect();
    #[expect(clippy::cast_precision_loss, reason = "a model has few gates")]
    let mean_gate = gates.iter().sum::<f64>() / gates.len().max(1) as f64;
    let rows = batches.iter().flat_map(|batch| &batch.batch.ids);
    StepLine {
        step: report.step,
        loss: named.clone().map(weigh).sum(),
        losses: named
            .map(|(batch, loss)| (batch.name.clone(), *loss))
            .collect(),
        gradient_norm: report.gradient_norm,
        learning_rate: report.learning_rate,
        mean_gate,
        gates: report.gates.iter().copied().collect(),
        tokens: report.targets,
        is_skipped: report.skipped,
        skipped_rows: rows.filter(|_| report.skipped).cloned().collect(),
    }
}

/// What a progress line says.
fn told(line: &StepLine) -> String {
    let mut losses: Vec<String> = Vec::new();
    if line.losses.len() > 1 {
        let named = line.losses.iter();
        losses.extend(named.map(|(name, loss)| format!("{name} {loss:.3}")));
    } else {
        losses.push(format!("loss {:.3}", line.loss));
    }
    format!(
        "{}, gates {:.4}, gradient {:.2}, rate {:.1e}",
        losses.join(", "),
        line.mean_gate,
        line.gradient_norm,
        line.learning_rate
    )
}

/// The tensors of a step's batches, `NAME.tokens` and so on, for a look at what went wrong.
fn save_skipped(
    run: &RunDirectory,
    launch: &Launch,
    step: usize,
    batches: &[WeightedBatch],
) -> Result<PathBuf> {
    let process = match launch.rank {
        0 => String::new(),
        rank => format!("-process-{rank}"),
    };
    let path = run.path(&format!("skipped-step-{step}{process}.safetensors"));
    let mut tensors = HashMap::new();
    for batch in batches {
        let inputs = inputs(&batch.batch)?;
        let parts = [
            ("tokens", Some(inputs.tokens)),
            ("image_index", inputs.image_index),
            ("pixels", Some(inputs.pixels)),
            ("loss_mask", inputs.loss_mask),
        ];
        for (part, tensor) in parts {
            tensors.extend(tensor.map(|tensor| (format!("{}.{part}", batch.name), tensor)));
        }
    }
    candle_core::safetensors::save(&tensors, &path)
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

/// The tokenizer's ids as the model names them.
#[must_use]
pub fn special_tokens(ids: &SpecialIds) -> SpecialTokens {
    SpecialTokens {
        image: ids.image,
        end_of_chunk: ids.eoc,
        bos: ids.bos,
        eos: ids.eos,
        pad: ids.pad,
        around_image: None,
    }
}

/// Host arrays to tensors.
///
/// # Errors
///
/// If the arrays do not have the shape they claim.
pub fn inputs(batch: &Batch) -> Result<Inputs> {
    let m3w_shards::BatchShape { b, l, n, f, h, w } = batch.shape;
    let device = Device::Cpu;
    let tokens = Tensor::from_slice(&batch.tokens, (b, l), &device)?;
    let image_index = Tensor::from_slice(&batch.image_index, (b, l), &device)?;
    let loss_mask = Tensor::from_slice(&batch.loss_mask, (b, l), &device)?;
    let pixels = Tensor::from_slice(&batch.pixels, &[b, n, f, 3, h, w], &device)?;
    Ok(Inputs::new(
        tokens,
        Some(image_index),
        pixels,
        Some(loss_mask),
    )?)
}
