//! The directory of a training run, of whatever is trained: its settings, its checkpoints and where
//! the data stood.
//!
//! ```text
//! DIR/SETTINGS.toml         the effective configuration
//! DIR/tokenizer.json        the tokenizer of the shards
//! DIR/checkpoints/step-N/   weights (safetensors), sizes, optimiser, position in the data, program
//! DIR/checkpoint            a link to the newest of them
//! ```

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use m3w_model::Compute;
use m3w_shards::{Mixture, MixtureState, write_atomically};

use crate::config::differences;

/// How names of checkpoints begin.
const STEP: &str = "step-";
/// Where in its data a checkpoint stood; part of the checkpoint.
const POSITION_FILE: &str = "loader.json";
/// What wrote a checkpoint; part of it. To be looked at: nothing is refused by it.
const PROGRAM_FILE: &str = "program.json";

/// What takes steps, and goes on from where it was saved.
pub(crate) trait InTraining: Sized {
    /// Goes on from a checkpoint.
    fn load(directory: &Path, compute: &Compute) -> m3w_model::Result<Self>;

    /// Writes a checkpoint, and in its folder these files by their names.
    fn save_with(&self, directory: &Path, more: &[(&str, &[u8])]) -> m3w_model::Result<()>;

    /// Steps taken so far.
    fn steps(&self) -> usize;
}

/// The settings of a run, and which of them it may be given anew.
pub(crate) struct RunSettings<'a> {
    /// The name of their file in the directory.
    pub(crate) file: &'a str,
    /// The settings.
    pub(crate) table: toml::Table,
    /// Keys that do not change what is learned: `run.steps`.
    pub(crate) may_change: &'a [&'a str],
}

/// Which checkpoints are kept.
pub(crate) struct Keep {
    /// The newest; at least one.
    pub(crate) last: usize,
    /// Those of every so many steps are kept as well; 0 for none.
    pub(crate) every: usize,
}

/// The directory of a run.
pub(crate) struct RunDirectory {
    root: PathBuf,
    keep: Keep,
    /// Held by the process that writes.
    _lock: Option<File>,
}

