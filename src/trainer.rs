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

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use candle_core::{Device, Tensor};
use m3w_model::train::{TrainConfig, Trainer};
use m3w_model::{Flamingo, Inputs, ParameterStore, SpecialTokens, read_vision};
use m3w_shards::{
    Batch, Dataset, LoaderConfig, Mixture, Schedule, SpecialIds, Tokenizer, WeightedBatch,
};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::build::Stopped;
use crate::config::put_over;
use crate::corpus::Corpus;
use crate::progress::Progress;
use crate::run_directory::{InTraining, RunDirectory};

/// Where a run's settings stand in its directory.
const SETTINGS_FILE: &str = "train.toml";

/// A training configuration, as in `configs/train-tiny.toml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainFile {
    /// Sizes of the model; its vocabulary comes from the shards' tokenizer.
    pub model: m3w_model::Config,
    /// What is trained, and how fast.
    pub train: TrainConfig,
    /// What is trained before.
    #[serde(default, skip_serializing_if = "InitialConfig::is_empty")]
    pub initial: InitialConfig,
    /// How long, and what is kept.
    pub run: RunConfig,
    /// How rows become batches.
    #[serde(default)]
    pub loader: LoaderConfig,
    /// What is trained on, if not the one corpus that the command names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub datasets: Vec<DatasetConfig>,
}

/// Weights that a run begins with; all others are drawn.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct InitialConfig {
    /// The vision encoder's: the directory of an `m3w pretrain` or `m3w train`, or published weights
    /// (a file, or a folder with some).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vision: Option<PathBuf>,
}

impl InitialConfig {
    fn is_empty(&self) -> bool {
        self.vision.is_none()
    }
}

/// One corpus of a mixture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatasetConfig {
    /// Its name in the metrics.
    pub name: String,
    /// Its folder.
    pub path: PathBuf,
    /// What its loss counts: lambda in Flamingo (section 2.4).
    #[serde(default = "one")]
    pub weight: f64,
    /// Settings that differ from those of `[loader]`, such as `batch_size`.
    #[serde(default, skip_serializing_if = "toml::Table::is_empty")]
    pub loader: toml::Table,
}

fn one() -> f64 {
    1.0
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
    /// In which order several datasets are visited.
    pub schedule: Schedule,
}

impl Default for RunConfig {
    fn default() -> Self {
        Self {
            steps: 1000,
            seed: 0,
            checkpoint_every: 500,
            schedule: Schedule::default(),
        }
    }
}

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

