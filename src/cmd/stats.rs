//! `m3w stats`

use std::io::Write;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use m3w_shards::write_atomically;

use crate::corpus::Corpus;
use crate::summary::Summary;
use crate::survival::survival;

/// Show what a corpus holds, and what was dropped and why
#[derive(Debug, Args)]
pub(super) struct Stats {
    /// Directory of the corpus
    #[arg(value_name = "DIR")]
    data: PathBuf,
    /// Print the manifest as JSON instead of a table
    #[arg(long, conflicts_with = "examples")]
    json: bool,
    /// Show some of what was dropped, for each reason, with the value measured and the threshold
    #[arg(long, value_name = "N", default_value_t = 0)]
    examples: usize,
    /// Write what became of pages, images and training rows into a file as JSON, examples included
    #[arg(long, value_name = "FILE")]
    survival: Option<PathBuf>,
}

impl Stats {
    pub(super) fn run(self) -> Result<()> {
        let corpus = Corpus::at(&self.data);
        let manifest = corpus.manifest()?;
        let survival = survival(&corpus, &manifest, self.examples)?;
        if let Some(path) = &self.survival {
            let mut bytes = serde_json::to_vec_pretty(&survival)?;
            bytes.push(b'\n');
            write_atomically(path, &bytes)?;
        }
        if self.json {
            let mut out = std::io::stdout().lock();
            serde_json::to_writer_pretty(&mut out, &manifest)?;
            return Ok(writeln!(out)?);
        }
        Summary::new(&self.data, &manifest).print()?;
        let mut out = std::io::stdout().lock();
        for one in survival.iter().filter(|_| self.examples > 0) {
            for end in one.ends.iter().filter(|end| !end.examples.is_empty()) {
                writeln!(out, "\n{}, {}", one.what, end.name)?;
                for example in &end.examples {
                    let url = &example.url;
                    match (example.measured, example.threshold) {
                        (Some(measured), Some(threshold)) => {
                            writeln!(out, "  {url} ({measured:.4} against {threshold})")?;
                        }
                        _ => writeln!(out, "  {url}")?,
                    }
                }
            }
        }
        Ok(())
    }
}
