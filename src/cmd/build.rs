//! `m3w build`

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;

use super::{Settings, default_threads, stop_on_interrupt};
use crate::build::{BuildOptions, build};
use crate::config::BuildConfig;
use crate::crawler::Archives;
use crate::retry::Failures;
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
    #[arg(long, value_name = "FILE", num_args = 1..)]
    warc: Vec<PathBuf>,
    /// Index of pages in WARC files: CDX, CDXJ or JSON lines (also .gz), or .csv, .tsv, .parquet with
    /// the columns warc_filename, warc_record_offset and warc_record_length
    #[arg(long, value_name = "FILE", conflicts_with_all = ["warc", "replay"])]
    index: Option<PathBuf>,
    /// Folder or http(s) URL below which the index's WARC files stand [default: the index's folder]
    #[arg(long, value_name = "BASE", requires = "index")]
    index_base: Option<String>,
    /// Take images only from the WARC files; fetch nothing
    #[arg(long, requires = "warc")]
    offline: bool,
    /// Also write all that is asked and answered into WARC files in this folder
    #[arg(long, value_name = "DIR", conflicts_with = "offline")]
    warc_out: Option<PathBuf>,
    /// Take everything from the WARC files that a build with --warc-out wrote, and ask nobody
    #[arg(long, value_name = "DIR", conflicts_with_all = ["warc", "warc_out"])]
    replay: Option<PathBuf>,
    /// Folders with WARC files of earlier builds, the latest last: what they hold is asked for only if
    /// it has changed since
    #[arg(long, value_name = "DIR", num_args = 1.., conflicts_with = "warc")]
    earlier: Vec<PathBuf>,
    /// Fetch again what failed on the way or at the server, in a corpus that is finished
    #[arg(long)]
    retry_failed: bool,
    /// With --retry-failed: only these reasons, as `m3w stats` names them: timeout, http-503, http-5*
    #[arg(long, value_name = "REASON", num_args = 1.., requires = "retry_failed")]
    status: Vec<String>,
    /// Directory of the corpus
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Hugging Face tokenizer.json; without it one is trained on the documents
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,
    /// URL or e-mail address in the user agent, so that a site's owner can reach you
    #[arg(long, value_name = "CONTACT")]
    contact: Option<String>,
    /// Allow addresses of private networks and of this machine: for tests and intranets
    #[arg(long)]
    allow_private_addresses: bool,
    /// Seed of all random choices
    #[arg(long)]
    seed: Option<u64>,
    /// Processor threads; the result does not depend on them [default: one for each core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    /// Write how the build is getting on into this file as JSON, every few seconds
    #[arg(long, value_name = "FILE")]
    metrics: Option<PathBuf>,
    /// Serve the same for Prometheus at this address, such as 127.0.0.1:9100
    #[arg(long, value_name = "HOST:PORT")]
    prometheus: Option<String>,
    /// No progress lines
    #[arg(long)]
    quiet: bool,
    #[command(flatten)]
    settings: Settings,
}

impl Build {
    pub(super) fn run(self) -> Result<()> {
        crate::memory::share_heaps();
        let mut config: BuildConfig = self.settings.load()?;
        config.crawler.allow_private_addresses |= self.allow_private_addresses;
        config.crawler.contact = self.contact.or(config.crawler.contact);
        config.seed = self.seed.unwrap_or(config.seed);
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
            source,
            out: self.out,
            config,
            tokenizer: self.tokenizer,
            fetch_missing_images: !self.offline,
            archives: Archives {
                out: self.warc_out,
                replay: self.replay,
                earlier: self.earlier,
            },
            retry: self.retry_failed.then_some(Failures {
                reasons: self.status,
            }),
            threads: self.threads.map_or_else(default_threads, usize::from),
            metrics: self.metrics,
            prometheus: self.prometheus,
            is_quiet: self.quiet,
        };
        let manifest = build(&options, &stop_on_interrupt()?)?;
        Summary::new(&options.out, &manifest).print()
    }
}
