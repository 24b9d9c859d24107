//! `m3w build`

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;

use super::run::Run;
use super::{Settings, stop_on_interrupt};
use crate::build::{BuildOptions, build};
use crate::config::BuildConfig;
use crate::source::Source;
use crate::summary::Summary;

/// Build a corpus from a list of URLs or from WARC files
///
/// Fetches the pages, aligns their text and images, fetches the images, and writes document and
/// sequence shards. Interrupted at any moment, the same command goes on where it was. Settings are
/// the keys of configs/build.toml: `--set filter.image.min_side_px=150`.
#[derive(Debug, Args)]
pub(super) struct Build {
    /// List of page URLs: text with one a line, or .csv, .tsv, .jsonl, .parquet with a URL column
    #[arg(
        long,
        value_name = "FILE",
        required_unless_present_any = ["warc", "index"],
        conflicts_with_all = ["warc", "index"]
    )]
    urls: Option<PathBuf>,
    /// Name of the column with the URLs
    #[arg(long, value_name = "NAME", default_value = "url")]
    url_column: String,
    /// WARC files with pages (plain, or compressed by record)
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with_all = ["replay", "earlier"])]
    warc: Vec<PathBuf>,
    /// Index of pages in WARC files: CDX, CDXJ or JSON lines (also .gz), or .csv, .tsv, .parquet with
    /// the columns warc_filename, warc_record_offset and warc_record_length
    #[arg(long, value_name = "FILE", conflicts_with_all = ["warc", "replay"])]
    index: Option<PathBuf>,
    /// Folder or http(s) URL below which the index's WARC files stand [default: the index's folder]
    #[arg(long, value_name = "BASE", requires = "index")]
    index_base: Option<String>,
    /// Take images only from the WARC files; fetch nothing
    #[arg(long, requires = "warc", conflicts_with = "warc_out")]
    offline: bool,
    #[command(flatten)]
    run: Run,
    #[command(flatten)]
    settings: Settings,
}

impl Build {
    pub(super) fn run(self) -> Result<()> {
        crate::memory::share_heaps();
        let config: BuildConfig = self.settings.load()?;
        let source = match (self.urls, self.index) {
            (Some(path), _) => Source::Urls {
                path,
                column: self.url_column,
            },
            (None, Some(path)) => {
                let folder = path.parent().unwrap_or(Path::new("."));
                let base = folder.display().to_string();
                let base = self.index_base.unwrap_or(base);
                Source::Index { path, base }
            }
            (None, None) => Source::Warc(self.warc),
        };
        let options = BuildOptions {
            fetch_missing_images: !self.offline,
            ..self.run.options(source, config)
        };
        let manifest = build(&options, &stop_on_interrupt()?)?;
        Summary::new(&options.out, &manifest).print()
    }
}
