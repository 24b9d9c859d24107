//! `m3w pretrain`

use std::io::Write;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use super::stop_on_interrupt;
use crate::model::DeviceName;
use crate::pretrain::{PretrainOptions, pretrain};

/// Pretrain a vision encoder on the pairs of a corpus, or of several
///
/// A vision encoder and a text encoder learn which caption belongs to which picture; the first is
/// what `m3w train` begins with under `initial.vision`. Some pairs are held out, and how often they
/// are found among each other is told. Interrupted, the same command goes on from the last
/// checkpoint; with more steps in its configuration it goes on from the end.
#[derive(Debug, Args)]
pub(super) struct Pretrain {
    /// Pretraining configuration, such as configs/pretrain-tiny.toml
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// One setting, over the file's: `--set run.steps=200`
    #[arg(long = "set", value_name = "KEY=VALUE")]
    assignments: Vec<String>,
    /// Directory of the corpus of pairs, unless the configuration names [[datasets]]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Directory of the run
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Where to compute: cpu, cuda, cuda:1, metal
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    device: DeviceName,
    /// No progress lines
    #[arg(long)]
    quiet: bool,
}

impl Pretrain {
    pub(super) fn run(self) -> Result<()> {
        // Only where tensors are made: a build would hold its peak to the end.
        crate::model::keep_freed_memory();
        let options = PretrainOptions {
            file: crate::config::load(Some(&self.config), &self.assignments)?,
            data: self.data,
            out: self.out,
            device: self.device,
            is_quiet: self.quiet,
        };
        let result = pretrain(&options, &stop_on_interrupt()?)?;
        let mut out = std::io::stdout();
        match result.losses {
            Some((first, last)) => {
                writeln!(out, "{} steps, loss {first:.3} -> {last:.3}", result.steps)?;
            }
            None => writeln!(out, "{} steps were done before", result.steps)?,
        }
        if let Some(found) = result.retrieval {
            for (what, [first, five]) in [
                ("caption of a picture", found.caption_of_picture),
                ("picture of a caption", found.picture_of_caption),
            ] {
                let pairs = found.pairs;
                writeln!(
                    out,
                    "{what}, of {pairs} held out: R@1 {first:.3}, R@5 {five:.3}"
                )?;
            }
        }
        writeln!(out, "{}", options.out.display())?;
        Ok(())
    }
}
