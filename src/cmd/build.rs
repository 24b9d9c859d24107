//! `m3w build`

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;

use super::run::Run;
use super::{Settings, stop_on_interrupt};
use crate::build::{BuildOptions, build};
use crate::config::BuildConfig;
use crate::interleaved::{Form, InterleavedSource};
use crate::source::Source;
use crate::summary::Summary;
use crate::warc_files::Fetching;

/// Build a corpus from a list of URLs, from WARC files, or from a corpus of another kind
///
/// Fetches the pages, aligns their text and images, fetches the images, and writes document and
/// sequence shards. Of OBELICS and mmc4, text and images are in order already. Interrupted at any moment, the same command goes on where it was. Settings are
/// the keys of configs/build.toml: `--set filter.image.min_side_px=150`.
#[derive(Debug, Args)]
pub(super) struct Build {
    /// List of page URLs: text with one a line, or .csv, .tsv, .jsonl, .parquet with a URL column
    #[arg(
        long,
        value_name = "FILE",
        required_unless_present_any = ["warc", "index", "obelics", "mmc4"],
        conflicts_with_all = ["warc", "index", "obelics", "mmc4"]
    )]
    urls: Option<PathBuf>,
    /// Name of the column with the URLs
    #[arg(long, value_name = "NAME", default_value = "url")]
    url_column: String,
    /// WARC files with pages (plain, or compressed by record); http(s) URLs are fetched first
    #[arg(long, value_name = "FILE|URL", num_args = 1.., conflicts_with_all = ["replay", "earlier"])]
    warc: Vec<String>,
    /// Folder for WARC files that are fetched, which stay there [default: OUT.warcs]
    #[arg(long, value_name = "DIR", requires = "warc")]
    warc_dir: Option<PathBuf>,
    /// Index of pages in WARC files: CDX, CDXJ or JSON lines (also .gz), or .csv, .tsv, .parquet with
    /// the columns warc_filename, warc_record_offset and warc_record_length
    #[arg(long, value_name = "FILE", conflicts_with_all = ["warc", "replay"])]
    index: Option<PathBuf>,
    /// Folder or http(s) URL below which the index's WARC files stand [default: the index's folder]
    #[arg(long, value_name = "BASE", requires = "index")]
    index_base: Option<String>,
    /// Parquet files in the form of OBELICS, images as URLs or as bytes; folders; patterns with * and ?
    /// in their last part
    #[arg(long, value_name = "PATH", num_args = 1.., conflicts_with_all = ["warc", "index", "mmc4"])]
    obelics: Vec<PathBuf>,
    /// JSON lines in the form of mmc4 (also .gz), or tars of such JSON; folders; patterns
    #[arg(long, value_name = "PATH", num_args = 1.., conflicts_with_all = ["warc", "index"])]
    mmc4: Vec<PathBuf>,
    /// With --mmc4: folder of the pictures, as files of their names or in tars; what is not there is
    /// fetched
    #[arg(long, value_name = "DIR", requires = "mmc4")]
    pictures: Option<PathBuf>,
    /// With --mmc4: leave out images that are less similar to their text
    #[arg(long, value_name = "NUMBER", requires = "mmc4")]
    min_similarity: Option<f64>,
    /// Take images only from the files that are read; fetch nothing
    #[arg(long, conflicts_with_all = ["urls", "index", "warc_out"])]
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
        let stop = stop_on_interrupt()?;
        let source = if let Some(path) = self.urls {
            Source::Urls {
                path,
                column: self.url_column,
            }
        } else if let Some(path) = self.index {
            let folder = path.parent().unwrap_or(Path::new("."));
            let base = folder.display().to_string();
            let base = self.index_base.unwrap_or(base);
            Source::Index { path, base }
        } else if !self.obelics.is_empty() {
            let source = InterleavedSource::open(Form::Obelics, &self.obelics, None, None)?;
            Source::Interleaved(source)
        } else if !self.mmc4.is_empty() {
            let (pictures, least) = (self.pictures.as_deref(), self.min_similarity);
            let source = InterleavedSource::open(Form::Mmc4, &self.mmc4, pictures, least)?;
            Source::Interleaved(source)
        } else {
            Source::Warc(Vec::new())
        };
        let mut options = BuildOptions {
            fetch_missing_images: !self.offline,
            ..self.run.options(source, config)
        };
        if let Source::Warc(paths) = &mut options.source {
            let mut beside = options.out.as_os_str().to_owned();
            beside.push(".warcs");
            let fetching = Fetching {
                folder: &self.warc_dir.unwrap_or(PathBuf::from(beside)),
                crawler: &options.config.crawler,
                is_quiet: options.is_quiet,
            };
            *paths = fetching.paths(&self.warc, &stop)?;
        }
        let manifest = build(&options, &stop)?;
        Summary::new(&options.out, &manifest).print()
    }
}
