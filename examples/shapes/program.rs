//! The program `m3w`, as a person calls it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

/// Where the program is.
pub(crate) struct Program(pub(crate) PathBuf);

impl Program {
    /// Runs it in `folder`: `line` split at spaces, and `settings` each for a `--set`.
    ///
    /// On one thread: products this small are done before a second one has woken up.
    pub(crate) fn run(&self, folder: &Path, line: &str, settings: &str) -> Result<()> {
        let mut command = Command::new(&self.0);
        command
            .current_dir(folder)
            .stdin(Stdio::null())
            .env("RAYON_NUM_THREADS", "1")
            .args(line.split_whitespace());
        for setting in settings.split_whitespace() {
            command.args(["--set", setting]);
        }
        let output = command
            .output()
            .with_context(|| format!("cannot run {}", self.0.display()))?;
        ensure!(
            output.status.success(),
            "m3w {line}: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }

    /// Trains by the text of a configuration, with more settings, into `name` in `folder`; a falling
    /// rate reaches 0 at the last step.
    pub(crate) fn train(
        &self,
        folder: &Path,
        name: &str,
        config: &str,
        steps: usize,
        settings: &str,
    ) -> Result<()> {
        let path = folder.join(format!("{name}.toml"));
        fs::write(&path, config).with_context(|| format!("cannot write {}", path.display()))?;
        let line = format!("train --quiet --out {name} --config {name}.toml");
        let settings = format!("run.steps={steps} train.schedule_steps={steps} {settings}");
        self.run(folder, &line, &settings)
    }
}