/// One line of `metrics.jsonl`.
#[derive(Debug, Serialize)]
struct Metrics<'a> {
    step: usize,
    /// The mean of the losses of the step's batches, by weight.
    loss: f64,
    /// The loss of each dataset in nats a token, before weighting.
    losses: BTreeMap<&'a str, f64>,
    gradient_norm: f64,
    learning_rate: f64,
    mean_gate: f64,
    is_skipped: bool,
    /// The rows of a step that was skipped: one of them gave no finite loss.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    skipped_rows: Vec<&'a str>,
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
    let datasets = datasets(&file.loader, &file.datasets, options.data.as_deref())?;
    let (tokenizer, tokenizer_bytes) = tokenizer_of(&datasets)?;
    file.model = file.model.with_vocabulary(tokenizer.vocabulary_size());
    let run = RunDirectory::open(
        &options.out,
        SETTINGS_FILE,
        &toml::Table::try_from(&file).context("cannot write the configuration")?,
        &tokenizer_bytes,
    )?;

    let mut trainer = match run.newest_checkpoint()? {
        Some(trainer) => trainer,
        None => {
            let special = special_tokens(&tokenizer.special_ids());
            let parameters = first_parameters(&file)?;
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

/// The tokenizer of the datasets, and its file's bytes. All have the same, or the mixture refuses them.
pub(crate) fn tokenizer_of(datasets: &[Dataset]) -> Result<(Arc<Tokenizer>, Vec<u8>)> {
    let first = datasets.first().context("there is no dataset")?;
    let corpus = Corpus::at(&first.directory);
    corpus.manifest()?;
    let path = corpus.tokenizer_path();
    let bytes = fs::read(&path)
        .with_context(|| format!("cannot read the corpus's tokenizer {}", path.display()))?;
    let tokenizer = Tokenizer::from_bytes(&bytes, "the corpus's tokenizer")?;
    Ok((Arc::new(tokenizer), bytes))
}

/// Pretrained weights where there are some, and the seed for the rest.
fn first_parameters(file: &TrainFile) -> Result<ParameterStore> {
    let seed = file.run.seed;
    let Some(path) = &file.initial.vision else {
        return Ok(ParameterStore::seeded(seed));
    };
    let checkpoint = path.join("checkpoint");
    let place = if checkpoint.is_dir() {
        &checkpoint
    } else {
        path
    };
    let weights = read_vision(place, &file.model.vision)
        .context("cannot begin with the weights of `initial.vision`")?;
    let origin = path.display().to_string();
    Ok(ParameterStore::from_tensors(weights, origin).or_seeded(seed))
}

/// What a run is trained on: the datasets of its configuration, or the one corpus `data`.
pub(crate) fn datasets(
    loader: &LoaderConfig,
    datasets: &[DatasetConfig],
    data: Option<&Path>,
) -> Result<Vec<Dataset>> {
    match data {
        Some(directory) => {
            ensure!(
                datasets.is_empty(),
                "the configuration names {} datasets and --data names another: leave out one",
                datasets.len()
            );
            Ok(vec![Dataset {
                name: "data".to_owned(),
                directory: directory.to_owned(),
                weight: 1.0,
                config: loader.clone(),
            }])
        }
        None if datasets.is_empty() => {
            bail!("nothing to train on: give --data DIR, or [[datasets]] in the configuration")
        }
        None => datasets
            .iter()
            .map(|dataset| {
                let config = loader_of(loader, &dataset.loader)
                    .with_context(|| format!("cannot use the dataset `{}`", dataset.name))?;
                Ok(Dataset {
                    name: dataset.name.clone(),
                    directory: dataset.path.clone(),
                    weight: dataset.weight,
                    config,
                })
            })
            .collect(),
    }
}

/// The settings of one dataset's loader: those of all, with its own over them.
fn loader_of(all: &LoaderConfig, own: &toml::Table) -> Result<LoaderConfig> {
    let mut table = toml::Table::try_from(all)?;
    put_over(&mut table, own.clone());
    let config: LoaderConfig = table.try_into()?;
    // What a model cannot have two of.
    ensure!(
        (config.image_side_px, config.mean, config.deviation)
            == (all.image_side_px, all.mean, all.deviation),
        "`image_side_px`, `mean` and `deviation` belong to the vision encoder: set them for all \
         datasets, in [loader]"
    );
    Ok(config)
}

/// The rows of a step, if it was skipped.
pub(crate) fn skipped_rows(is_skipped: bool, batches: &[WeightedBatch]) -> Vec<&str> {
    let rows = batches.iter().flat_map(|batch| &batch.batch.ids);
    rows.filter(|_| is_skipped).map(String::as_str).collect()
}

impl InTraining for Trainer {
    fn load(directory: &Path) -> m3w_model::Result<Self> {
        Self::load(directory)
    }

    fn save(&self, directory: &Path) -> m3w_model::Result<()> {
        Self::save(self, directory)
    }

    fn steps(&self) -> usize {
        Self::steps(self)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tiny_configuration_is_whole() {
        let text = include_str!("../configs/train-tiny.toml");
        let file: TrainFile = toml::from_str(text).unwrap();
        assert!(file.run.steps > 0);
    }

    fn mixed(datasets: &str) -> Result<Vec<Dataset>> {
        let text = format!("{}\n{datasets}", include_str!("../configs/train-tiny.toml"));
        let file: TrainFile = toml::from_str(&text)?;
        super::datasets(&file.loader, &file.datasets, None)
    }

    #[test]
    fn a_dataset_has_the_settings_of_all_and_its_own_over_them() {
        let datasets = mixed(
            "[[datasets]]\nname = 'm3w'\npath = 'a'\n[[datasets]]\nname = 'align'\npath = 'b'\n\
             weight = 0.2\nloader.batch_size = 32\nloader.colour_jitter.contrast = 0.3",
        )
        .unwrap();
        let sizes: Vec<_> = datasets.iter().map(|each| each.config.batch_size).collect();
        assert_eq!(sizes, [8, 32]);
        assert_eq!(datasets[1].config.image_side_px, 64);
        assert!((datasets[1].config.colour_jitter.contrast - 0.3).abs() < 1e-6);
        assert_eq!((datasets[0].weight, datasets[1].weight), (1.0, 0.2));
    }

    #[test]
    fn settings_that_are_unknown_or_belong_to_the_model_are_refused() {
        let refused = |setting: &str| {
            let text = format!("[[datasets]]\nname = 'a'\npath = 'a'\nloader.{setting}");
            format!("{:#}", mixed(&text).unwrap_err())
        };
        assert!(refused("batch = 3").contains("batch"));
        assert!(refused("image_side_px = 8").contains("vision encoder"));
        assert!(format!("{:#}", mixed("").unwrap_err()).contains("nothing to train on"));
    }

    #[test]
    fn means_are_of_the_first_and_last_tenth() {
        let losses: Vec<f64> = (0..20).map(f64::from).collect();
        assert_eq!(first_and_last(&losses), Some((0.5, 18.5)));
        assert_eq!(first_and_last(&[3.0]), Some((3.0, 3.0)));
        assert_eq!(first_and_last(&[]), None);
    }
}
