//! What a training run is told: a file such as `configs/train-tiny.toml`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use m3w_model::Precision;
use m3w_model::train::TrainConfig;
use m3w_shards::{Dataset, LoaderConfig, Part, Schedule};
use serde::{Deserialize, Serialize};

use super::start::model_of;
use crate::config::put_over;

/// A training configuration, as in `configs/train-tiny.toml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainFile {
    /// Sizes of the model; its vocabulary comes from the shards' tokenizer. Where the run starts from
    /// another model, what is left out is as there.
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
    /// Corpora that are not trained on: the loss on them is taken now and then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evaluation: Vec<DatasetConfig>,
}

/// Settings that a run may be given anew: they do not change what is learned.
pub(crate) const MAY_CHANGE: [&str; 10] = [
    "run.steps",
    "run.checkpoint_every",
    "run.keep_last",
    "run.keep_every",
    "run.stop_after_skipped",
    "run.evaluate_every",
    "run.evaluate_batches",
    "run.sample_every",
    "run.samples",
    "evaluation",
];

impl RunConfig {
    /// What the datasets of this run are trained on.
    ///
    /// # Errors
    ///
    /// If a share is held out that cannot be, or that nothing is evaluated on.
    pub(super) fn trained_part(&self) -> Result<Part> {
        let share = self.evaluate_share;
        ensure!(
            (0.0..=0.5).contains(&share),
            "`run.evaluate_share` is {share}: set it to 0 to 0.5"
        );
        ensure!(
            share == 0.0 || self.evaluate_every > 0,
            "run.evaluate_share holds documents out, and they are never looked at: set \
             run.evaluate_every"
        );
        Ok(match share {
            0.0 => Part::Whole,
            share => Part::Trained(share),
        })
    }
}

impl TrainFile {
    /// Reads a configuration, with single settings over it.
    ///
    /// # Errors
    ///
    /// If the file is missing, has an unknown key or lacks one, or the model that it starts from
    /// cannot be read.
    pub fn load(path: &Path, assignments: &[String]) -> Result<Self> {
        let mut table: toml::Table = crate::config::load(Some(path), assignments)?;
        let initial = table.get("initial").cloned();
        let initial = initial.map(toml::Value::try_into::<InitialConfig>);
        let initial = initial.transpose();
        let initial = initial.with_context(|| format!("in [initial] of {}", path.display()))?;
        if let Some(start) = initial.and_then(|initial| initial.model) {
            let mut model = toml::Table::try_from(model_of(&start)?)?;
            if let Some(toml::Value::Table(own)) = table.remove("model") {
                put_over(&mut model, own);
            }
            table.insert("model".to_owned(), model.into());
        }
        table
            .try_into()
            .with_context(|| format!("cannot use {}", path.display()))
    }
}

/// Weights that a run begins with; all others are drawn from its seed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct InitialConfig {
    /// All that a model has: the directory of an `m3w train` or `m3w import`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<PathBuf>,
    /// The vision encoder's, over those of the model: the directory of an `m3w pretrain` or `m3w
    /// train`, or published weights (a file, or a folder with some).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vision: Option<PathBuf>,
}

impl InitialConfig {
    fn is_empty(&self) -> bool {
        *self == Self::default()
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

/// Settings that are as they always were are not written: runs from before know no other.
pub(crate) fn is_usual(precision: &Precision) -> bool {
    *precision == Precision::default()
}

fn is_nothing(share: &f64) -> bool {
    *share == 0.0
}

fn one() -> f64 {
    1.0
}

/// How long a run goes and what it leaves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RunConfig {
    /// Updates in all.
    pub steps: usize,
    /// Seed of the first weights.
    pub seed: u64,
    /// Steps between checkpoints; there is one at the end in any case.
    pub checkpoint_every: usize,
    /// Checkpoints that are kept, the newest; at least one.
    pub keep_last: usize,
    /// Steps of which each checkpoint is kept as well: 10000 keeps those after 10000, 20000, …; 0
    /// for none.
    pub keep_every: usize,
    /// Steps in a row without a finite loss after which the run ends, with the last batch saved; 0
    /// to go on whatever comes.
    pub stop_after_skipped: usize,
    /// Steps between two evaluations on `[[evaluation]]` and on what is held out; 0 for none.
    pub evaluate_every: usize,
    /// The share of the documents of each dataset that is held out, from 0 to 0.5: never trained on,
    /// and evaluated on. Which they are is told by a hash of their URLs.
    #[serde(skip_serializing_if = "is_nothing")]
    pub evaluate_share: f64,
    /// Most batches of each dataset in an evaluation.
    pub evaluate_batches: usize,
    /// Steps between two times that the model is asked about pictures; 0 for never. They are the first
    /// of the first corpus of `[[evaluation]]`, or of what is trained on.
    pub sample_every: usize,
    /// How many pictures those are.
    pub samples: usize,
    /// In which order several datasets are visited.
    pub schedule: Schedule,
    /// The numbers that flow through the model: `f32`, or `bf16` on a GPU. What is trained is held in f32
    /// in any case.
    #[serde(skip_serializing_if = "is_usual")]
    pub precision: Precision,
}

impl Default for RunConfig {
    fn default() -> Self {
        Self {
            steps: 1000,
            seed: 0,
            checkpoint_every: 500,
            keep_last: 2,
            keep_every: 0,
            stop_after_skipped: 10,
            evaluate_every: 0,
            evaluate_share: 0.0,
            evaluate_batches: 16,
            sample_every: 0,
            samples: 4,
            schedule: Schedule::default(),
            precision: Precision::default(),
        }
    }
}

/// What a run is trained on: the datasets of its configuration, or the one corpus `data`.
///
/// # Errors
///
/// If both are given or neither is, or a dataset's own settings are none of a loader.
pub fn datasets(
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
        None => named_datasets(datasets, loader),
    }
}

/// Datasets with the settings of their loaders.
pub(super) fn named_datasets(
    datasets: &[DatasetConfig],
    all: &LoaderConfig,
) -> Result<Vec<Dataset>> {
    let datasets = datasets.iter().map(|dataset| {
        let config = loader_of(all, &dataset.loader)
            .with_context(|| format!("cannot use the dataset `{}`", dataset.name))?;
        Ok(Dataset {
            name: dataset.name.clone(),
            directory: dataset.path.clone(),
            weight: dataset.weight,
            config,
        })
    });
    datasets.collect()
}

/// The settings of one dataset's loader: those of all, with its own over them.
fn loader_of(all: &LoaderConfig, own: &toml::Table) -> Result<LoaderConfig> {
    let mut table = toml::Table::try_from(all)?;
    put_over(&mut table, own.clone());
    let mut config: LoaderConfig = table.try_into()?;
    // Of the launch, not of a file.
    config.share = all.share;
    // Of the run.
    config.part = all.part;
    // What a model cannot have two of.
    ensure!(
        (config.image_side_px, config.mean, config.deviation)
            == (all.image_side_px, all.mean, all.deviation),
        "`image_side_px`, `mean` and `deviation` belong to the vision encoder: set them for all \
         datasets, in [loader]"
    );
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tiny_configuration_is_whole() {
        let text = include_str!("../../configs/train-tiny.toml");
        let file: TrainFile = toml::from_str(text).unwrap();
        assert!(file.run.steps > 0);
    }

    fn mixed(datasets: &str) -> Result<Vec<Dataset>> {
        let text = format!(
            "{}\n{datasets}",
            include_str!("../../configs/train-tiny.toml")
        );
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
}
