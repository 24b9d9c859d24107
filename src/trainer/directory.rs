//! What a run leaves on disk.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use m3w_model::train::Trainer;
use m3w_shards::{Mixture, MixtureState, write_atomically};

use super::config::TrainFile;
use crate::config::differences;

/// How names of checkpoints begin.
const STEP: &str = "step-";
/// Where in its data a checkpoint stood; part of the checkpoint.
const POSITION_FILE: &str = "loader.json";

/// The directory of a run.
pub(super) struct RunDirectory {
    root: PathBuf,
    /// The newest that are kept; at least one.
    keep_last: usize,
    /// Those of every so many steps are kept as well; 0 for none.
    keep_every: usize,
}

impl RunDirectory {
    /// Begins a run in the directory, or finds one of the same configuration. Settings that do not
    /// change what is learned may be others than before; anything else that differs is refused, once
    /// there is a checkpoint. Only the first of several processes writes.
    pub(super) fn open(
        root: &Path,
        file: &TrainFile,
        tokenizer: &[u8],
        is_first: bool,
    ) -> Result<Self> {
        let path = root.join("train.toml");
        let table = toml::Table::try_from(file).context("cannot write the configuration")?;
        let run = Self {
            root: root.to_owned(),
            keep_last: file.run.keep_last.max(1),
            keep_every: file.run.keep_every,
        };
        let is_begun = !run.steps()?.is_empty();
        if is_begun && let Ok(text) = fs::read_to_string(&path) {
            let found: toml::Table = text
                .parse()
                .with_context(|| format!("{} is not TOML", path.display()))?;
            let mut differences = differences(&found, &table);
            differences.retain(|difference| {
                let key = difference.split(':').next().unwrap_or_default();
                !super::config::MAY_CHANGE.contains(&key)
            });
            ensure!(
                differences.is_empty(),
                "{} holds a run of another configuration ({}): choose another --out",
                root.display(),
                differences.join("; ")
            );
        }
        let tokenizer_path = root.join("tokenizer.json");
        if is_begun && fs::read(&tokenizer_path).is_ok_and(|found| found != tokenizer) {
            bail!(
                "{} holds a run on another corpus: choose another --out",
                root.display()
            );
        }
        let newest = run.newest();
        ensure!(
            newest.is_symlink() || !newest.exists(),
            "{} is of an earlier m3w, whose runs cannot be gone on with: choose another --out, and \
             run.start_from to begin with its weights",
            newest.display()
        );
        if is_first {
            let checkpoints = run.checkpoints();
            fs::create_dir_all(&checkpoints)
                .with_context(|| format!("cannot make {}", checkpoints.display()))?;
            let text = toml::to_string(&table).context("cannot write the configuration")?;
            write_atomically(&tokenizer_path, tokenizer)?;
            write_atomically(&path, text.as_bytes())?;
        }
        Ok(run)
    }

    /// A path below the directory.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    fn checkpoints(&self) -> PathBuf {
        self.root.join("checkpoints")
    }

    fn checkpoint(&self, steps: usize) -> PathBuf {
        self.checkpoints().join(format!("{STEP}{steps}"))
    }

    /// The link to the newest checkpoint.
    fn newest(&self) -> PathBuf {
        self.root.join("checkpoint")
    }

    /// The steps of the checkpoints that are there, ascending.
    fn steps(&self) -> Result<Vec<usize>> {
        let folder = self.checkpoints();
        let mut steps = Vec::new();
        if !folder.exists() {
            return Ok(steps);
        }
        let context = || format!("cannot read {}", folder.display());
        for entry in fs::read_dir(&folder).with_context(context)? {
            let name = entry.with_context(context)?.file_name();
            let name = name.to_string_lossy();
            // One that was not finished has another name.
            let step = name.strip_prefix(STEP);
            let step = step.and_then(|step| step.parse::<usize>().ok());
            steps.extend(step);
        }
        steps.sort_unstable();
        Ok(steps)
    }

    /// What the newest checkpoint that can be read holds, and where in its data it stood; `None`
    /// where there is none yet. Those that cannot be read are removed.
    pub(super) fn newest_checkpoint(
        &self,
        is_first: bool,
    ) -> Result<Option<(Trainer, MixtureState)>> {
        let mut unreadable = Vec::new();
        let mut first_error = None;
        for steps in self.steps()?.into_iter().rev() {
            match self.load(steps) {
                Ok(loaded) => {
                    if is_first {
                        for broken in unreadable {
                            remove(&self.checkpoint(broken))?;
                        }
                        self.point_to(steps)?;
                    }
                    return Ok(Some(loaded));
                }
                Err(error) => {
                    tracing::warn!(
                        "the checkpoint after step {steps} cannot be read ({error:#}): trying the \
                         one before it"
                    );
                    unreadable.push(steps);
                    first_error.get_or_insert(error);
                }
            }
        }
        first_error.map_or(Ok(None), Err)
    }

    fn load(&self, steps: usize) -> Result<(Trainer, MixtureState)> {
        let folder = self.checkpoint(steps);
        let path = folder.join(POSITION_FILE);
        let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let state = serde_json::from_slice(&bytes);
        let state = state.with_context(|| format!("cannot use {}", path.display()))?;
        Ok((Trainer::load(&folder)?, state))
    }

    /// Saves weights and position, lets `checkpoint` point to them, and removes what need not be
    /// kept.
    pub(super) fn save(&self, trainer: &Trainer, mixture: &Mixture) -> Result<()> {
        let steps = trainer.steps();
        let state = serde_json::to_vec(&mixture.state()).context("cannot write the position")?;
        trainer.save_with(&self.checkpoint(steps), &[(POSITION_FILE, &state)])?;
        self.point_to(steps)?;
        let all = self.steps()?;
        let newest = all.len().saturating_sub(self.keep_last);
        for old in &all[..newest] {
            if self.keep_every == 0 || !old.is_multiple_of(self.keep_every) {
                remove(&self.checkpoint(*old))?;
            }
        }
        Ok(())
    }

    /// Lets the link `checkpoint` name a checkpoint; readers see the one before or this one.
    fn point_to(&self, steps: usize) -> Result<()> {
        let (link, beside) = (self.newest(), self.root.join("checkpoint.next"));
        let target = Path::new("checkpoints").join(format!("{STEP}{steps}"));
        if beside.is_symlink() {
            fs::remove_file(&beside)
                .with_context(|| format!("cannot remove {}", beside.display()))?;
        }
        std::os::unix::fs::symlink(&target, &beside)
            .and_then(|()| fs::rename(&beside, &link))
            .with_context(|| format!("cannot write {}", link.display()))
    }
}

fn remove(folder: &Path) -> Result<()> {
    fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unfinished_checkpoints_do_not_count_and_the_link_is_exchanged() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunDirectory {
            root: folder.path().to_owned(),
            keep_last: 2,
            keep_every: 0,
        };
        assert_eq!(run.steps().unwrap(), [0; 0]);
        for name in ["step-20", "step-3", "step-40.partial", "other"] {
            fs::create_dir_all(run.checkpoints().join(name)).unwrap();
        }
        assert_eq!(run.steps().unwrap(), [3, 20]);
        for steps in [3, 20] {
            run.point_to(steps).unwrap();
            let target = fs::read_link(run.newest()).unwrap();
            assert_eq!(
                target,
                Path::new("checkpoints").join(format!("step-{steps}"))
            );
        }
    }
}
