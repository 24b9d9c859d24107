//! `m3w train`

use std::io::Write;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use super::stop_on_interrupt;
use crate::trainer::{Launch, TrainFile, TrainOptions, train};

/// Train a Flamingo on the sequences of a corpus, or of several
///
/// Interrupted, the same command goes on from the last checkpoint; with more steps in its
/// configuration it goes on from the end. RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT, as torchrun
/// sets them, join several processes to one training.
#[derive(Debug, Args)]
pub(super) struct Train {
    /// Training configuration, such as configs/train-tiny.toml
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// One setting, over the file's: `--set run.steps=200`
    #[arg(long = "set", value_name = "KEY=VALUE")]
    assignments: Vec<String>,
    /// Directory of the corpus, unless the configuration names [[datasets]]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Directory of the run
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Where to compute: cpu, cuda, cuda:1, metal. In a launch of several processes `cuda` is the GPU
    /// of this one's LOCAL_RANK
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    device: String,
    /// No progress lines
    #[arg(long)]
    quiet: bool,
}

impl Train {
    pub(super) fn run(self) -> Result<()> {
        // Only where tensors are made: a build would hold its peak to the end.
        crate::model::keep_freed_memory();
        let launch = Launch::from_environment()?;
        let options = TrainOptions {
            device: launch.device(&self.device)?,
            file: TrainFile::load(&self.config, &self.assignments)?,
            data: self.data,
            out: self.out,
            launch,
            is_quiet: self.quiet,
        };
        let result = train(&options, &stop_on_interrupt()?)?;
        let mut out = std::io::stdout();
        match result.losses {
            Some((first, last)) => {
                writeln!(out, "{} steps, loss {first:.3} -> {last:.3}", result.steps)?;
            }
            None => writeln!(out, "{} steps were done before", result.steps)?,
        }
        writeln!(out, "{}", options.out.display())?;
        Ok(())
    }
}
