//! Files of a run that grow by a line of JSON at a time, each with the number of a step.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use m3w_shards::write_atomically;
use serde::Serialize;

/// A file of lines that begin with the number of a step.
pub(crate) struct StepLines {
    path: PathBuf,
    file: File,
}

impl StepLines {
    /// Goes on behind the first `steps` steps: what was written of later ones is taken again.
    pub(crate) fn open(path: PathBuf, steps: usize) -> Result<Self> {
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
        let mut options = File::options();
        let file = options.create(true).append(true).open(&path);
        let file = file.with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self { path, file })
    }

    /// Adds a line.
    pub(crate) fn write(&mut self, line: &impl Serialize) -> Result<()> {
        let mut bytes = serde_json::to_vec(line)?;
        bytes.push(b'\n');
        self.file
            .write_all(&bytes)
            .with_context(|| format!("cannot write {}", self.path.display()))
    }
}

/// Reads such a file; one that is not there has no lines.
pub(crate) fn read_lines<L: serde::de::DeserializeOwned>(path: &Path) -> Result<Vec<L>> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let text = fs::read_to_string(path);
    let text = text.with_context(|| format!("cannot read {}", path.display()))?;
    let lines = text.split_inclusive('\n').zip(1..);
    lines
        // The last may not be written whole yet.
        .filter(|(line, _)| line.ends_with('\n'))
        .map(|(line, number)| {
            serde_json::from_str(line)
                .with_context(|| format!("cannot use line {number} of {}", path.display()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_after_the_checkpoint_go() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        fs::write(&path, "{\"step\":1}\n{\"step\":2}\n{\"step\":3}\n{\"st").unwrap();
        drop(StepLines::open(path.clone(), 2).unwrap());
        let left = fs::read_to_string(&path).unwrap();
        assert_eq!(left, "{\"step\":1}\n{\"step\":2}\n");
    }
}