impl RunDirectory {
    /// Begins a run in the directory, or finds one of the same configuration. Settings that do not
    /// change what is learned may be others than before; anything else that differs is refused, once
    /// there is a checkpoint. Only the first of several processes writes, and no other run beside it.
    pub(crate) fn open(
        root: &Path,
        settings: &RunSettings<'_>,
        tokenizer: &[u8],
        keep: Keep,
        is_first: bool,
    ) -> Result<Self> {
        let path = root.join(settings.file);
        let run = Self {
            root: root.to_owned(),
            keep,
            _lock: is_first.then(|| lock(root)).transpose()?.flatten(),
        };
        let is_begun = !run.steps()?.is_empty();
        if is_begun && let Ok(text) = fs::read_to_string(&path) {
            let found: toml::Table = text
                .parse()
                .with_context(|| format!("{} is not TOML", path.display()))?;
            let mut differences = differences(&found, &settings.table);
            differences.retain(|difference| {
                let key = difference.split(':').next().unwrap_or_default();
                !settings.may_change.contains(&key)
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
             initial.model to begin with its weights",
            newest.display()
        );
        if is_first {
            let checkpoints = run.checkpoints();
            fs::create_dir_all(&checkpoints)
                .with_context(|| format!("cannot make {}", checkpoints.display()))?;
            let text =
                toml::to_string(&settings.table).context("cannot write the configuration")?;
            write_atomically(&tokenizer_path, tokenizer)?;
            write_atomically(&path, text.as_bytes())?;
        }
        Ok(run)
    }

    /// A path below the directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
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
    /// where there is none yet. Those that cannot be read are set aside: what hindered may pass.
    pub(crate) fn newest_checkpoint<T: InTraining>(
        &self,
        is_first: bool,
        compute: &Compute,
    ) -> Result<Option<(T, MixtureState)>> {
        let mut unreadable = Vec::new();
        let mut first_error = None;
        for steps in self.steps()?.into_iter().rev() {
            match self.load(steps, compute) {
                Ok(loaded) => {
                    if is_first {
                        for broken in unreadable {
                            set_aside(&self.checkpoint(broken))?;
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

    fn load<T: InTraining>(&self, steps: usize, compute: &Compute) -> Result<(T, MixtureState)> {
        let folder = self.checkpoint(steps);
        let path = folder.join(POSITION_FILE);
        let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let state = serde_json::from_slice(&bytes);
        let state = state.with_context(|| format!("cannot use {}", path.display()))?;
        Ok((T::load(&folder, compute)?, state))
    }

    /// Saves weights and position, lets `checkpoint` point to them, and removes what need not be
    /// kept.
    pub(crate) fn save(&self, trainer: &impl InTraining, mixture: &Mixture) -> Result<()> {
        let steps = trainer.steps();
        let state = serde_json::to_vec(&mixture.state()).context("cannot write the position")?;
        let program = serde_json::json!({"program": "m3w", "version": env!("M3W_VERSION")});
        let program = serde_json::to_vec(&program).context("cannot write the version")?;
        let more: [(&str, &[u8]); 2] = [(POSITION_FILE, &state), (PROGRAM_FILE, &program)];
        trainer.save_with(&self.checkpoint(steps), &more)?;
        self.point_to(steps)?;
        let all = self.steps()?;
        let newest = all.len().saturating_sub(self.keep.last.max(1));
        for old in &all[..newest] {
            if self.keep.every == 0 || !old.is_multiple_of(self.keep.every) {
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

/// Makes the directory the business of this process until its end, however it comes. `None` where the
/// file system knows no locks.
fn lock(root: &Path) -> Result<Option<File>> {
    fs::create_dir_all(root).with_context(|| format!("cannot make {}", root.display()))?;
    let Ok(folder) = File::open(root) else {
        return Ok(None);
    };
    match folder.try_lock() {
        Ok(()) => Ok(Some(folder)),
        Err(TryLockError::WouldBlock) => bail!(
            "another process is writing a run to {}: wait for it or stop it, or choose another --out",
            root.display()
        ),
        Err(TryLockError::Error(error)) => {
            tracing::debug!("{} cannot be locked: {error}", root.display());
            Ok(None)
        }
    }
}

/// Gives a checkpoint a name under which it does not count, `step-N.unreadable`.
fn set_aside(folder: &Path) -> Result<()> {
    let aside = folder.with_extension("unreadable");
    if aside.exists() {
        remove(&aside)?;
    }
    tracing::warn!("{} is now {}", folder.display(), aside.display());
    fs::rename(folder, &aside).with_context(|| format!("cannot rename {}", folder.display()))
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
            keep: Keep { last: 2, every: 0 },
            _lock: None,
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

    /// What is learned, in a file.
    struct Learned(String);

    impl InTraining for Learned {
        fn load(directory: &Path, _: &Compute) -> m3w_model::Result<Self> {
            let path = directory.join("learned");
            let text = fs::read_to_string(&path);
            let text = text.map_err(|source| m3w_model::Error::File { path, source })?;
            Ok(Self(text))
        }

        fn save_with(&self, _: &Path, _: &[(&str, &[u8])]) -> m3w_model::Result<()> {
            Ok(())
        }

        fn steps(&self) -> usize {
            0
        }
    }

    #[test]
    fn a_checkpoint_that_cannot_be_read_is_set_aside() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunDirectory {
            root: folder.path().to_owned(),
            keep: Keep { last: 2, every: 0 },
            _lock: None,
        };
        for (steps, file) in [(10, "learned"), (20, "else")] {
            let checkpoint = run.checkpoint(steps);
            fs::create_dir_all(&checkpoint).unwrap();
            fs::write(
                checkpoint.join(POSITION_FILE),
                "{\"steps\": 1, \"datasets\": {}}",
            )
            .unwrap();
            fs::write(checkpoint.join(file), "much").unwrap();
        }
        for _ in 0..2 {
            let found = run.newest_checkpoint::<Learned>(true, &Compute::default());
            assert_eq!(found.unwrap().unwrap().0.0, "much");
            assert_eq!(run.steps().unwrap(), [10]);
            assert!(run.newest().join("learned").is_file());
            let aside = run.checkpoints().join("step-20.unreadable/else");
            assert_eq!(fs::read_to_string(aside).unwrap(), "much");
        }
    }

    #[test]
    fn one_process_at_a_time_writes_a_run() {
        let folder = tempfile::tempdir().unwrap();
        let open = |is_first| {
            let settings = RunSettings {
                file: "train.toml",
                table: toml::Table::new(),
                may_change: &[],
            };
            let keep = Keep { last: 2, every: 0 };
            RunDirectory::open(folder.path(), &settings, b"", keep, is_first)
        };
        let first = open(true).unwrap();
        // Another process of the same launch.
        assert!(open(false).is_ok());
        let message = open(true).err().unwrap().to_string();
        assert!(message.contains("another process is writing"), "{message}");
        drop(first);
        assert!(open(true).is_ok());
    }
}
