//! `m3w pairs`

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;

use super::run::Run;
use super::{Settings, stop_on_interrupt};
use crate::build::build;
use crate::config::BuildConfig;
use crate::pairs::{Kind, PairSource, PairsConfig};
use crate::source::Source;
use crate::summary::Summary;

/// Build a corpus from pictures or short videos with captions: lists of URLs, archives, folders
///
/// Reads .csv, .tsv and .jsonl (or with .gz), .parquet, .tar as webdataset and img2dataset write
/// them, and folders; fetches what is on the web, and writes document and sequence shards. Each row
/// is kept or counted by the reason why not. Interrupted at any moment, the same command goes on
/// where it was. Settings are the keys of configs/build.toml and configs/pairs.toml:
/// `--set pairs.caption.max_words=30`.
#[derive(Debug, Args)]
pub(super) struct Pairs {
    /// Lists, archives, folders; patterns with * and ? in their last part
    #[arg(long, value_name = "PATH", num_args = 1.., required = true)]
    input: Vec<PathBuf>,
    /// What the pairs are like: the settings to begin with, and the `source` of the rows
    #[arg(long, value_name = "KIND", value_enum)]
    kind: Kind,
    /// Column of the URLs [default: url, image_url or video_url, in any case]
    #[arg(long, value_name = "NAME")]
    url_col: Option<String>,
    /// Column of the captions [default: caption, text or alt_text, in any case]
    #[arg(long, value_name = "NAME")]
    caption_col: Option<String>,
    /// Column of the SHA-256 that a picture's bytes must have
    #[arg(long, value_name = "NAME")]
    sha256_col: Option<String>,
    /// Column of the MD5 that a picture's bytes must have
    #[arg(long, value_name = "NAME")]
    md5_col: Option<String>,
    /// Column with the start of a clip in its video: seconds, or h:mm:ss
    #[arg(long, value_name = "NAME")]
    start_col: Option<String>,
    /// Column with its end
    #[arg(long, value_name = "NAME")]
    end_col: Option<String>,
    /// The .csv and .tsv have no line of column names; columns are numbers from 1
    #[arg(long)]
    no_header: bool,
    #[command(flatten)]
    run: Run,
    #[command(flatten)]
    settings: Settings,
}

impl Pairs {
    pub(super) fn run(self) -> Result<()> {
        crate::memory::share_heaps();
        let defaults = PairsConfig::defaults(self.kind)?;
        let mut config: BuildConfig = self.settings.load_over(defaults)?;
        let pairs = config.pairs.as_mut().context("the preset has pairs")?;
        pairs.kind = self.kind;
        let columns = &mut pairs.columns;
        for (column, named) in [
            (&mut columns.url, self.url_col),
            (&mut columns.caption, self.caption_col),
            (&mut columns.sha256, self.sha256_col),
            (&mut columns.md5, self.md5_col),
            (&mut columns.start, self.start_col),
            (&mut columns.end, self.end_col),
        ] {
            *column = named.or(column.take());
        }
        columns.has_header &= !self.no_header;
        let seed = self.run.seed_over(config.seed);
        let source = PairSource::open(&self.input, pairs, seed)?;
        let source = Source::Pairs(Box::new(source));
        let options = self.run.options(source, config);
        let manifest = build(&options, &stop_on_interrupt()?)?;
        Summary::new(&options.out, &manifest).print()
    }
}
