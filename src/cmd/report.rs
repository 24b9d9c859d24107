//! `m3w report`

use std::io::Write;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use crate::report::write_run_report;

/// Write a web page that shows a training run: losses, gates, speed, and what the model said
///
/// The page is one file that asks nothing of the network. The run may still be going on.
#[derive(Debug, Args)]
pub(super) struct Report {
    /// Directory of the run
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// File to write [default: RUN/report.html]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Report {
    pub(super) fn run(self) -> Result<()> {
        let out = self.out.unwrap_or_else(|| self.run.join("report.html"));
        write_run_report(&self.run, &out)?;
        writeln!(std::io::stdout(), "{}", out.display())?;
        Ok(())
    }
}
