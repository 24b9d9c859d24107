//! `m3w view`

use std::io::Write;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use crate::corpus::Corpus;
use crate::view::{ViewOptions, write_report};

/// Write a web page that shows a corpus: documents with their images in place, rows, drops
#[derive(Debug, Args)]
pub(super) struct View {
    /// Directory of the corpus
    #[arg(value_name = "DIR")]
    data: PathBuf,
    /// File to write [default: DIR/report.html]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// How many documents to show, spread evenly over the corpus
    #[arg(long, value_name = "N", default_value_t = 20)]
    documents: usize,
    /// How many training rows to show
    #[arg(long, value_name = "N", default_value_t = 10)]
    sequences: usize,
}

impl View {
    pub(super) fn run(self) -> Result<()> {
        let out = self.out.unwrap_or_else(|| self.data.join("report.html"));
        let options = ViewOptions {
            documents: self.documents,
            sequences: self.sequences,
        };
        write_report(&Corpus::at(&self.data), &out, &options)?;
        writeln!(std::io::stdout(), "{}", out.display())?;
        Ok(())
    }
}
