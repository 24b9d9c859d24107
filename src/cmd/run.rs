//! The options that `m3w build` and `m3w pairs` share.

use std::path::PathBuf;

use clap::Args;

use super::default_threads;
use crate::build::BuildOptions;
use crate::config::BuildConfig;
use crate::crawler::Archives;
use crate::retry::Failures;
use crate::source::Source;

/// Where a run writes to, how it fetches and how it tells of itself.
#[derive(Debug, Args)]
pub(super) struct Run {
    /// Also write all that is asked and answered into WARC files in this folder
    #[arg(long, value_name = "DIR")]
    warc_out: Option<PathBuf>,
    /// Take everything from the WARC files that a build with --warc-out wrote, and ask nobody
    #[arg(long, value_name = "DIR", conflicts_with = "warc_out")]
    replay: Option<PathBuf>,
    /// Folders with WARC files of earlier builds, the latest last: what they hold is asked for only if
    /// it has changed since
    #[arg(long, value_name = "DIR", num_args = 1..)]
    earlier: Vec<PathBuf>,
    /// Fetch again what failed on the way or at the server, in a corpus that is finished
    #[arg(long)]
    retry_failed: bool,
    /// With --retry-failed: only these reasons, as `m3w stats` names them: timeout, http-503, http-5*
    #[arg(long, value_name = "REASON", num_args = 1.., requires = "retry_failed")]
    status: Vec<String>,
    /// Directory of the corpus
    #[arg(long, visible_alias = "output", value_name = "DIR")]
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
}

impl Run {
    /// The seed that was said, or this one.
    pub(super) fn seed_over(&self, seed: u64) -> u64 {
        self.seed.unwrap_or(seed)
    }

    /// The options of a run over that source; what was said here goes over the configuration.
    pub(super) fn options(self, source: Source, mut config: BuildConfig) -> BuildOptions {
        config.crawler.allow_private_addresses |= self.allow_private_addresses;
        config.seed = self.seed_over(config.seed);
        config.crawler.contact = self.contact.or(config.crawler.contact);
        BuildOptions {
            source,
            out: self.out,
            config,
            tokenizer: self.tokenizer,
            fetch_missing_images: true,
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
        }
    }
}
