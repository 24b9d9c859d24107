//! `m3w audit`

use std::io::Write;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use crate::audit::{AuditOptions, write_sheet};
use crate::corpus::Corpus;

/// Write a web page with documents drawn at random, for a person to look at and tick what is wrong
///
/// The page is one file that asks nothing of the network. What is ticked and noted stays in the
/// browser, and is saved from there as JSON. The same corpus and seed draw the same documents.
#[derive(Debug, Args)]
pub(super) struct Audit {
    /// Directory of the corpus
    #[arg(value_name = "DIR")]
    data: PathBuf,
    /// File to write [default: DIR/audit.html]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// How many documents to draw
    #[arg(long, value_name = "N", default_value_t = 200)]
    documents: usize,
    /// Seed of the draw
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
}

impl Audit {
    pub(super) fn run(self) -> Result<()> {
        let out = self.out.unwrap_or_else(|| self.data.join("audit.html"));
        let options = AuditOptions {
            documents: self.documents,
            seed: self.seed,
        };
        write_sheet(&Corpus::at(&self.data), &out, &options)?;
        writeln!(std::io::stdout(), "{}", out.display())?;
        Ok(())
    }
}
