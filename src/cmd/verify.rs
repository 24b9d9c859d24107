//! `m3w verify`

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;

use crate::corpus::Corpus;
use crate::verify::verify;

/// Check that a corpus is as it was written, and that its rows are what they say
///
/// Compares every file with the length and SHA-256 in the manifest, and the manifest with its own
/// checksum; then reads every row. What is damaged, `m3w repair` makes again.
#[derive(Debug, Args)]
pub(super) struct Verify {
    /// Directory of the corpus
    #[arg(value_name = "DIR")]
    data: PathBuf,
    /// Compare files only; read no rows
    #[arg(long)]
    files_only: bool,
}

impl Verify {
    pub(super) fn run(self) -> Result<()> {
        let findings = verify(&Corpus::at(&self.data), !self.files_only)?;
        for problem in &findings.problems {
            tracing::error!("{}", problem.what);
        }
        let problems = findings.problems.len();
        if problems > 0 {
            bail!("{problems} problems in {} files", findings.files);
        }
        let mut out = std::io::stdout();
        if self.files_only {
            writeln!(out, "{} files are whole", findings.files)?;
        } else {
            let rows = findings.rows;
            writeln!(out, "{} files are whole, with {rows} rows", findings.files)?;
        }
        Ok(())
    }
}
