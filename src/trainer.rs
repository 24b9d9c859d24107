//! Shards to a trained model: the loader feeds, the model learns, checkpoints come and go.
//!
//! A run's directory:
//!
//! ```text
//! DIR/train.toml            the effective configuration
//! DIR/tokenizer.json        the tokenizer of the shards
//! DIR/metrics.jsonl         one line a step: loss, gradient norm, learning rate
//! DIR/checkpoint/           weights (safetensors), sizes, optimiser and step
//! DIR/loader-N.json         where in the data step N stood
//! ```

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use candle_core::{Device, Tensor};
use m3w_model::train::{TrainConfig, Trainer};
use m3w_model::{Flamingo, Inputs, ParameterStore, SpecialTokens};
use m3w_shards::{Batch, Loader, LoaderConfig, SpecialIds, Tokenizer, write_atomically};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::build::Stopped;
use crate::config::differences;
use crate::corpus::Corpus;
use crate::progress::Progress;

/// A training configuration, as in `configs/train-tiny.toml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainFile {
    /// Sizes of the model; its vocabulary comes from the shards' tokenizer.
    pub model: m3w_model::Config,
    /// What is trained, and how fast.
    pub train: TrainConfig,
    /// How long, and what is kept.
    pub run: RunConfig,
    /// How rows become batches.
    #[serde(default)]
    pub loader: LoaderConfig,
}

/// How long a run goes and what it leaves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RunConfig {
    /// Updates in all.
    pub steps: usize,
    /// Seed of the first weights.
    pub seed: u64,
    /// Steps between checkpoints; there is one at the end in any case.
    pub checkpoint_every: usize,
}

impl Default for RunConfig {
    fn default() -> Self {
        Self {
            steps: 1000,
            seed: 0,
            checkpoint_every: 500,
        }
    }
}

/// What a training run is asked to do.
#[derive(Debug, Clone)]
pub struct TrainOptions {
    /// The configuration.
    pub file: TrainFile,
    /// Directory of the corpus.
    pub data: PathBuf,
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

/// One line of `metrics.jsonl`.
#[derive(Debug, Serialize)]
struct Metrics {
    step: usize,
    loss: f64,
    gradient_norm: f64,
    learning_rate: f64,
    mean_gate: f64,
    is_skipped: bool,
}

/// Trains a model, or goes on with a run that was begun. `stop` turning true ends it early, with a
/// checkpoint.
///
/// # Errors
///
/// [`Stopped`]; otherwise if the shards or a checkpoint cannot be read, the directory holds a run
/// of another configuration, or the disk refuses.
pub fn train(options: &TrainOptions, stop: &watch::Receiver<bool>) -> Result<TrainResult> {
    let corpus = Corpus::at(&options.data);
    corpus.manifest()?;
    let tokenizer_bytes = fs::read(corpus.tokenizer_path()).with_context(|| {
        let path = corpus.tokenizer_path();
        format!("cannot read the corpus's tokenizer {}", path.display())
    })?;
    let tokenizer = Tokenizer::from_bytes(&tokenizer_bytes, "the corpus's tokenizer")?;
    let mut file = options.file.clone();
    file.model = file.model.with_vocabulary(tokenizer.vocabulary_size());
    let run = RunDirectory::open(&options.out, &file, &tokenizer_bytes)?;

    let mut trainer = if run.checkpoint().exists() {
        Trainer::load(&run.checkpoint())?
    } else {
        let special = special_tokens(&tokenizer.special_ids());
        let parameters = ParameterStore::seeded(file.run.seed);
        Trainer::new(
            Flamingo::new(&file.model, special, parameters)?,
            file.train.clone(),
        )?
    };
    let special = tokenizer.special_ids();
    let mut loader = if trainer.steps() == 0 {
        Loader::open(corpus.root(), &file.loader, &special)?
    } else {
        let state = run.loader_state(trainer.steps())?;
        Loader::resume(corpus.root(), &file.loader, &special, state)?
    };
    let mut metrics = run.metrics()?;
    let total = file.run.steps as u64;
    let progress = Progress::new("steps", trainer.steps() as u64, total, options.is_quiet);
    let mut losses = Vec::new();
    while trainer.steps() < file.run.steps {
        if *stop.borrow() {
            run.save(&trainer, &loader)?;
            return Err(Stopped.into());
        }
        let Some(batch) = loader.next_batch()? else {
            break;
        };
        let inputs = inputs(&batch)?;
        let report = trainer.step(&[(&inputs, 1.0)])?;
        let loss = report.losses.iter().sum::<f64>();
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
            gradient_norm: report.gradient_norm,
            learning_rate: report.learning_rate,
            mean_gate,
            is_skipped: report.skipped,
        };
        serde_json::to_writer(&mut metrics, &line).context("cannot write metrics")?;
        metrics.write_all(b"\n").context("cannot write metrics")?;
        progress.step(|| format!("loss {loss:.3}, gates {mean_gate:.4}"));
        let is_due = trainer
            .steps()
            .is_multiple_of(file.run.checkpoint_every.max(1));
        if is_due && trainer.steps() < file.run.steps {
            run.save(&trainer, &loader)?;
        }
    }
    progress.finish();
    if !losses.is_empty() {
        run.save(&trainer, &loader)?;
    }
    Ok(TrainResult {
        steps: trainer.steps(),
        losses: first_and_last(&losses),
    })
}

