//! Shards to a trained model: the loader feeds, the model learns, checkpoints come and go.
//!
//! A run's directory:
//!
//! ```text
//! DIR/train.toml            the effective configuration
//! DIR/tokenizer.json        the tokenizer of the shards
//! DIR/metrics.jsonl         one line a step: loss, gradient norm, learning rate
//! DIR/checkpoint/           weights (safetensors), sizes, optimiser and step
//! DIR/checkpoint-before/    the one before it, for when it cannot be read
//! DIR/loader-N.json         where in each dataset step N stood
//! ```

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use candle_core::{Device, Tensor};
use m3w_model::train::Trainer;
use m3w_model::{Flamingo, Inputs, ParameterStore, SpecialTokens};
use m3w_shards::{Batch, Mixture, SpecialIds, Tokenizer, WeightedBatch};
use tokio::sync::watch;

use crate::build::Stopped;
use crate::corpus::Corpus;
use crate::progress::Progress;

mod config;
mod directory;
mod metrics;

use config::datasets;
use directory::RunDirectory;
use metrics::{Metrics, first_and_last, skipped_rows};

pub use config::{DatasetConfig, RunConfig, TrainFile};

/// What a training run is asked to do.
#[derive(Debug, Clone)]
pub struct TrainOptions {
    /// The configuration.
    pub file: TrainFile,
    /// Directory of the corpus; `None` where the configuration names datasets.
    pub data: Option<PathBuf>,
    /// Directory of the run.
    pub out: PathBuf,
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
/// of another configuration, or the disk refuses.
pub fn train(options: &TrainOptions, stop: &watch::Receiver<bool>) -> Result<TrainResult> {
    let mut file = options.file.clone();
    let datasets = datasets(&file, options.data.as_deref())?;
    // All have the same, or the mixture refuses them.
    let corpus = Corpus::at(&datasets[0].directory);
    corpus.manifest()?;
    let tokenizer_bytes = fs::read(corpus.tokenizer_path()).with_context(|| {
        let path = corpus.tokenizer_path();
        format!("cannot read the corpus's tokenizer {}", path.display())
    })?;
    let tokenizer = Tokenizer::from_bytes(&tokenizer_bytes, "the corpus's tokenizer")?;
    let tokenizer = Arc::new(tokenizer);
    file.model = file.model.with_vocabulary(tokenizer.vocabulary_size());
    let run = RunDirectory::open(&options.out, &file, &tokenizer_bytes)?;

    let mut trainer = match run.newest_checkpoint()? {
        Some(trainer) => trainer,
        None => {
            let special = special_tokens(&tokenizer.special_ids());
            let parameters = ParameterStore::seeded(file.run.seed);
            Trainer::new(
                Flamingo::new(&file.model, special, parameters)?,
                file.train.clone(),
            )?
        }
    };
    let state = match trainer.steps() {
        0 => None,
        steps => Some(run.loader_state(steps)?),
    };
    let mut mixture = Mixture::open(&datasets, file.run.schedule, &tokenizer, state.as_ref())?;
    let mut metrics = run.metrics(trainer.steps())?;
    let total = file.run.steps as u64;
    let progress = Progress::new("steps", trainer.steps() as u64, total, options.is_quiet);
    let mut losses = Vec::new();
    while trainer.steps() < file.run.steps {
        if *stop.borrow() {
            run.save(&trainer, &mixture)?;
            return Err(Stopped.into());
        }
        let Some(batches) = mixture.next_step()? else {
            break;
        };
        let weighted = batches
            .iter()
            .map(|batch| Ok((inputs(&batch.batch)?, batch.weight)))
            .collect::<Result<Vec<_>>>()?;
        let weighted: Vec<_> = weighted
            .iter()
            .map(|(inputs, weight)| (inputs, *weight))
            .collect();
        let report = trainer.step(&weighted)?;
        let named = batches.iter().zip(&report.losses);
        let total_weight: f64 = batches.iter().map(|batch| batch.weight).sum();
        let weigh = |(batch, loss): (&WeightedBatch, &f64)| batch.weight * loss / total_weight;
        let loss = named.clone().map(weigh).sum();
        losses.push(loss);
        let gates: Vec<f64> = report
            .gates
            .iter()
            .flat_map(|(_, gates)| gates.map(|gate| f64::from(gate.abs())))
            .collect();
        #[expect(clippy::cast_precision_loss, reason = "a model has few gates")]
        let mean_gate = gates.iter().sum::<f64>() / gates.len().max(1) as f64;
        let line = Metrics {
            step: report.step,
            loss,
            losses: named
                .map(|(batch, loss)| (batch.name.as_str(), *loss))
                .collect(),
            gradient_norm: report.gradient_norm,
            learning_rate: report.learning_rate,
            mean_gate,
            is_skipped: report.skipped,
            skipped_rows: skipped_rows(report.skipped, &batches),
        };
        serde_json::to_writer(&mut metrics, &line).context("cannot write metrics")?;
        metrics.write_all(b"\n").context("cannot write metrics")?;
        progress.step(|| format!("loss {loss:.3}, gates {mean_gate:.4}"));
        let is_due = trainer
            .steps()
            .is_multiple_of(file.run.checkpoint_every.max(1));
        if is_due && trainer.steps() < file.run.steps {
            run.save(&trainer, &mixture)?;
        }
    }
    progress.finish();
    if !losses.is_empty() {
        run.save(&trainer, &mixture)?;
    }
    Ok(TrainResult {
        steps: trainer.steps(),
        losses: first_and_last(&losses),
    })
}

/// The tokenizer's ids as the model names them.
fn special_tokens(ids: &SpecialIds) -> SpecialTokens {
    SpecialTokens {
        image: ids.image,
        end_of_chunk: ids.eoc,
        bos: ids.bos,
        eos: ids.eos,
        pad: ids.pad,
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
