//! `m3w crawl`

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, ValueEnum};

use super::{Settings, default_threads, stop_on_interrupt};
use crate::crawl::{CrawlConfig, CrawlOptions, crawl, print};
use crate::crawler::Archives;
use crate::source::Source;

/// Follow links and sitemaps from a list of URLs to a longer list
///
/// Fetches the pages of the list, the pages that they link to, and so on within the host or the
/// domain, and writes the URLs of those that answered: a list for `m3w build`. The list is written at
/// the end; interrupted, the same command begins anew. Settings are `max_depth`, `max_pages`,
/// `sitemaps`, `pages_in_flight`, and the sections `traps` and `crawler`.
#[derive(Debug, Args)]
pub(super) struct Crawl {
    /// List of URLs to begin with, as for `m3w build`
    #[arg(long, value_name = "FILE")]
    urls: PathBuf,
    /// Name of the column with the URLs
    #[arg(long, value_name = "NAME", default_value = "url")]
    url_column: String,
    /// The list to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// How far links are followed: to the same host, or to the same registrable domain
    #[arg(long, value_name = "SCOPE")]
    follow: Option<Scope>,
    /// Links from a URL of the list to the farthest page
    #[arg(long, value_name = "N")]
    max_depth: Option<usize>,
    /// Pages fetched in all
    #[arg(long, value_name = "N")]
    max_pages: Option<usize>,
    /// Also write all that is asked and answered into WARC files in this folder
    #[arg(long, value_name = "DIR")]
    warc_out: Option<PathBuf>,
    /// Folders with WARC files of earlier crawls, the latest last: what they hold is asked for only if
    /// it has changed since
    #[arg(long, value_name = "DIR", num_args = 1..)]
    earlier: Vec<PathBuf>,
    /// URL or e-mail address in the user agent, so that a site's owner can reach you
    #[arg(long, value_name = "CONTACT")]
    contact: Option<String>,
    /// Allow addresses of private networks and of this machine: for tests and intranets
    #[arg(long)]
    allow_private_addresses: bool,
    /// No progress lines
    #[arg(long)]
    quiet: bool,
    #[command(flatten)]
    settings: Settings,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Scope {
    Host,
    Domain,
}

impl Crawl {
    pub(super) fn run(self) -> Result<()> {
        let mut config: CrawlConfig = self.settings.load()?;
        config.crawler.allow_private_addresses |= self.allow_private_addresses;
        config.crawler.contact = self.contact.or(config.crawler.contact);
        config.max_depth = self.max_depth.unwrap_or(config.max_depth);
        config.max_pages = self.max_pages.unwrap_or(config.max_pages);
        config.scope = match self.follow {
            Some(Scope::Host) => crate::crawler::Scope::Host,
            Some(Scope::Domain) => crate::crawler::Scope::Domain,
            None => config.scope,
        };
        let options = CrawlOptions {
            source: Source::Urls {
                path: self.urls,
                column: self.url_column,
            },
            out: self.out,
            config,
            archives: Archives {
                out: self.warc_out,
                replay: None,
                earlier: self.earlier,
            },
            threads: default_threads(),
            is_quiet: self.quiet,
        };
        let tally = crawl(&options, &stop_on_interrupt()?)?;
        print(&tally, &mut std::io::stdout())
    }
}
