//! `m3w repair`

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;

use super::{default_threads, stop_on_interrupt};
use crate::corpus::Corpus;
use crate::pairs::PairSource;
use crate::repair::{RepairOptions, repair, run_of};
use crate::source::Source;

/// Make missing and damaged files of a corpus again, byte for byte, and nothing else
///
/// Rows come from what is left of the damaged file, pictures from the training rows that hold them
/// too, and only what is nowhere else is fetched again. Nothing is taken whose hash is not that of
/// what was there: a page or picture that has changed or is gone is told, row by row, and its file
/// stays as it is. Interrupted at any moment, the same command goes on where it was.
#[derive(Debug, Args)]
pub(super) struct Repair {
    /// Directory of the corpus
    #[arg(value_name = "DIR")]
    data: PathBuf,
    /// The list of URLs that the corpus was built from
    #[arg(long, value_name = "FILE", conflicts_with_all = ["warc", "index", "input"])]
    urls: Option<PathBuf>,
    /// Name of the column with the URLs
    #[arg(long, value_name = "NAME", default_value = "url")]
    url_column: String,
    /// The WARC files that it was built from
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with_all = ["index", "input"])]
    warc: Vec<PathBuf>,
    /// Take images only from the WARC files; fetch nothing
    #[arg(long, requires = "warc")]
    offline: bool,
    /// The index that it was built from
    #[arg(long, value_name = "FILE", conflicts_with = "input")]
    index: Option<PathBuf>,
    /// Folder or http(s) URL below which the index's WARC files stand [default: the index's folder]
    #[arg(long, value_name = "BASE", requires = "index")]
    index_base: Option<String>,
    /// The lists, archives or folders of pairs that it was built from
    #[arg(long, value_name = "PATH", num_args = 1..)]
    input: Vec<PathBuf>,
    /// Take everything from the WARC files that its build wrote with --warc-out, and ask nobody
    #[arg(long, value_name = "DIR")]
    replay: Option<PathBuf>,
    /// A copy of its tokenizer.json; one that was trained on the documents is trained again
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,
    /// Leave out what cannot be had again, so that the rest is a whole corpus
    #[arg(long)]
    leave_out: bool,
    /// Processor threads [default: one for each core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    /// No progress lines
    #[arg(long)]
    quiet: bool,
}

impl Repair {
    pub(super) fn run(self) -> Result<()> {
        crate::memory::share_heaps();
        let options = RepairOptions {
            source: self.source()?,
            corpus: self.data,
            tokenizer: self.tokenizer,
            replay: self.replay,
            fetch_missing_images: !self.offline,
            leave_out: self.leave_out,
            threads: self.threads.map_or_else(default_threads, usize::from),
            is_quiet: self.quiet,
        };
        let repaired = repair(&options, &stop_on_interrupt()?)?;
        let mut out = std::io::stdout().lock();
        for name in &repaired.restored {
            writeln!(out, "restored\t{name}")?;
        }
        for name in &repaired.rewritten {
            writeln!(out, "rewritten\t{name}")?;
        }
        for lost in &repaired.lost {
            writeln!(out, "lost\t{lost}")?;
        }
        for (name, why) in &repaired.left {
            tracing::error!("{name} is still damaged: {why}");
        }
        let left = repaired.left.len();
        if left > 0 {
            let hint = if options.leave_out || repaired.lost.is_empty() {
                ""
            } else {
                "; --leave-out gives a whole corpus without what is lost"
            };
            bail!("{left} files cannot be made again{hint}");
        }
        if repaired.restored.is_empty() && repaired.rewritten.is_empty() {
            writeln!(out, "all files are whole")?;
        }
        Ok(())
    }

    /// The inputs, if they were given.
    fn source(&self) -> Result<Option<Source>> {
        if let Some(path) = &self.urls {
            return Ok(Some(Source::Urls {
                path: path.clone(),
                column: self.url_column.clone(),
            }));
        }
        if !self.warc.is_empty() {
            return Ok(Some(Source::Warc(self.warc.clone())));
        }
        if let Some(path) = &self.index {
            let folder = path.parent().unwrap_or(Path::new("."));
            let base = self.index_base.clone();
            return Ok(Some(Source::Index {
                path: path.clone(),
                base: base.unwrap_or_else(|| folder.display().to_string()),
            }));
        }
        if self.input.is_empty() {
            return Ok(None);
        }
        let config = run_of(&Corpus::at(&self.data))?.config;
        let pairs = config
            .pairs
            .as_ref()
            .with_context(|| format!("{} was not built from pairs", self.data.display()))?;
        let source = PairSource::open(&self.input, pairs, config.seed)?;
        Ok(Some(Source::Pairs(Box::new(source))))
    }
}
