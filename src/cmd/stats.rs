//! `m3w stats`

use std::io::Write;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use crate::corpus::Corpus;
use crate::summary::Summary;

/// Show what a corpus holds, and what was dropped and why
#[derive(Debug, Args)]
pub(super) struct Stats {
    /// Directory of the corpus
    #[arg(value_name = "DIR")]
    data: PathBuf,
    /// Print the manifest as JSON instead of a table
    #[arg(long)]
    json: bool,
}

impl Stats {
    pub(super) fn run(self) -> Result<()> {
        let manifest = Corpus::at(&self.data).manifest()?;
        if self.json {
            let mut out = std::io::stdout().lock();
            serde_json::to_writer_pretty(&mut out, &manifest)?;
            return Ok(writeln!(out)?);
        }
        Summary::new(&self.data, &manifest).print()
    }
}
