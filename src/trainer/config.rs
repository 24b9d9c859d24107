//! What a training run is told: a file such as `configs/train-tiny.toml`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use m3w_model::train::TrainConfig;
use m3w_shards::{Dataset, LoaderConfig, Schedule};
use serde::{Deserialize, Serialize};

use crate::config::put_over;

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
    /// What is trained on, if not the one corpus that the command names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub datasets: Vec<DatasetConfig>,
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

/// What a run is trained on: the datasets of its configuration, or the one corpus `data`.
pub(super) fn datasets(file: &TrainFile, data: Option<&Path>) -> Result<Vec<Dataset>> {
    match data {
        Some(directory) => {
            ensure!(
                file.datasets.is_empty(),
                "the configuration names {} datasets and --data names another: leave out one",
                file.datasets.len()
            );
            Ok(vec![Dataset {
                name: "data".to_owned(),
                directory: directory.to_owned(),
                weight: 1.0,
                config: file.loader.clone(),
            }])
        }
        None if file.datasets.is_empty() => {
            bail!("nothing to train on: give --data DIR, or [[datasets]] in the configuration")
        }
        None => file
            .datasets
            .iter()
            .map(|dataset| {
                let config = loader_of(&file.loader, &dataset.loader)
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
        super::datasets(&toml::from_str(&text)?, None)
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
