//! `m3w verify`

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;

use crate::corpus::Corpus;

/// Check every file of a corpus against the length and SHA-256 in its manifest
#[derive(Debug, Args)]
pub(super) struct Verify {
    /// Directory of the corpus
    #[arg(value_name = "DIR")]
    data: PathBuf,
}

impl Verify {
    pub(super) fn run(self) -> Result<()> {
        let manifest = Corpus::at(&self.data).manifest()?;
        let files: Vec<_> = manifest
            .documents
            .iter()
            .chain(&manifest.sequences)
            .chain(&manifest.outcomes)
            .collect();
        let mut damaged = 0;
        for file in &files {
            if let Err(error) = file.verify(&self.data) {
                damaged += 1;
                tracing::error!("{error}");
            }
        }
        if damaged > 0 {
            bail!(
                "{damaged} of {} files are not as they were written",
                files.len()
            );
        }
        writeln!(std::io::stdout(), "{} files are whole", files.len())?;
        Ok(())
    }
}