/// Means of the first and of the last tenth.
fn first_and_last(losses: &[f64]) -> Option<(f64, f64)> {
    let count = losses.len().div_ceil(10);
    #[expect(clippy::cast_precision_loss, reason = "a number of steps")]
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
    let first = losses.get(..count).filter(|part| !part.is_empty())?;
    Some((mean(first), mean(&losses[losses.len() - count..])))
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

struct RunDirectory {
    root: PathBuf,
}

impl RunDirectory {
    /// Begins a run in the directory, or finds one of the same configuration. A run may be given
    /// more steps; anything else that differs is refused.
    fn open(root: &Path, file: &TrainFile, tokenizer: &[u8]) -> Result<Self> {
        fs::create_dir_all(root).with_context(|| format!("cannot make {}", root.display()))?;
        let path = root.join("train.toml");
        let table = toml::Table::try_from(file).context("cannot write the configuration")?;
        if let Ok(text) = fs::read_to_string(&path) {
            let found: toml::Table = text
                .parse()
                .with_context(|| format!("{} is not TOML", path.display()))?;
            let mut differences = differences(&found, &table);
            differences.retain(|difference| !difference.starts_with("run.steps:"));
            ensure!(
                differences.is_empty(),
                "{} holds a run of another configuration ({}): choose another --out",
                root.display(),
                differences.join("; ")
            );
        }
        let tokenizer_path = root.join("tokenizer.json");
        if fs::read(&tokenizer_path).is_ok_and(|found| found != tokenizer) {
            bail!(
                "{} holds a run on another corpus: choose another --out",
                root.display()
            );
        }
        let text = toml::to_string(&table).context("cannot write the configuration")?;
        write_atomically(&tokenizer_path, tokenizer)?;
        write_atomically(&path, text.as_bytes())?;
        Ok(Self {
            root: root.to_owned(),
        })
    }

    fn checkpoint(&self) -> PathBuf {
        self.root.join("checkpoint")
    }

    fn loader_path(&self, steps: usize) -> PathBuf {
        self.root.join(format!("loader-{steps}.json"))
    }

    fn loader_state(&self, steps: usize) -> Result<m3w_shards::LoaderState> {
        let path = self.loader_path(steps);
        let bytes = fs::read(&path).with_context(|| {
            format!(
                "cannot read {}: the run cannot go on without it",
                path.display()
            )
        })?;
        serde_json::from_slice(&bytes).with_context(|| format!("cannot use {}", path.display()))
    }

    fn metrics(&self) -> Result<fs::File> {
        let path = self.root.join("metrics.jsonl");
        fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// Saves data position first, weights second: whichever checkpoint is there has its position.
    fn save(&self, trainer: &Trainer, loader: &Loader) -> Result<()> {
        let state = serde_json::to_vec(&loader.state()).context("cannot write the position")?;
        write_atomically(&self.loader_path(trainer.steps()), &state)?;
        trainer.save(&self.checkpoint())?;
        for entry in fs::read_dir(&self.root)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_old =
                name.starts_with("loader-") && entry.path() != self.loader_path(trainer.steps());
            if is_old {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tiny_configuration_is_whole() {
        let text = include_str!("../configs/train-tiny.toml");
        let file: TrainFile = toml::from_str(text).unwrap();
        assert!(file.run.steps > 0);
    }

    #[test]
    fn means_are_of_the_first_and_last_tenth() {
        let losses: Vec<f64> = (0..20).map(f64::from).collect();
        assert_eq!(first_and_last(&losses), Some((0.5, 18.5)));
        assert_eq!(first_and_last(&[3.0]), Some((3.0, 3.0)));
        assert_eq!(first_and_last(&[]), None);
    }
}
