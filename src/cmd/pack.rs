//! `m3w pack`

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use m3w_shards::{Manifest, ShardInfo};

use super::{Settings, default_threads, stop_on_interrupt};
use crate::corpus::Corpus;
use crate::pack::repack;
use crate::summary::Summary;

/// Pack the documents of a corpus anew: another tokenizer, seed, or length of windows
///
/// Writes a directory of its own that holds only sequences. Settings are the keys of `[shards]` in
/// configs/build.toml, without the section: `--set sequence_length=512`.
#[derive(Debug, Args)]
pub(super) struct Pack {
    /// Directory of the corpus with the documents
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Directory for the sequences
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Hugging Face tokenizer.json [default: the corpus's own]
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,
    /// Seed of the windows
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Processor threads; the result does not depend on them [default: one for each core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    #[command(flatten)]
    settings: Settings,
}

impl Pack {
    pub(super) fn run(self) -> Result<()> {
        let from = Corpus::at(&self.data);
        if self.out.join("manifest.json").exists() {
            bail!(
                "{} holds a corpus: choose another --out",
                self.out.display()
            );
        }
        let config = self.settings.load()?;
        let tokenizer = self.tokenizer.unwrap_or_else(|| from.tokenizer_path());
        let info = ShardInfo {
            config,
            seed: self.seed,
        };
        let threads = self.threads.map_or_else(default_threads, usize::from);
        let stop = stop_on_interrupt()?;
        let manifest: Manifest = repack(&from, &self.out, &tokenizer, &info, threads, &stop)?;
        Summary::new(&self.out, &manifest).print()
    }
}
