//! What a run leaves on disk.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use m3w_model::train::Trainer;
use m3w_shards::{Mixture, MixtureState, write_atomically};

use super::config::TrainFile;
use crate::config::differences;

/// The directory of a run.
pub(super) struct RunDirectory {
    root: PathBuf,
}

impl RunDirectory {
    /// Begins a run in the directory, or finds one of the same configuration. A run may be given
    /// more steps; anything else that differs is refused.
    pub(super) fn open(root: &Path, file: &TrainFile, tokenizer: &[u8]) -> Result<Self> {
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

    fn checkpoint_before(&self) -> PathBuf {
        self.root.join("checkpoint-before")
    }

    /// What the newest checkpoint that can be read holds; `None` where there is none yet.
    pub(super) fn newest_checkpoint(&self) -> Result<Option<Trainer>> {
        let (newest, before) = (self.checkpoint(), self.checkpoint_before());
        if !newest.exists() && !before.exists() {
            return Ok(None);
        }
        match Trainer::load(&newest) {
            Ok(trainer) => Ok(Some(trainer)),
            Err(error) if before.exists() => {
                let trainer = Trainer::load(&before)?;
                tracing::warn!(
                    "the newest checkpoint cannot be read ({error}): going on from the one before \
                     it, after step {}",
                    trainer.steps()
                );
                // It must not take the place of the one before when the next is saved.
                if newest.exists() {
                    fs::remove_dir_all(&newest)?;
                }
                fs::rename(&before, &newest)?;
                Ok(Some(trainer))
            }
            Err(error) => Err(error.into()),
        }
    }

    fn loader_path(&self, steps: usize) -> PathBuf {
        self.root.join(format!("loader-{steps}.json"))
    }

    pub(super) fn loader_state(&self, steps: usize) -> Result<MixtureState> {
        let path = self.loader_path(steps);
        let bytes = fs::read(&path).with_context(|| {
            format!(
                "cannot read {}: the run cannot go on without it",
                path.display()
            )
        })?;
        serde_json::from_slice(&bytes).with_context(|| format!("cannot use {}", path.display()))
    }

    /// The metrics of the first `steps` steps, to be gone on with: those after the checkpoint are
    /// taken again.
    pub(super) fn metrics(&self, steps: usize) -> Result<fs::File> {
        let path = self.root.join("metrics.jsonl");
        if let Ok(text) = fs::read_to_string(&path) {
            let is_taken = |line: &&str| {
                let line = serde_json::from_str::<serde_json::Value>(line).ok();
                let step = line.and_then(|line| line["step"].as_u64());
                step.is_some_and(|step| step <= steps as u64)
            };
            let taken: String = text
                .split_inclusive('\n')
                .filter(|line| line.ends_with('\n'))
                .filter(is_taken)
                .collect();
            if taken.len() < text.len() {
                write_atomically(&path, taken.as_bytes())?;
            }
        }
        fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// Saves data position first, weights second: whichever checkpoint is there has its position.
    /// The checkpoint that was the newest is kept beside it.
    pub(super) fn save(&self, trainer: &Trainer, mixture: &Mixture) -> Result<()> {
        let state = serde_json::to_vec(&mixture.state()).context("cannot write the position")?;
        write_atomically(&self.loader_path(trainer.steps()), &state)?;
        let (newest, before) = (self.checkpoint(), self.checkpoint_before());
        if newest.exists() {
            if before.exists() {
                fs::remove_dir_all(&before)?;
            }
            fs::rename(&newest, &before)?;
        }
        trainer.save(&newest)?;
        self.remove_old_positions(trainer.steps())
    }

    /// Leaves the positions of the two checkpoints.
    fn remove_old_positions(&self, newest: usize) -> Result<()> {
        let mut steps = Vec::new();
        for entry in fs::read_dir(&self.root)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            let step = name
                .strip_prefix("loader-")
                .and_then(|name| name.strip_suffix(".json"));
            steps.extend(step.and_then(|step| step.parse::<usize>().ok()));
        }
        steps.sort_unstable();
        let before = steps.iter().rev().find(|step| **step < newest).copied();
        for step in steps {
            if step != newest && Some(step) != before {
                fs::remove_file(self.loader_path(step))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_after_the_checkpoint_and_old_positions_go() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunDirectory {
            root: folder.path().to_owned(),
        };
        let path = folder.path().join("metrics.jsonl");
        fs::write(&path, "{\"step\":1}\n{\"step\":2}\n{\"step\":3}\n{\"st").unwrap();
        drop(run.metrics(2).unwrap());
        let left = fs::read_to_string(&path).unwrap();
        assert_eq!(left, "{\"step\":1}\n{\"step\":2}\n");
        for step in [1, 2, 4, 9] {
            fs::write(run.loader_path(step), "").unwrap();
        }
        run.remove_old_positions(4).unwrap();
        let there = [1, 2, 4, 9].map(|step| run.loader_path(step).exists());
        assert_eq!(there, [false, true, true, false]);
    }
}
